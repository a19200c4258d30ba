import numpy as np
import pytest

from fuseloom.data.dataset import Embedding
from fuseloom.data.source import Source, check_lengths
from fuseloom.errors import DataError

SOURCE = Source(
    name="here",
    source_format="arrays",
    ids=["0"],
    places=["row 0"],
    columns={"price": np.array([1.0])},
    labels={"intent": np.array(["a"], dtype=object)},
    arrays={"image": Embedding(values=np.ones((1, 2), np.float32), mask=np.ones(1, np.bool_))},
)


def test_columns_and_labels_are_found() -> None:
    assert SOURCE.column("price", role="target").tolist() == [1.0]
    assert SOURCE.column("intent", role="target").tolist() == ["a"]
    assert "intent" in SOURCE
    assert "image" not in SOURCE
    assert len(SOURCE) == 1


def test_an_unknown_column_is_refused_with_a_guess() -> None:
    with pytest.raises(
        DataError, match=r"target must name a column of here, got 'prise'\. Did you mean 'price'\?"
    ):
        SOURCE.column("prise", role="target")


def test_an_array_is_no_column() -> None:
    with pytest.raises(DataError, match="target must have one value per row, got 'image'"):
        SOURCE.column("image", role="target")


def test_equal_lengths_are_counted() -> None:
    assert check_lengths({"a": 3, "b": 3}, owner="It") == 3


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"a": 3, "b": 2}, "It must have the same number of rows in every entry, got 'a' 3, 'b' 2"),
        ({"a": 0}, "It must have at least one row, got none"),
        ({}, "It must have at least one row, got none"),
    ],
)
def test_other_lengths_are_refused(lengths: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_lengths(lengths, owner="It")
