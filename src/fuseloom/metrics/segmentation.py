"""Scores of label maps: pixels counted by what they are and what they were called."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError, OptionError

__all__ = ["Absent", "SegmentationScores", "confusion_counts", "scores_of_sums", "segmentation_scores"]

Absent = Literal["skip", "zero"]
Ints = NDArray[np.integer[Any]]
Counts = NDArray[np.number[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationScores:
    """Shares from 0 to 1; of each label, and their means."""

    pixel_accuracy: float
    """Share of all pixels that are called what they are."""
    mean_accuracy: float
    mean_iou: float
    mean_f1: float
    accuracy: Floats
    """Of each label the share of its pixels that are called so ``[K]``; NaN of one that no pixel is."""
    iou: Floats
    """Intersection over union ``[K]``; NaN of a label that no pixel is and none is called."""
    f1: Floats
    """``[K]``, NaN as of ``iou``."""


def confusion_counts(found: Ints, true: Ints, num_labels: int) -> NDArray[np.int64]:
    """How many pixels of each label, a row each, are called what ``[K, K]``.

    Args:
        found: Labels in [0, K), of any shape.
        true: As many; pixels with any other label, such as 255, do not count.
        num_labels: ``K``.

    Raises:
        DataError: other numbers of pixels, or a label that was found is none.

    Example:
        >>> confusion_counts(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 255]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    if found.shape != true.shape:
        raise DataError(f"found and true must have one shape, got {found.shape} and {true.shape}.")
    kept = (true >= 0) & (true < num_labels)
    called = found[kept].astype(np.int64)
    if called.size and not 0 <= called.min() <= called.max() < num_labels:
        wrong = called.min() if called.min() < 0 else called.max()
        raise DataError(f"found must be labels in [0, {num_labels}), got {wrong}.")
    pairs = num_labels * true[kept].astype(np.int64) + called
    return np.bincount(pairs, minlength=num_labels**2).reshape(num_labels, num_labels)


def segmentation_scores(counts: Counts, *, absent: Absent = "skip") -> SegmentationScores:
    """Accuracy, intersection over union and F1 of pixels so counted, of one picture or of a whole set.

    Args:
        counts: Of `confusion_counts`; those of several pictures are added.
        absent: What a mean makes of a label that has no score, as no pixel is it (nor, for all but accuracy,
            is called so). ``skip`` leaves it out, as the field and the NYUDv2 code of GeminiFusion,
            TokenFusion and CEN do. ``zero`` counts it as zero, as the DeLiVER code does, whose means are
            lower for that.

    Raises:
        DataError: counts that are no square.
        OptionError: another word.

    Example:
        >>> scores = segmentation_scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
        >>> scores.pixel_accuracy, round(scores.mean_iou, 3), scores.iou
        (0.875, 0.775, array([0.75, 0.8 ,  nan]))
        >>> round(segmentation_scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), absent="zero").mean_iou, 3)
        0.517
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise DataError(f"counts must be [K, K], got shape {counts.shape}.")
    if absent not in ("skip", "zero"):
        raise OptionError(f"absent must be 'skip' or 'zero', got {absent!r}.")
    right, true, called = np.diagonal(counts), counts.sum(1), counts.sum(0)
    total = int(counts.sum())
    accuracy, iou = _shares(right, true), _shares(right, true + called - right)
    f1 = _shares(2 * right, true + called)
    return SegmentationScores(
        pixel_accuracy=int(right.sum()) / total if total else 0.0,
        mean_accuracy=_mean(accuracy, absent),
        mean_iou=_mean(iou, absent),
        mean_f1=_mean(f1, absent),
        accuracy=accuracy,
        iou=iou,
        f1=f1,
    )


def scores_of_sums(sums: Floats, *, score: str, label: int | None = None, absent: Absent = "skip") -> Floats:
    """One of the scores of many counts at once, such as those of resampled rows.

    Args:
        sums: Counts as of `confusion_counts`, laid out ``[..., K * K]``.
        score: Name of a field of `SegmentationScores`.
        label: Which label's, of a score of each.
        absent: As of `segmentation_scores`.

    Returns:
        Scores ``[...]``.

    Example:
        >>> sums = np.array([[3.0, 1.0, 0.0, 4.0], [1.0, 0.0, 0.0, 1.0]])
        >>> scores_of_sums(sums, score="pixel_accuracy").tolist()
        [0.875, 1.0]
    """
    labels = math.isqrt(sums.shape[-1])
    flat = sums.reshape(-1, labels, labels)
    found = [getattr(segmentation_scores(counts, absent=absent), score) for counts in flat]
    values = np.array([one if label is None else one[label] for one in found], dtype=np.float64)
    return values.reshape(sums.shape[:-1])


def _shares(some: Counts, of: Counts) -> Floats:
    shares: Floats = np.divide(some, of, out=np.full(some.shape, np.nan), where=of > 0)
    return shares


def _mean(scores: Floats, absent: Absent) -> float:
    """Zero of no score at all, as the official codes have it."""
    kept = scores[~np.isnan(scores)] if absent == "skip" else np.nan_to_num(scores)
    return float(kept.mean()) if kept.size else 0.0
