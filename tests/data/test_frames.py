import numpy as np
import pandas as pd
import pytest

from fuseloom.data.frames import is_frame, read_frame
from fuseloom.errors import DataError


def test_columns_keep_their_values() -> None:
    frame = pd.DataFrame(
        {
            "price": [1.5, None, 3.0],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "open": [True, False, True],
            "colour": pd.Categorical(["red", None, "blue"]),
            "text": ["a", " b ", None],
            "when": pd.to_datetime(["2024-01-01", None, "2024-03-01"]),
            7: ["x", "y", "z"],
        },
        index=["p", "q", "r"],
    )
    source = read_frame(frame)
    np.testing.assert_array_equal(source.columns["price"], [1.5, np.nan, 3])
    np.testing.assert_array_equal(source.columns["count"], [1, np.nan, 3])
    assert source.columns["open"].tolist() == ["True", "False", "True"]
    assert source.columns["colour"].tolist() == ["red", None, "blue"]
    assert source.columns["text"].tolist() == ["a", "b", None]
    assert source.columns["when"].tolist() == ["2024-01-01 00:00:00", None, "2024-03-01 00:00:00"]
    assert source.columns["7"].tolist() == ["x", "y", "z"]
    assert source.ids == ["p", "q", "r"]
    assert source.places[2] == "row r"


def test_only_frames_are_frames() -> None:
    assert is_frame(pd.DataFrame())
    assert not is_frame({"a": [1]})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"must name every column once, got \['a'\]"),
        (pd.DataFrame({"a": []}), "must have rows and columns, got none"),
        (pd.DataFrame({"a": [[1], [2]]}), "'a' must hold strings, numbers or booleans, got list"),
        (
            pd.DataFrame({"a": pd.to_timedelta([1, 2])}),
            "'a' must hold strings, numbers or booleans, got Timedelta",
        ),
    ],
)
def test_frames_that_are_no_table_are_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_frame(frame)
