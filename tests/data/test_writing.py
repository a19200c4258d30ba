"""Folders as a person has them; those of av-digits are tested with the command that writes them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import load, read_rows
from fuseloom.data.apples import make_apples
from fuseloom.data.media import read_image
from fuseloom.data.writing import write_apples
from fuseloom.errors import DataError, OptionError


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_tables_hold_the_apples_and_the_stated_faults(tmp_path: Path) -> None:
    table = write_apples(tmp_path / "apples", rows=48, seed=2)
    apples = make_apples(48 + 12 + 3, seed=2)
    head, *rows = lines(table)
    assert head == ["photo", "note", "orchard", "days", "weight", "grade"]
    assert rows[-1] == rows[0]
    assert [row[0] for row in rows].count("") == 2
    assert [row[-1] for row in rows[:48]] == [*apples.grade[:6], "", *apples.grade[7:48]]
    assert [row[1] for row in rows[:48]] == list(apples.note[:48])
    data = load(str(table), target="grade")
    assert [one.where for one in data.set_aside] == ["rows.csv:5", "rows.csv:8"]
    np.testing.assert_array_equal(read_image(data.modalities["photo"].items[0]), apples.photo[0])


def test_what_comes_later_is_read_the_same_way(tmp_path: Path) -> None:
    table = write_apples(tmp_path / "apples", rows=48, seed=2)
    schema = load(str(table), target="grade").schema
    later, new = (read_rows(str(table.parent / name), schema) for name in ("later.csv", "new.csv"))
    assert later.target is not None
    assert later.target.tolist() == list(make_apples(63, seed=2).grade[48:60])
    assert new.target is None
    assert [item is None for item in new.modalities["photo"].items] == [False, True, False]


def test_a_folder_that_holds_something_and_too_few_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="must be a new or an empty folder"):
        write_apples(tmp_path, rows=20)
    with pytest.raises(OptionError, match="rows must be 10 or more, got 9"):
        write_apples(tmp_path / "apples", rows=9)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
