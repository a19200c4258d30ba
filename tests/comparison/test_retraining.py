"""A run of a comparison once more: the same weights, and what its gradients were."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseloom.comparison import gather, retraining
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.result import Comparison
from fuseloom.comparison.run import run_comparison
from fuseloom.comparison.training import Trained
from fuseloom.data import Dataset
from fuseloom.diagnose.gradients import GradientCourse

Asked = tuple[str, Mapping[str, Trained], Any, CompareConfig]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What the comparison asked for, to ask again."""
    kept: list[Asked] = []

    def keep(*arguments: Any) -> GradientCourse:
        kept.append(arguments)
        return retraining.gradients_over_training(*arguments)

    monkeypatch.setattr(gather, "gradients_over_training", keep)
    return kept


def course_of(comparison: Comparison) -> GradientCourse:
    (diagnosis,) = comparison.findings.diagnosis
    assert diagnosis.gradients is not None
    return diagnosis.gradients


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"learning_rates": (1e-3, 5e-3), "search_epochs": 2}, marks=pytest.mark.slow),
        pytest.param({"encoders": "pretrained"}, marks=pytest.mark.slow),
        {"class_weight": "balanced", "modality_dropout": 0.2, "schedule": "cosine", "warmup": 0.1},
    ],
)
def test_the_run_once_more_is_the_run(
    dataset: Dataset, small: CompareConfig, tmp_path: Path, options: dict[str, Any]
) -> None:
    found = run_comparison(dataset, tmp_path / "run", replace(small, **options))
    course = course_of(found)
    assert course.note == ""  # or it would say that the weights are others
    assert course.model == found.recommendation.best_fusion
    assert course.learnt_from
    assert course.epochs == (1, 2, 3)
    best = [c for c in found.findings.curves if c.model == course.model]
    assert course.kept in {curve.best_epoch for curve in best}
    for look in course.gradients:
        assert look.shares.keys() == {"a", "b"}
        assert sum(share.mean for share in look.shares.values()) == pytest.approx(1)
        assert (look.rows, look.parts) == (256, 8)
        assert [(one.first, one.second) for one in look.conflicts] == [("a", "b")]


def test_encoders_that_are_frozen_have_no_share(
    dataset: Dataset, small: CompareConfig, tmp_path: Path
) -> None:
    found = run_comparison(dataset, tmp_path / "run", replace(small, encoders="pretrained-frozen"))
    course = course_of(found)
    assert course.note == ""
    assert course.gradients[-1].untrained == ("a", "b")
    assert course.gradients[-1].shares == {}
    assert course.gradients[-1].conflicts[0].cosine is not None


def test_a_long_run_is_not_repeated(
    dataset: Dataset, small: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "LONGEST_S", 0.0)
    monkeypatch.setattr(retraining, "fit", None)  # what would train
    course = course_of(run_comparison(dataset, tmp_path / "run", small))
    assert (course.epochs, course.kept, len(course.gradients)) == ((), None, 1)
    assert course.learnt_from
    assert "more than the 0 s for which it is repeated" in course.note


def test_other_weights_than_the_saved_ones_are_told(
    dataset: Dataset, small: CompareConfig, tmp_path: Path, asked: list[Asked]
) -> None:
    whole = course_of(run_comparison(dataset, tmp_path / "run", small))
    ((name, trained, ready, config),) = asked
    for path in trained[name].weights[0]:
        weights = load_file(path)
        first = next(iter(weights))
        save_file({**weights, first: weights[first] + 1e-3}, path)
    again = retraining.gradients_over_training(name, trained, ready, config)
    assert whole.note == ""
    assert "gave other weights than the saved ones" in again.note
    assert again.epochs == whole.epochs
    for one, other in zip(again.gradients, whole.gradients, strict=True):
        for name, share in one.shares.items():
            assert share.mean == pytest.approx(other.shares[name].mean, rel=1e-4)


def test_a_difference_of_rounding_is_not_told(
    dataset: Dataset, small: CompareConfig, tmp_path: Path, asked: list[Asked]
) -> None:
    run_comparison(dataset, tmp_path / "run", small)
    ((name, trained, ready, config),) = asked
    for path in trained[name].weights[0]:
        rounded = {key: torch.nextafter(value, value + 1) for key, value in load_file(path).items()}
        save_file(rounded, path)
    assert retraining.gradients_over_training(name, trained, ready, config).note == ""


def test_of_a_long_training_some_epochs_are_looked_at(
    dataset: Dataset, small: CompareConfig, tmp_path: Path
) -> None:
    long = replace(small, fusions=("sum",), seeds=1, max_epochs=45, learning_rates=(1e-3,))
    course = course_of(run_comparison(dataset, tmp_path / "run", long))
    last = course.epochs[-1]
    assert 12 <= len(course.epochs) == len(course.gradients) <= 13 < last
    assert course.epochs[0] == 1
    assert course.kept in course.epochs
    assert max(b - a for a, b in zip(course.epochs, course.epochs[1:], strict=False)) <= 5
