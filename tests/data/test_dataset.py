import numpy as np

from fuseloom.data import Embedding, Table, Text


def test_rows_are_taken_from_every_part() -> None:
    rows = np.array([2, 0])
    taken = Embedding(
        values=np.arange(6, dtype=np.float32).reshape(3, 2), mask=np.array([True, False, False])
    ).take(rows)
    assert taken.values.tolist() == [[4, 5], [0, 1]]
    assert taken.mask.tolist() == [False, True]
    text = Text(values=np.array(["a", None, "c"], dtype=object)).take(rows)
    assert text.values.tolist() == ["c", "a"]
    table = Table(
        numbers={"n": np.array([1.0, 2.0, 3.0])}, categories={"c": np.array(["x", "y", None], dtype=object)}
    ).take(rows)
    assert (table.numbers["n"].tolist(), table.categories["c"].tolist()) == ([3, 1], [None, "x"])
    assert len(table) == len(text) == len(taken) == 2


def test_a_table_without_columns_has_no_rows() -> None:
    assert len(Table(numbers={}, categories={})) == 0
