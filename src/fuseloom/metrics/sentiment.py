"""Scores of sentiment given as a number ``[N]``: CMU-MOSI and MOSEI (-3 to 3), CH-SIMS (-1 to 1).

Every score exists in several published variants that differ by a point or two; the name of a score says which
it is. Per variant: the rows that count, and what is positive in predictions and target alike.

- ``nonzero``: rows whose target is not 0; above 0. MulT, MultiBench, MMSA's "Non0".
- ``nonzero_ge``: rows whose target is not 0; 0 and above. MAG.
- ``has0``: all rows; 0 and above. TFN, LMF, MMSA's "Has0".
- ``zero_negative``: all rows; above 0. MulT and MultiBench with ``exclude_zero=False``.

Predictions that are not all finite score NaN, and so does a variant that no row counts for. The definitions
are those of the official code of MulT (Tsai et al., ACL 2019), MAG (Rahman et al., ACL 2020), LMF (Liu, Shen
et al., ACL 2018), MultiBench and MMSA.
"""

from collections.abc import Mapping
from operator import ge, gt
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics._labels import label_f1
from fuseloom.metrics.regression import mae, pearson

__all__ = [
    "VARIANTS",
    "Variant",
    "acc2",
    "acc5",
    "acc7",
    "f1",
    "lmf_scores",
    "mag_scores",
    "mmsa_scores",
    "mmsa_sims_scores",
    "mult_scores",
    "multibench_scores",
    "rounded_accuracy",
    "sims_accuracy",
    "weighted_accuracy",
]

Floats = NDArray[np.floating[Any]]
Labels = NDArray[Any]

Variant = Literal["has0", "nonzero", "nonzero_ge", "zero_negative"]
"""Which rows count and what is positive: see the top of the module."""

VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""All of them."""

_SIMS_EDGES: Mapping[int, list[float]] = {2: [0.0], 3: [-0.1, 0.1], 5: [-0.7, -0.1, 0.1, 0.7]}
"""Number of classes -> upper edges of all but the last; an edge belongs to the class below it."""


def acc2(predictions: Floats, target: Floats, *, variant: Variant = "nonzero") -> float:
    """Share of rows whose sign is right, in one of four variants.

    Raises:
        DataError: predictions and target are not both ``[N]``.
        OptionError: an unknown variant.

    Example:
        >>> predictions, target = np.array([0.4, -0.3, 0.2, 0.0]), np.array([1.0, -2.0, 0.0, 0.0])
        >>> [acc2(predictions, target, variant=v) for v in ("nonzero", "has0", "zero_negative")]
        [1.0, 1.0, 0.75]
    """
    return _share(*_signs(predictions, target, variant), finite=bool(np.isfinite(predictions).all()))


def f1(predictions: Floats, target: Floats, *, variant: Variant = "nonzero", swapped: bool = False) -> float:
    """F1 of positive and of the rest, averaged by their shares in the target.

    The official code of MulT and MultiBench exchanges the arguments of this score, so that the shares are
    those in the predictions; ``swapped`` does the same, for numbers comparable to theirs.

    Args:
        predictions: ``[N]``.
        target: ``[N]``.
        variant: Which rows count and what is positive.
        swapped: Average by the shares in the predictions.

    Raises:
        DataError: predictions and target are not both ``[N]``.
        OptionError: an unknown variant.

    Example:
        >>> predictions, target = np.array([1.0, 2.0, 0.5, -1.0]), np.array([1.0, 3.0, -1.0, -2.0])
        >>> round(f1(predictions, target), 4), round(f1(predictions, target, swapped=True), 4)
        (0.7333, 0.7667)
    """
    predicted, true = _signs(predictions, target, variant)
    if not np.isfinite(predictions).all():
        return float("nan")
    return label_f1(true, predicted) if swapped else label_f1(predicted, true)


def acc7(predictions: Floats, target: Floats) -> float:
    """Share of rows whose whole number from -3 to 3 is right: clipped, then rounded, halves to even.

    Example:
        >>> acc7(np.array([3.6, 0.5, 1.5]), np.array([3.0, 0.0, 1.0]))
        0.6666666666666666
    """
    return rounded_accuracy(predictions, target, bound=3)


def acc5(predictions: Floats, target: Floats) -> float:
    """Share of rows whose whole number from -2 to 2 is right: clipped, then rounded, halves to even."""
    return rounded_accuracy(predictions, target, bound=2)


def rounded_accuracy(predictions: Floats, target: Floats, *, bound: float | None = None) -> float:
    """Share of rows whose whole number is right, after clipping both sides to ``[-bound, bound]``.

    LMF and TFN do not clip (``bound=None``): a prediction of 3.6 is then wrong for a target of 3.

    Raises:
        DataError: predictions and target are not both ``[N]``.
    """
    _check(predictions, target)
    limit = np.inf if bound is None else bound
    predicted, true = (np.round(np.clip(values, -limit, limit)) for values in (predictions, target))
    return _share(predicted, true, finite=bool(np.isfinite(predictions).all()))


def sims_accuracy(predictions: Floats, target: Floats, *, classes: int = 5) -> float:
    """Share of rows whose class of CH-SIMS is right: 2 (edge 0), 3 (-0.1, 0.1) or 5 (-0.7, -0.1, 0.1, 0.7).

    An edge belongs to the class below it.

    Raises:
        DataError: predictions and target are not both ``[N]``.
        OptionError: another number of classes.

    Example:
        >>> sims_accuracy(np.array([0.1, 0.2, -0.9]), np.array([0.0, 0.4, -0.6]), classes=3)
        1.0
    """
    _check(predictions, target)
    if classes not in _SIMS_EDGES:
        raise OptionError(f"classes must be one of {sorted(_SIMS_EDGES)}, got {classes!r}.")
    predicted, true = (_sims_classes(values, classes) for values in (predictions, target))
    return _share(predicted, true, finite=bool(np.isfinite(predictions).all()))


def weighted_accuracy(predictions: Floats, target: Floats) -> float:
    """Mean of the shares of positive and of other rows that are recognised, as ``zero_negative``.

    The official code of MulT has it; NaN where the target holds one of the two only.
    """
    predicted, true = _signs(predictions, target, "zero_negative")
    if true.all() or not true.any() or not np.isfinite(predictions).all():
        return float("nan")
    return float((predicted[true].mean() + (~predicted[~true]).mean()) / 2)


def mult_scores(
    predictions: Floats, target: Floats, *, variant: Variant = "nonzero", faithful: bool = False
) -> dict[str, float]:
    """What MulT reports on CMU-MOSI and MOSEI (Tsai et al., 2019).

    Args:
        predictions: ``[N]``.
        target: ``[N]``, from -3 to 3.
        variant: ``nonzero`` as published, or ``zero_negative``: its ``exclude_zero=False``.
        faithful: Average F1 as its code does, by the shares of the predictions.

    Example:
        >>> list(mult_scores(np.array([0.4, -1.2]), np.array([1.0, -1.0])))
        ['mae', 'pearson', 'acc7', 'acc5', 'f1_nonzero', 'acc2_nonzero']
    """
    return {
        "mae": mae(predictions, target),
        "pearson": pearson(predictions, target),
        "acc7": acc7(predictions, target),
        "acc5": acc5(predictions, target),
        f"f1_{variant}": f1(predictions, target, variant=variant, swapped=faithful),
        f"acc2_{variant}": acc2(predictions, target, variant=variant),
    }


def multibench_scores(
    predictions: Floats, target: Floats, *, variant: Variant = "nonzero", faithful: bool = False
) -> dict[str, float]:
    """What MultiBench reports on CMU-MOSI and MOSEI: as MulT, without Acc-5."""
    scores = mult_scores(predictions, target, variant=variant, faithful=faithful)
    return {name: score for name, score in scores.items() if name != "acc5"}


def mmsa_scores(predictions: Floats, target: Floats, *, faithful: bool = False) -> dict[str, float]:
    """What MMSA reports on CMU-MOSI and MOSEI: both pairs of Acc-2 and F1.

    Args:
        predictions: ``[N]``.
        target: ``[N]``, from -3 to 3.
        faithful: Round to four decimals, as its code does.
    """
    scores = {
        "acc2_has0": acc2(predictions, target, variant="has0"),
        "f1_has0": f1(predictions, target, variant="has0"),
        "acc2_nonzero": acc2(predictions, target),
        "f1_nonzero": f1(predictions, target),
        "acc5": acc5(predictions, target),
        "acc7": acc7(predictions, target),
        "mae": mae(predictions, target),
        "pearson": pearson(predictions, target),
    }
    return _rounded(scores, 4) if faithful else scores


def mmsa_sims_scores(predictions: Floats, target: Floats, *, faithful: bool = False) -> dict[str, float]:
    """What MMSA reports on CH-SIMS; both sides are clipped to -1 and 1 first, for every score.

    Args:
        predictions: ``[N]``.
        target: ``[N]``, from -1 to 1.
        faithful: Round to four decimals, as its code does.
    """
    _check(predictions, target)
    predicted, true = np.clip(predictions, -1, 1), np.clip(target, -1, 1)
    accuracies = {f"sims_acc{k}": sims_accuracy(predictions, target, classes=k) for k in _SIMS_EDGES}
    scores = accuracies | {
        "sims_f1": f1(predictions, target, variant="zero_negative"),
        "mae": mae(predicted, true),
        "pearson": pearson(predicted, true),
    }
    return _rounded(scores, 4) if faithful else scores


def mag_scores(predictions: Floats, target: Floats, *, use_zero: bool = False) -> dict[str, float]:
    """What MAG-BERT's script reports (Rahman et al., 2020).

    By default rows whose target is 0 are left out of everything, MAE and correlation included: such scores
    compare with no other report, and their names end in ``_nonzero``.

    Args:
        predictions: ``[N]``.
        target: ``[N]``, from -3 to 3.
        use_zero: Score all rows.
    """
    _check(predictions, target)
    kept = slice(None) if use_zero else target != 0
    variant: Variant = "has0" if use_zero else "nonzero_ge"
    end = "" if use_zero else "_nonzero"
    predicted, true = predictions[kept], target[kept]
    return {
        f"acc2_{variant}": acc2(predictions, target, variant=variant),
        f"mae{end}": mae(predicted, true) if len(true) else float("nan"),
        f"pearson{end}": pearson(predicted, true) if len(true) else float("nan"),
        f"f1_{variant}": f1(predictions, target, variant=variant),
    }


def lmf_scores(predictions: Floats, target: Floats, *, faithful: bool = False) -> dict[str, float]:
    """What LMF and TFN report on CMU-MOSI; the accuracy of whole numbers is not clipped.

    Args:
        predictions: ``[N]``.
        target: ``[N]``, from -3 to 3.
        faithful: Round the correlation and the accuracy of whole numbers to five decimals, as its code does.
    """
    scores = {
        "mae": mae(predictions, target),
        "pearson": pearson(predictions, target),
        "acc_rounded": rounded_accuracy(predictions, target),
        "acc2_has0": acc2(predictions, target, variant="has0"),
        "f1_has0": f1(predictions, target, variant="has0"),
    }
    rounded = _rounded({name: scores[name] for name in ("pearson", "acc_rounded")}, 5)
    return scores | rounded if faithful else scores


def _check(predictions: Floats, target: Floats) -> None:
    if predictions.ndim != 1 or predictions.shape != target.shape:
        raise DataError(
            f"predictions and target must both be [N], got {list(predictions.shape)} and "
            f"{list(target.shape)}. Flatten them with .reshape(-1)."
        )


def _signs(predictions: Floats, target: Floats, variant: str) -> tuple[Labels, Labels]:
    """Which of the rows that count are positive: predicted and true, both boolean."""
    _check(predictions, target)
    if variant not in VARIANTS:
        raise OptionError(f"variant must be one of {sorted(VARIANTS)}, got {variant!r}.")
    above = ge if variant in ("has0", "nonzero_ge") else gt
    kept = target != 0 if variant in ("nonzero", "nonzero_ge") else np.ones_like(target, dtype=bool)
    return above(predictions, 0)[kept], above(target, 0)[kept]


def _sims_classes(values: Floats, classes: int) -> Labels:
    return np.searchsorted(_SIMS_EDGES[classes], values, side="left")


def _share(predicted: Labels, true: Labels, *, finite: bool) -> float:
    return float((predicted == true).mean()) if finite and len(true) else float("nan")


def _rounded(scores: Mapping[str, float], decimals: int) -> dict[str, float]:
    return {name: round(score, decimals) for name, score in scores.items()}
