import math
from dataclasses import replace

import pytest
import torch

from fuseloom import Batch
from fuseloom.data import load
from fuseloom.diagnose.interaction_regression import InteractionRegression, interaction_regression
from fuseloom.report.regression import (
    moderated_pairs,
    number,
    regression_details,
    regression_saying,
    regression_table,
)


@pytest.fixture(scope="module")
def reviews() -> InteractionRegression:
    data = load("reviews")
    inputs = {name: torch.from_numpy(one.values).double() for name, one in data.modalities.items()}
    return interaction_regression(Batch(inputs=inputs, target=torch.from_numpy(data.target)), target="score")


def made(
    *products: float, names: str = "abc", count: int = 400, family: str = "linear", seed: int = 0
) -> InteractionRegression:
    """Of rows whose target is a sum and these products of pairs, with noise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(count, generator=generator).double() for name in names}
    columns = list(inputs.values())
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    noise = torch.randn(count, generator=generator).double()
    target = sum(columns) + sum(
        weight * columns[i] * columns[j] for weight, (i, j) in zip(products, pairs, strict=False)
    )
    target = target + noise if family == "linear" else (target + 2 * noise > 0).double()
    return interaction_regression(Batch(inputs=inputs, target=target), target="y", family=family)


def test_the_lectures_example_is_told_by_its_slopes(reviews: InteractionRegression) -> None:
    assert regression_saying(reviews) == (
        "In the data (300 rows) smiling and critic interact: each unit of smiling changes score by +0.681 "
        "where critic is 0, and by +1.97 where it is 1 (F test of their product, p < 0.001)."
    )
    assert moderated_pairs(reviews) == (("smiling", "critic"),)


def test_the_lectures_table_has_its_numbers(reviews: InteractionRegression) -> None:
    table = regression_table(reviews)
    assert table.head == ("Term", "Estimate", "SE", "t", "p", "95 % interval")
    assert [row[0] for row in table.rows] == ["intercept", "smiling", "critic", "smiling x critic"]
    assert [round(float(row[1]), 2) for row in table.rows] == [5.79, 0.68, -2.94, 1.29]
    assert table.rows[3][4] == "<0.001"
    assert table.note.startswith("score of 300 rows of the data, whatever a model predicts. R2 0.")
    details = dict(regression_details(reviews))
    assert list(details) == ["Without products", "Are the terms needed?", "Slopes"]
    assert [round(float(row[1]), 2) for row in details["Without products"].rows] == [5.29, 1.19, -1.69]
    tests = details["Are the terms needed?"].rows
    assert [row[:2] for row in tests] == [
        ("smiling", "smiling + critic"),
        ("smiling + critic", "smiling + critic + smiling x critic"),
    ]
    assert details["Slopes"].rows[0][:3] == ("smiling", "critic = 0", "0.681")
    every = (table, *details.values())
    assert all(len(row) == len(one.head) for one in every for row in one.rows)


def test_where_no_product_is_needed_none_is_told() -> None:
    assert regression_saying(made(0, names="ab")) == (
        "The data (400 rows) do not show that what a says of y depends on b (F test of their product, p = "
        f"{made(0, names='ab').interaction.p:.2g})."
    )
    said = regression_saying(made(0, 0, 0))
    assert said.startswith(
        "The data (400 rows) do not show that what one of a, b and c says of y depends on another"
    )


def test_a_moderator_with_many_values_is_told_about_its_middle() -> None:
    one = made(2.0, names="ab")
    low, _, high = (slope for slope in one.slopes if slope.modality == "a")
    assert regression_saying(one) == (
        f"In the data (400 rows) a and b interact: each unit of a changes y by {low.slope.mean:.3g} where b "
        f"is about {low.value:.3g}, and by +{high.slope.mean:.3g} where it is about {high.value:.3g} (F "
        "test of their product, p < 0.001)."
    )


def test_of_many_pairs_the_one_that_matters_most_is_told() -> None:
    one = made(0.0, 2.0, 0.5)
    assert moderated_pairs(one) == (("a", "c"), ("b", "c"), ("a", "b"))
    said = regression_saying(one)
    assert said.startswith(
        "In the data (400 rows) a and c interact, and so does another pair: each unit of a changes"
    )
    assert said.endswith("(F test of their products, p < 0.001).")
    assert "pair" not in regression_saying(made(0.0, 2.0, 0.0))
    assert "and so do other pairs" in regression_saying(made(1.0, 2.0, 0.5))


def test_products_that_matter_only_together_are_not_named() -> None:
    one = made(0.5, 0.5, 0.5)
    *terms, full = one.models
    dim = replace(full, coefficients=tuple(replace(term, p=0.04) for term in full.coefficients))
    said = regression_saying(replace(one, models=(*terms, dim)))
    assert said.startswith(
        "In the data (400 rows) a, b and c interact, though of no two of them alone is it shown (F"
    )


def test_a_test_that_rests_on_even_scatter_leaves_it_open(reviews: InteractionRegression) -> None:
    open_ = replace(reviews, interaction=replace(reviews.interaction, p=0.03, robust_p=0.2))
    assert regression_saying(open_) == (
        "Whether smiling and critic interact in the data (300 rows) is open (F test of their product, "
        "p = 0.03, but p = 0.2 by a test that lets rows scatter unevenly)."
    )
    unknown = replace(reviews, interaction=replace(reviews.interaction, p=0.03, robust_p=None))
    assert "interact: each unit" in regression_saying(unknown)
    table = dict(regression_details(replace(reviews, tests=(unknown.interaction,))))["Are the terms needed?"]
    assert table.rows[0][4:6] == ("0.03", "n/a")
    lost = replace(reviews, interaction=replace(reviews.interaction, p=math.nan))
    assert "do not show" in regression_saying(lost)


def test_of_two_classes_odds_are_told() -> None:
    one = made(1.5, names="ab", family="logistic", count=2000)
    low, _, high = (math.exp(slope.slope.mean) for slope in one.slopes if slope.modality == "a")
    said = regression_saying(one)
    assert f"each unit of a multiplies the odds of y by {number(low)} where b is about" in said
    assert f"and by {number(high)} where it is about" in said
    assert "likelihood-ratio test of their product" in said
    table = regression_table(one)
    assert table.head[3] == "z"
    assert table.note.startswith("Log odds of y of 2,000 rows")
    assert "McFadden's R2" in table.note
    assert dict(regression_details(one))["Are the terms needed?"].head[2] == "Chi2"
    huge = tuple(replace(slope, slope=replace(slope.slope, mean=1000.0)) for slope in one.slopes)
    assert "by n/a where" in regression_saying(replace(one, slopes=huge))


def test_the_whole_is_tested_against_the_additive_model_where_that_is_no_step() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(60, generator=generator).double() for name in "abc"}
    rows = Batch(inputs=inputs, target=torch.randn(60, generator=generator).double())
    found = interaction_regression(rows, order=3, centre=True)
    tests = dict(regression_details(found))["Are the terms needed?"].rows
    assert [row[3] for row in tests] == ["1", "1", "3", "1", "4"]
    assert "slope where those that it is multiplied with are at their means" in regression_table(found).note


def test_rows_left_out_are_counted(reviews: InteractionRegression) -> None:
    assert "17 rows lack one of them" in regression_table(replace(reviews, left_out=17)).note
    assert "lack" not in regression_table(reviews).note


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (0.5, "0.500"),
        (1200.0, "1,200"),
        (100.0, "100"),
        (-0.0, "0"),
        (1e-9, "1e-09"),
        (123456.789, "123,457"),
        (None, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_a_number_has_three_digits_or_is_whole(value: float | None, shown: str) -> None:
    assert number(value) == shown
