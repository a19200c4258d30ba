"""Rows of a data set as the numbers that they hold."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fuseloom.comparison import numbers
from fuseloom.comparison.numbers import number_rows
from fuseloom.data import Dataset, load
from fuseloom.data.dataset import Embedding, Image, Modality, Schema, Series, Table, Text
from fuseloom.errors import DataError, ModalityError
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

TASK = Regression(0.0, 1.0)


def of(target: Any, **modalities: Modality) -> Dataset:
    return Dataset(
        name="made",
        modalities=modalities,
        target=None if target is None else np.array(target),
        ids=[str(row) for row in range(len(next(iter(modalities.values()))))],
        split=None,
        schema=Schema(source_format="made", modalities={}),
    )


def vectors(*values: float, mask: list[bool] | None = None) -> Embedding:
    column = np.array(values, dtype=np.float32)[:, None]
    return Embedding(values=column, mask=np.array(mask if mask else [True] * len(column)))


def cells(**columns: list[float]) -> Table:
    return Table(numbers={name: np.array(column) for name, column in columns.items()}, categories={})


def test_numbers_are_in_the_units_of_the_data_and_missing_ones_are_nan() -> None:
    data = of(
        [1.0, 2.0, 3.0], a=vectors(10, 20, 30, mask=[True, False, True]), b=cells(x=[0.1, np.nan, 700.0])
    )
    rows = number_rows(data, ["b", "a"], TASK)
    assert list(rows.inputs) == ["b", "a"]
    np.testing.assert_array_equal(rows.inputs["a"].numpy(), [10, np.nan, 30])
    np.testing.assert_array_equal(rows.inputs["b"].numpy(), [0.1, np.nan, 700])
    assert rows.target is not None
    assert rows.target.tolist() == [1, 2, 3]


def test_rows_without_a_known_target_are_left_out() -> None:
    numbers_ = of([1.0, np.nan, 3.0], a=vectors(1, 2, 3))
    rows = number_rows(numbers_, ["a"], TASK)
    assert rows.inputs["a"].tolist() == [1, 3]
    names = of(np.array(["no", None, "yes"], dtype=object), a=vectors(1, 2, 3))
    rows = number_rows(names, ["a"], Classification(["no", "yes"]))
    assert rows.target is not None
    assert (rows.inputs["a"].tolist(), rows.target.tolist()) == ([1, 3], [0, 1])


def test_all_rows_are_taken_and_of_very_many_a_sample_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = load("reviews")
    assert len(number_rows(reviews, ["smiling"], TASK)) == 300
    monkeypatch.setattr(numbers, "_MOST_ROWS", 50)
    drawn = [number_rows(reviews, ["smiling"], TASK, seed=seed).inputs["smiling"] for seed in (0, 0, 1)]
    assert len(drawn[0]) == 50
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])


STEPS = np.zeros((2, 3, 1), dtype=np.float32)


@pytest.mark.parametrize(
    ("modality", "content"),
    [
        (Embedding(values=np.zeros((2, 9), np.float32), mask=np.ones(2, bool)), "9 features"),
        (Embedding(values=STEPS, mask=np.ones((2, 3), bool)), "steps of features"),
        (cells(x=[1.0, 2.0], y=[1.0, 2.0]), "2 columns of numbers"),
        (
            Table(numbers={"x": np.ones(2)}, categories={"c": np.array(["a", "b"], dtype=object)}),
            "1 column of numbers and 1 column of categories",
        ),
        (Text(values=np.array(["a", "b"], dtype=object)), "written text"),
        (Image(items=np.array(["a", "b"], dtype=object)), "pictures"),
        (Series(values=STEPS, mask=np.ones((2, 3), bool)), "steps in time"),
    ],
)
def test_what_is_more_than_a_number_is_named(modality: Modality, content: str) -> None:
    with pytest.raises(
        ModalityError, match=f"needs modalities of one number per row, but 'm' holds {content}[.]"
    ):
        number_rows(of([1.0, 2.0], m=modality), ["m"], TASK)


def test_a_target_is_needed() -> None:
    with pytest.raises(DataError, match="must have a target, got none"):
        number_rows(replace(load("reviews"), target=None), ["smiling"], TASK)
