import numpy as np
import pytest

from fuseloom.data import load

TABLES = [(4.63, 1.20), (5.29, 1.19, -1.69), (5.79, 0.68, -2.94, 1.29)]


def columns() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = load("reviews")
    smiling, critic = (rows.modalities[n].values[:, 0].astype(np.float64) for n in ("smiling", "critic"))
    assert rows.target is not None
    return smiling, critic, rows.target


def design(num_columns: int) -> np.ndarray:
    smiling, critic, _ = columns()
    return np.column_stack([np.ones(300), smiling, critic, smiling * critic][:num_columns])


@pytest.mark.parametrize("table", TABLES, ids=["smiling", "additive", "full"])
def test_least_squares_gives_the_table_of_the_lecture_to_the_printed_digit(table: tuple[float, ...]) -> None:
    x, score = design(len(table)), columns()[2]
    weights = np.linalg.solve(x.T @ x, x.T @ score)
    assert tuple(f"{weight:.2f}" for weight in weights) == tuple(f"{weight:.2f}" for weight in table)


@pytest.mark.parametrize("table", TABLES, ids=["smiling", "additive", "full"])
def test_statsmodels_prints_that_table(table: tuple[float, ...]) -> None:
    api = pytest.importorskip("statsmodels.api", exc_type=ImportError)
    fitted = api.OLS(columns()[2], design(len(table))).fit()
    assert tuple(np.round(fitted.params, 2)) == table
    printed = [line.split()[1] for line in fitted.summary2().as_text().splitlines() if line[:1] in ("c", "x")]
    assert [f"{float(weight):.2f}" for weight in printed] == [f"{weight:.2f}" for weight in table]


def test_the_product_is_what_the_additive_model_lacks() -> None:
    """The F test of the nested models, by hand."""
    score = columns()[2]
    left = [
        np.sum((score - x @ np.linalg.lstsq(x, score, rcond=None)[0]) ** 2) for x in (design(3), design(4))
    ]
    assert (left[0] - left[1]) / (left[1] / 296) > 100


def test_rows_are_such_as_one_could_write_down() -> None:
    smiling, critic, score = columns()
    assert len(score) == 300
    assert set(critic.tolist()) == {0.0, 1.0}
    assert smiling.min() >= 0
    assert smiling.max() < 3
    assert score.min() > 0
    assert score.max() < 10
    np.testing.assert_array_equal(score, np.round(score, 2))


def test_groups_are_mixed_and_rows_always_the_same() -> None:
    smiling, critic, score = columns()
    again = columns()
    np.testing.assert_array_equal(score, again[2])
    np.testing.assert_array_equal(smiling, again[0])
    assert 30 < critic[:100].sum() < 50  # of 115 critics among 300


def test_it_is_read_as_a_regression_on_two_modalities() -> None:
    rows = load("reviews")
    assert rows.schema.target_kind == "number"
    assert {name: spec.kind for name, spec in rows.schema.modalities.items()} == {
        "smiling": "embedding",
        "critic": "embedding",
    }
