import numpy as np
import pytest

from fuseloom.data.matrices import check_equal_labels, read_matrix
from fuseloom.errors import DataError


def test_cells_may_be_quoted_and_the_last_is_the_label(write) -> None:
    features, labels = read_matrix(write('"1.5","2","1"\r\n3,-4e1,"0"\r\n'))
    assert features.tolist() == [[1.5, 2], [3, -40]]
    assert features.dtype == np.float32
    assert labels.tolist() == [1, 0]


def test_a_header_is_skipped_where_there_is_one(write) -> None:
    assert read_matrix(write("0,1,0\n5,6,7\n"), header=True)[1].tolist() == [7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "reviews.csv must hold rows of numbers, as published, got: .*no data"),
        ("1,2,0\n1,0\n", "reviews.csv must hold rows of numbers, as published, got: .*columns changed"),
        ("1,x,0\n", "reviews.csv must hold rows of numbers, as published, got: could not convert"),
        ("1,2,0.5\n", "reviews.csv must have whole numbers in its last column"),
    ],
)
def test_other_files_are_refused(write, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_matrix(write(text))


def test_labels_must_agree() -> None:
    labels = np.array([0, 1, 1])
    assert check_equal_labels({"a": labels, "b": labels.copy()}).tolist() == [0, 1, 1]
    with pytest.raises(DataError, match=r"b must have the labels of a, got another in sample 3\."):
        check_equal_labels({"a": labels, "b": np.array([0, 1, 0])})
    with pytest.raises(DataError, match=r"b must have as many rows as a, got 2 and 3\."):
        check_equal_labels({"a": labels, "b": labels[:2]})
