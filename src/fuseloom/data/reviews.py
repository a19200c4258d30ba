"""The regression of a lecture: what smiling says of a review's score depends on who smiles."""

import math

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.source import Source
from fuseloom.data.values import embedding

__all__ = ["read_reviews"]

_OTHERS, _CRITICS = 185, 115
_FULL = (5.79, 0.68, -2.94, 1.29)
_ADDITIVE = (5.29, 1.19, -1.69)
_SMILING_SLOPE = 1.20
_RESIDUAL_STD = 0.85


def read_reviews() -> Source:
    r"""300 reviews: audience ``score``, amount of ``smiling``, and whether by a ``critic`` (0 or 1).

    The rows are constructed, they are not the data of the lecture, which are not published: they are chosen
    so that ordinary least squares gives the lecture's three tables (P. Liang, MIT, "Multimodal Fusion"),

    ================================ ========= ======= ====== ===============
    model                            intercept smiling critic smiling, critic
    ================================ ========= ======= ====== ===============
    smiling                          4.63      1.20
    smiling + critic                 5.29      1.19    -1.69
    smiling + critic + their product 5.79      0.68    -2.94  1.29
    ================================ ========= ======= ====== ===============

    The full model is a line for each group, so it fixes the mean score given smiling. Write ``m0`` and ``m1``
    for the mean of smiling without and with critics, ``v0`` and ``v1`` for its variances, ``s`` for the share
    of critics. What the second model leaves out biases it by known amounts: its slope is the mean of the two
    slopes, weighted by ``(1 - s) v0`` and ``s v1``; its intercept gives ``m0``, its third coefficient ``m1``.
    The slope of the first adds the bias of leaving out ``critic``, which gives the variance of smiling as a
    whole, and its intercept follows from ``s`` = 115 / 300. Any residuals then do that have mean zero and no
    correlation with smiling in each group.
    """
    means, variances = _moments()
    smiling = [
        _skewed(count, mean, variance)
        for count, mean, variance in zip((_OTHERS, _CRITICS), means, variances, strict=True)
    ]
    intercept, slope, shift, interaction = _FULL
    generator = np.random.default_rng(0)
    score = [
        intercept + slope * smiling[0] + _residuals(smiling[0], generator),
        intercept + shift + (slope + interaction) * smiling[1] + _residuals(smiling[1], generator),
    ]
    order = generator.permutation(_OTHERS + _CRITICS)
    critic = np.repeat([0.0, 1.0], [_OTHERS, _CRITICS])[order]
    # Two decimals, as one would write them down; the tables have two as well and stay as they are.
    columns = [np.round(np.concatenate(parts)[order], 2) for parts in (smiling, score)]
    return Source(
        name="reviews",
        source_format="reviews",
        ids=[str(row) for row in range(len(order))],
        places=[f"reviews row {row}" for row in range(len(order))],
        arrays={"smiling": embedding("smiling", columns[0]), "critic": embedding("critic", critic)},
        labels={"score": columns[1]},
        target="score",
        target_kind="number",
    )


def _moments() -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and variance of smiling, without and with critics."""
    intercept, slope, shift, interaction = _FULL
    intercept_left, slope_left, shift_left = _ADDITIVE
    share = _CRITICS / (_OTHERS + _CRITICS)
    weight = (slope_left - slope) / interaction
    mean_others = (intercept_left - intercept) / (slope - slope_left)
    # The difference of the groups' mean scores, once by each model.
    mean_critics = (shift_left - shift - (slope_left - slope) * mean_others) / (
        slope + interaction - slope_left
    )
    between = share * (1 - share) * (mean_critics - mean_others) ** 2
    total = share * (1 - share) * (mean_critics - mean_others) * shift_left / (_SMILING_SLOPE - slope_left)
    within = total - between
    return (mean_others, mean_critics), (within * (1 - weight) / (1 - share), within * weight / share)


def _skewed(count: int, mean: float, variance: float) -> NDArray[np.float64]:
    """Amounts from 0 on with that mean and variance: most smile little, some a lot.

    The power of a uniform variable with these moments, on a regular grid, then shifted and scaled by what the
    grid is off.
    """
    ratio = mean**2 / variance
    power = (1 + math.sqrt(1 + ratio)) / ratio
    shape = ((np.arange(count) + 0.5) / count) ** power
    amounts: NDArray[np.float64] = mean + (shape - shape.mean()) / shape.std() * math.sqrt(variance)
    return np.maximum(amounts, 0)


def _residuals(smiling: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Bounded noise, so that scores stay between 0 and 10, with no mean and no correlation with smiling."""
    drawn = generator.random((2, len(smiling))).sum(0)
    design = np.stack([np.ones_like(smiling), smiling], axis=1)
    left: NDArray[np.float64] = drawn - design @ np.linalg.lstsq(design, drawn, rcond=None)[0]
    return left * (_RESIDUAL_STD / float(left.std()))
