"""From the predictions of finished runs to what a comparison shows besides its leaderboard."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.comparison.findings import (
    Calibration,
    Confused,
    Confusion,
    Disagreement,
    Fitted,
    Guess,
    LearningCurve,
    Reliability,
)
from fuseloom.comparison.training import Trained
from fuseloom.data.exhibit import Exhibit
from fuseloom.metrics.calibration import (
    calibration_error,
    equal_mass,
    fit_temperature,
    reliability_curve,
    tempered,
)
from fuseloom.metrics.classification import log_loss
from fuseloom.metrics.diversity import disagreement
from fuseloom.tasks import Task

__all__ = ["best_epoch", "calibrated", "confused", "disagreements", "fitted", "learning_curves"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

_MOST_CLASSES = 20
_MOST_PAIRS = 20
_MOST_POINTS = 1000
_MOST_DISAGREEMENTS = 12


def learning_curves(run: Trained) -> list[LearningCurve]:
    """The losses of every run of a model, fold by fold, within a fold seed by seed."""
    return [
        LearningCurve(
            model=run.candidate.name,
            fold=fold,
            seed=seed,
            train=tuple(train for train, _ in curve),
            valid=tuple(valid for _, valid in curve),
            best_epoch=best_epoch([valid for _, valid in curve]),
        )
        for fold, curves in enumerate(run.curves)
        for seed, curve in enumerate(curves)
    ]


def best_epoch(losses: Sequence[float]) -> int:
    """The epoch, from 1, with the lowest validation loss; 0 where none is finite.

    Example:
        >>> best_epoch([0.5, 0.25, float("nan"), 0.25])
        2
    """
    finite = [(loss, epoch) for epoch, loss in enumerate(losses, start=1) if np.isfinite(loss)]
    return min(finite)[1] if finite else 0


def calibrated(
    model: str, valid: tuple[Floats, Ints], test: tuple[Floats, Ints], *, num_bins: int = 15
) -> Calibration:
    """Fit a temperature on validation rows and say what it does on test rows.

    Args:
        model: Name for the result.
        valid: Probabilities ``[N, K]`` and classes ``[N]``.
        test: The same of test rows.
        num_bins: Of confidence.

    Example:
        >>> probabilities, target = np.array([[0.9, 0.1]] * 4), np.array([0, 0, 0, 1])
        >>> found = calibrated("sum", (probabilities, target), (probabilities, target))
        >>> round(found.before.error, 3), round(found.after.error, 3)
        (0.15, 0.0)
    """
    temperature = fit_temperature(*valid)
    probabilities, target = test
    return Calibration(
        model=model,
        temperature=temperature,
        before=_reliability(probabilities, target, num_bins),
        after=_reliability(tempered(probabilities, temperature), target, num_bins),
    )


def _reliability(probabilities: Floats, target: Ints, num_bins: int) -> Reliability:
    return Reliability(
        error=calibration_error(probabilities, target, num_bins=num_bins),
        error_equal_mass=calibration_error(probabilities, target, edges=equal_mass, num_bins=num_bins),
        log_loss=log_loss(probabilities, target),
        curve=reliability_curve(probabilities, target, num_bins=num_bins),
    )


def confused(model: str, probabilities: Floats, target: Ints, classes: Sequence[str]) -> Confusion:
    """What each class was taken for.

    Args:
        model: Name for the result.
        probabilities: ``[N, K]``.
        target: Class indices ``[N]``.
        classes: Names of the ``K`` classes.

    Example:
        >>> found = confused("sum", np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ["no", "yes"])
        >>> found.counts, found.pairs[0].true, found.pairs[0].predicted
        (((1, 0), (1, 0)), 'yes', 'no')
    """
    chosen = probabilities.argmax(-1)
    wrong = chosen != target
    pairs, rows = np.unique(np.stack([target[wrong], chosen[wrong]], -1), axis=0, return_counts=True)
    of_class = np.bincount(target, minlength=len(classes))
    most = np.argsort(-rows, kind="stable")[:_MOST_PAIRS]
    return Confusion(
        model=model,
        classes=tuple(classes),
        counts=_counts(target, chosen, len(classes)) if len(classes) <= _MOST_CLASSES else (),
        pairs=tuple(
            Confused(
                true=classes[pairs[place, 0]],
                predicted=classes[pairs[place, 1]],
                rows=int(rows[place]),
                share=float(rows[place] / of_class[pairs[place, 0]]),
            )
            for place in most
        ),
    )


def _counts(target: Ints, chosen: Ints, num_classes: int) -> tuple[tuple[int, ...], ...]:
    cells = np.bincount(target * num_classes + chosen, minlength=num_classes**2)
    return tuple(map(tuple, cells.reshape(num_classes, num_classes).tolist()))


def fitted(model: str, predictions: Floats, target: Floats) -> Fitted:
    """Predicted against true numbers; of many rows a sample.

    Args:
        model: Name for the result.
        predictions: ``[N]``.
        target: ``[N]``.

    Example:
        >>> fitted("sum", np.array([1.5]), np.array([2.0])).predicted
        (1.5,)
    """
    count = len(target)
    drawn = np.random.default_rng(0).permutation(count)[:_MOST_POINTS]
    return Fitted(
        model=model,
        rows=count,
        true=tuple(map(float, target[drawn])),
        predicted=tuple(map(float, predictions[drawn])),
    )


def disagreements(
    task: Task,
    alone: Mapping[str, Floats],
    fused: tuple[str, Floats],
    *,
    ids: Sequence[str],
    target: Sequence[str],
    looks: Callable[[int], dict[str, Exhibit]] = lambda place: {},
) -> list[Disagreement]:
    """The rows of which the modalities differ most, each asked alone; those where all agree are left out.

    Args:
        task: Reads the predictions.
        alone: Modality -> predictions of its own model, probabilities ``[N, K]`` or numbers ``[N]``.
        fused: Name and predictions of a fusion.
        ids: Names of the rows.
        target: What is true of them, in words.
        looks: Says what a row looks like, by its place.
    """
    degree = disagreement(np.stack(list(alone.values())))
    guesses = {name: _guesses(task, name, predictions) for name, predictions in alone.items()}
    of_fusion = _guesses(task, *fused)
    ranked = np.argsort(-degree, kind="stable")[:_MOST_DISAGREEMENTS]
    return [
        Disagreement(
            row=ids[row],
            target=target[row],
            degree=float(degree[row]),
            alone=tuple(guesses[name][row] for name in alone),
            fused=of_fusion[row],
            inputs=looks(row),
        )
        for row in ranked.tolist()
        if degree[row] > 1e-6
    ]


def _guesses(task: Task, model: str, predictions: Floats) -> list[Guess]:
    sure = predictions.max(-1).tolist() if predictions.ndim == 2 else [None] * len(predictions)
    return [
        Guess(model=model, prediction=_word(value), confidence=confidence)
        for value, confidence in zip(task.columns(predictions)["prediction"], sure, strict=True)
    ]


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
