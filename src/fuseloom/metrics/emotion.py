"""Scores of classes of emotion and sentiment, from logits, as published for IEMOCAP and by MMSA."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError
from fuseloom.metrics._labels import label_f1

__all__ = ["EMOTIONS", "iemocap_scores", "mmsa_class_scores"]

EMOTIONS = ("neutral", "happy", "sad", "angry")
"""The emotions of IEMOCAP in the order of its files."""

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

_NEGATIVE, _NEUTRAL, _POSITIVE = range(3)


def iemocap_scores(logits: Floats, target: Ints) -> dict[str, float]:
    """Weighted F1 and accuracy of each emotion, present or not, as MulT reports them (Tsai et al., 2019).

    Args:
        logits: ``[N, 4, 2]``, per emotion of `EMOTIONS` absent and present; or the same as ``[N, 8]``.
        target: ``[N, 4]``, 1 where the emotion is present, 0 elsewhere.

    Raises:
        DataError: other shapes, or no rows.

    Example:
        >>> scores = iemocap_scores(np.array([[0, 1, 1, 0, 1, 0, 1, 0.0]]), np.array([[1, 0, 1, 0]]))
        >>> scores["neutral_accuracy"], scores["sad_accuracy"]
        (1.0, 0.0)
    """
    num = len(EMOTIONS)
    if len(logits) == 0 or logits.shape[1:] not in ((num, 2), (num * 2,)):
        raise DataError(f"logits must be [N, {num}, 2] or [N, {num * 2}], got {list(logits.shape)}.")
    if target.shape != (len(logits), num):
        raise DataError(f"target must be [{len(logits)}, {num}] like logits, got {list(target.shape)}.")
    predicted = logits.reshape(-1, num, 2).argmax(-1)  # [N, 4]
    scores = {}
    for place, name in enumerate(EMOTIONS):
        scores[f"{name}_f1"] = label_f1(predicted[:, place], target[:, place])
        scores[f"{name}_accuracy"] = _accuracy(predicted[:, place], target[:, place])
    return scores


def mmsa_class_scores(logits: Floats, target: Ints, *, faithful: bool = False) -> dict[str, float]:
    """What MMSA reports of negative, neutral and positive (0, 1, 2) on CMU-MOSI and MOSEI.

    The binary scores ask whether the positive logit exceeds the negative one. MMSA calls the first pair
    "Has0"; unlike "Has0" of a number, neutral counts as not positive, so it is ``zero_negative`` here. In the
    official code the second pair ("Non0") compares 0 and 1 with targets of 0 and 2, so that no positive row
    is ever right; here it compares like with like.

    Args:
        logits: ``[N, 3]``.
        target: ``[N]``, 0, 1 or 2.
        faithful: Compare, and round to four decimals, as the official code does.

    Raises:
        DataError: other shapes, or no rows.

    Example:
        >>> logits, target = np.array([[0.0, 0.1, 2.0], [3.0, 0.0, 1.0]]), np.array([2, 0])
        >>> mmsa_class_scores(logits, target)["acc2_nonzero"]
        1.0
        >>> mmsa_class_scores(logits, target, faithful=True)["acc2_nonzero"]
        0.5
    """
    if len(logits) == 0 or logits.shape[1:] != (3,) or target.shape != (len(logits),):
        raise DataError(
            f"logits and target must be [N, 3] and [N], got {list(logits.shape)} and {list(target.shape)}."
        )
    positive = logits[:, _POSITIVE] > logits[:, _NEGATIVE]
    kept = target != _NEUTRAL
    decided = positive[kept].astype(np.int64)
    true = target[kept] if faithful else target[kept] == _POSITIVE
    scores = {
        "acc2_zero_negative": _accuracy(positive, target == _POSITIVE),
        "f1_zero_negative": label_f1(positive, target == _POSITIVE),
        "acc2_nonzero": _accuracy(decided, true),
        "f1_nonzero": label_f1(decided, true),
        "acc3": _accuracy(logits.argmax(-1), target),
        "f1_3": label_f1(logits.argmax(-1), target),
    }
    return {name: round(score, 4) for name, score in scores.items()} if faithful else scores


def _accuracy(predicted: NDArray[Any], target: NDArray[Any]) -> float:
    return float((predicted == target).mean()) if len(target) else float("nan")
