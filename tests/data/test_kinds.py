import numpy as np
import pytest

from fuseloom.data.cells import clean
from fuseloom.data.kinds import infer_kind, is_identifier, why_left_out

LONG = "a sentence that is certainly longer than fifty characters of text "


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3e2"], "number"),
        (["1"] * 95 + ["x"] * 5, "number"),
        (["1"] * 94 + ["x"] * 6, "category"),
        (["1"] * 19 + ["x"] + ["NA"] * 80, "number"),
        (["red", "blue"] * 3, "category"),
        (["red", "blue"], "category"),
        ([f"name {i}" for i in range(10)], "text"),
        ([f"town {i}" for i in range(21)] * 3, "text"),
        ([f"town {i}" for i in range(21)] * 30, "category"),
        ([LONG, LONG + "b"] * 10, "text"),
    ],
)
def test_kind_is_inferred_from_cells(cells: list[str], kind: str) -> None:
    assert infer_kind(clean(cells)) == kind


def test_number_columns_are_numbers_even_without_values() -> None:
    assert infer_kind(np.array([np.nan, 1.0])) == "number"


def test_numbers_stay_numbers_though_some_are_infinite() -> None:
    assert infer_kind(np.array([np.inf, 1.0, -np.inf])) == "number"


def test_a_decimal_comma_makes_numbers() -> None:
    cells = clean(["1,5", "2,5", "3,25"])
    assert infer_kind(cells) == "text"
    assert infer_kind(cells, decimal_comma=True) == "number"


@pytest.mark.parametrize(
    "name", ["id", "ID", "post_id", "uuid", "Index", "Unnamed: 0", "unnamed 1", "__index_level_0__"]
)
def test_complete_distinct_columns_of_such_a_name_are_identifiers(name: str) -> None:
    assert is_identifier(name, clean(["7", "8", "9"]))
    assert is_identifier(name, clean(["a7", "b8", "c9"]))
    assert not is_identifier(name, clean(["7", "8", "8"]))
    assert not is_identifier(name, clean(["7", "8", ""]))
    assert not is_identifier(name, clean(["7.5", "8", "9"]))


def test_distinct_codes_are_identifiers_whatever_the_name() -> None:
    assert is_identifier("photo", clean(["img_001.jpg", "img_002.jpg", "img_7.jpg"]))
    assert not is_identifier("photo", clean(["img_001.jpg", "img_001.jpg", "img_7.jpg"]))
    assert not is_identifier("size", clean(["12", "13", "15"]))
    assert not is_identifier("review", clean(["room 12 was fine", "see you in 2 years", "a1"]))
    assert not is_identifier("date", clean(["2024-01-01", "2024-01-02", "2024-01-03"]))


def test_columns_of_other_names_are_no_identifiers() -> None:
    assert not is_identifier("humid", clean(["7", "8", "9"]))


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("a", ["", "NA"], "no value"),
        ("a", ["x", "x"], "constant"),
        ("a", ["x", ""], None),
        ("id", ["1", "2"], "identifier"),
        ("a", ["2024-01-31", "2024-02-01 10:15:00"], "date"),
        ("a", ["2024-01-31", "soon"], None),
    ],
)
def test_columns_without_use_are_left_out(name: str, cells: list[str], reason: str | None) -> None:
    assert why_left_out(name, clean(cells)) == reason


def test_constant_numbers_are_left_out() -> None:
    assert why_left_out("a", np.array([2.0, 2.0])) == "constant"
    assert why_left_out("a", np.array([2.0, np.nan])) is None
