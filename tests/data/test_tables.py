import csv
import io
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.data.tables import read_table
from fuseloom.errors import DataError


def test_quotes_newlines_and_missing_cells(write) -> None:
    source = read_table(write('a,b\r\n"x, ""y""\r\nz",1\r\n\r\nNA,2\r\n'))
    assert source.columns["a"].tolist() == ['x, "y"\r\nz', None]
    assert source.columns["b"].tolist() == ["1", "2"]
    assert source.places == ["reviews.csv:2", "reviews.csv:5"]
    assert source.ids == ["0", "1"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_told_from_the_rows(write, delimiter: str) -> None:
    rows = [["Größe", "zwei Wörter", "c"], ["1", "a, b; c", "x"], ["2", "d, e", "y"]]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    source = read_table(write(text.getvalue()))
    assert list(source.columns) == rows[0]
    assert [list(cells) for cells in source.columns.values()] == [["1", "2"], ["a, b; c", "d, e"], ["x", "y"]]
    assert source.decimal_comma == (delimiter == ";")


def test_one_column_needs_no_delimiter(write) -> None:
    assert read_table(write("a\nx y\n")).columns["a"].tolist() == ["x y"]


@given(st.lists(st.text(alphabet='ab ",;\n\t', min_size=1), min_size=1, max_size=5))
def test_texts_survive_being_written(texts: list[str]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["text", "n"], *[[f"x{t}x", "1"] for t in texts]])

    class Written:
        name = "x.csv"
        parent = Path()

        def read_bytes(self) -> bytes:
            return text.getvalue().encode()

    assert read_table(Written()).columns["text"].tolist() == [f"x{t}x" for t in texts]


def test_byte_order_mark_is_no_part_of_the_first_name(write) -> None:
    assert list(read_table(write("\ufeffa,b\n1,2\n")).columns) == ["a", "b"]


def test_a_line_of_another_length_is_set_aside_and_keeps_its_number(write) -> None:
    source = read_table(write("a,b\n1,2\n3\n4,5,6\n7,8\n"))
    assert [(row.where, row.reason) for row in source.set_aside] == [
        ("reviews.csv:3", "the header has 2 fields, this row 1"),
        ("reviews.csv:4", "the header has 2 fields, this row 3"),
    ]
    assert source.columns["a"].tolist() == ["1", "7"]
    assert source.ids == ["0", "3"]


@pytest.mark.parametrize("broken", ['1,"never closed', '"never closed,1', '"a" b,1'])
def test_a_quote_nobody_closed_costs_one_row(write, broken: str) -> None:
    source = read_table(write(f"a,b\n0,0\n{broken}\n" + "".join(f"{i},x\n" for i in range(50))))
    assert [row.where for row in source.set_aside] == ["reviews.csv:3"]
    assert len(source) == 51


def test_an_open_quote_that_meets_another_costs_one_row(write) -> None:
    source = read_table(write('a,b\n1,"open\n2,x\n3,"y"\n4,"z, ""w"" and\nmore"\n'))
    assert [row.where for row in source.set_aside] == ["reviews.csv:2"]
    assert source.columns["b"].tolist() == ["x", "y", 'z, "w" and\nmore']


def test_a_row_that_a_quote_carries_on_to_the_next_line_costs_one_row(write) -> None:
    source = read_table(write('a,b\n1,"open,\n2",x\n3,y\n'))
    assert [row.where for row in source.set_aside] == ["reviews.csv:2"]
    assert source.places == ["reviews.csv:3", "reviews.csv:4"]
    assert source.columns["b"].tolist() == ["x", "y"]


def test_a_long_document_is_read(write) -> None:
    source = read_table(write(f"a,b\n{' word' * 200_000},1\ny,2\n"))
    assert [len(text) for text in source.columns["a"]] == [999_999, 1]
    assert not source.set_aside


def test_a_cell_too_long_for_the_reader_is_set_aside(write) -> None:
    source = read_table(write(f"a,b\n{'x' * 5_000_000},1\ny,2\n"))
    assert source.columns["a"].tolist() == ["y"]
    assert "field larger than field limit" in source.set_aside[0].reason


def test_unnamed_columns_are_named_by_their_place(write) -> None:
    assert list(read_table(write(",a\n0,1\n")).columns) == ["unnamed 1", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"reviews\.csv must begin with a line that names its columns, got none: the file is empty\."),
        ("a,b\n", r"reviews\.csv must have rows below its header, got none\."),
        (
            "a,b\n1\n",
            r"must have rows below its header, got none that can be read; reviews\.csv:2: the header",
        ),
        ("a,b,a\n1,2,3\n", r"must name every column once, got \['a'\] more than once"),
        ("a,b\n1,\0\n", r"must be a text file of separated values, got binary data"),
    ],
)
def test_files_without_a_table_are_refused(write, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(text))


def test_latin_1_is_refused_with_the_line(write) -> None:
    with pytest.raises(
        DataError, match=r"must be text in UTF-8, got byte 0xfc in line 3\. Convert it: iconv"
    ):
        read_table(write("a,b\n1,2\nmüde,3\n", encoding="latin-1"))


def test_utf_16_is_refused(write) -> None:
    with pytest.raises(DataError, match=r"must be text in UTF-8, got UTF-16"):
        read_table(write("a,b\n1,2\n", encoding="utf-16"))


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(pickle.dumps({"a": [1.5] * 99}))
    with pytest.raises(DataError, match="got binary data"):
        read_table(path)
