"""The findings of a real comparison agree with its leaderboard, its data and one another."""

from dataclasses import replace

import numpy as np
import pytest

from fuseloom.comparison.run import run_comparison
from fuseloom.data import load
from fuseloom.data.exhibit import exhibits


@pytest.fixture
def result(dataset, small, tmp_path):
    return run_comparison(dataset, tmp_path / "run", replace(small, folds=1))


def asked(result):
    chosen = result.recommendation
    return list(dict.fromkeys([chosen.name, chosen.best_fusion]))


def test_findings_speak_of_the_runs_of_the_leaderboard(result):
    entries = {entry.name: entry for entry in result.entries}
    found = result.findings
    assert {one.model for one in found.subsets} == {name for name in asked(result) if name not in "ab"}
    for one in found.subsets:
        assert any(one.scores[0].score.mean == pytest.approx(s) for s in entries[one.model].test_by_run)
        assert [part.modalities for part in one.scores] == [("a", "b"), ("a",), ("b",)]
        for part in one.scores[1:]:
            assert any(part.alone.mean == pytest.approx(s) for s in entries[part.modalities[0]].test_by_run)
    for one in found.confusion:
        hits = sum(row[place] for place, row in enumerate(one.counts))
        assert any(hits / 80 == pytest.approx(s) for s in entries[one.model].test_by_run)
        assert one.classes == ("different", "same")
    assert [one.model for one in found.calibration] == asked(result)
    assert all(sum(bin_.count for bin_ in one.before.curve) == 80 for one in found.calibration)
    assert found.fitted == ()


def test_a_curve_for_every_run_of_the_models_of_the_answer(result, small):
    names = [*asked(result), result.recommendation.best_unimodal]
    curves = result.findings.curves
    assert [one.model for one in curves] == [
        name for name in dict.fromkeys(names) for _ in range(small.seeds)
    ]
    for one in curves:
        assert len(one.train) == len(one.valid) == small.max_epochs
        assert one.valid[one.best_epoch - 1] == min(one.valid)


def test_disagreements_and_health_name_rows_of_the_data(result, dataset):
    for one in result.findings.disagreements:
        assert str(dataset.target[list(dataset.ids).index(one.row)]) == one.target
        assert [guess.model for guess in one.alone] == ["a", "b"]
    degrees = [one.degree for one in result.findings.disagreements]
    assert degrees == sorted(degrees, reverse=True)
    health = result.findings.health
    for split, rows in result.data.rows.items():
        assert sum(counts[split] for counts in health.balance.values()) == rows
    assert health.num_duplicates == 0


def test_numbers_are_looked_at_as_numbers(small, tmp_path):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 200, 2))
    target = 3 * a[:, 0] + b[:, 1] + 10
    b[5:20] = np.nan
    data = load({"a": a, "b": b}, target=target)
    found = run_comparison(data, tmp_path / "run", replace(small, folds=1)).findings
    assert (found.calibration, found.confusion, found.health.balance) == ((), (), {})
    assert found.fitted
    assert all(one.rows == len(one.true) == 40 for one in found.fitted)
    assert sum(found.health.missing["b"].values()) == 15
    assert found.health.spread["train"].deviation > 0
    (diagnosis,) = found.diagnosis
    assert diagnosis.not_told["interaction_regression"].endswith("per row, but 'a' holds 2 features.")


def test_rows_that_are_private_are_only_named(small, tmp_path):
    generator = np.random.default_rng(0)
    data = load(dict(zip("ab", generator.normal(size=(2, 200, 2)), strict=True)), target=["x", "y"] * 100)
    found = run_comparison(data, tmp_path / "run", replace(small, seeds=1, show_rows=False)).findings
    listed = [*found.disagreements, *found.diagnosis[0].complementarity.samples]
    assert listed
    assert not any(one.inputs for one in listed)


def test_the_regression_is_of_all_rows_in_the_units_of_the_data(small, tmp_path):
    generator = np.random.default_rng(0)
    a, b = 1000 + 50 * generator.normal(size=200), generator.normal(size=200)
    target = 2 * a + 3 * b + 0.1 * a * b + generator.normal(size=200)
    data = load({"a": a[:, None], "b": b[:, None]}, target=target)
    (diagnosis,) = run_comparison(data, tmp_path / "run", replace(small, seeds=1)).findings.diagnosis
    found = diagnosis.interaction_regression
    assert (diagnosis.rows, found.rows) == (40, 200)
    (_, slope, _, product) = found.models[-1].coefficients
    assert slope.estimate.low < 2 < slope.estimate.high
    assert product.estimate.low < 0.1 < product.estimate.high


def test_rows_that_are_listed_show_what_they_look_like(result, dataset):
    (diagnosis,) = result.findings.diagnosis
    listed = [*result.findings.disagreements, *diagnosis.complementarity.samples]
    shown = [one for one in listed if one.inputs]
    assert len(shown) > len(result.findings.disagreements)
    for one in shown:
        assert one.inputs == exhibits(dataset.modalities, list(dataset.ids).index(one.row))
