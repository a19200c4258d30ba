"""How alike two embeddings of the same rows are, ``[N, D]`` and ``[N, E]``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CanonicalMaps",
    "canonical_maps",
    "column_correlations",
    "linear_cka",
    "modality_gap",
    "nearest",
    "neighbour_overlap",
    "retrieval_hits",
    "unit_rows",
]

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Places = NDArray[np.intp]

_BLOCK = 512
_TIE = 1e-6
"""Cosines closer than this count as equal: rounding in single precision tells them apart no more."""


def linear_cka(x: Floats, y: Floats) -> float:
    """Linear centred kernel alignment (Kornblith et al., 2019), from 0 to 1.

    It is 1 where one is a rotation of the other, scaled and moved. Widths may differ. It is high by chance
    where there are few rows for the width, so judge it against permuted rows. NaN where one is constant.

    Args:
        x: ``[N, D]``.
        y: ``[N, E]``.

    Example:
        >>> x, y = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), np.array([[1.0], [-1], [1], [-1]])
        >>> round(linear_cka(x, 3 * x[:, ::-1]), 9), round(linear_cka(x, y), 9)
        (1.0, 0.0)
    """
    x, y = x - x.mean(0), y - y.mean(0)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.square(x.T @ y).sum() / own) if own > 0 else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class CanonicalMaps:
    """Linear maps to the directions in which two sets of embeddings correlate most."""

    x: Doubles
    """``[D, P]``."""
    y: Doubles
    """``[E, P]``."""


def canonical_maps(
    x: Floats, y: Floats, *, regularisers: Sequence[float], num_pairs: int
) -> list[CanonicalMaps]:
    """Fit canonical correlation analysis, once for each regulariser; widths may differ.

    A regulariser, as a share of the mean variance, is added to the variance of every direction (Vinod, 1976),
    so that few rows do not find directions that correlate by chance.

    Args:
        x: ``[N, D]``.
        y: ``[N, E]``.
        regularisers: Above zero.
        num_pairs: ``P``, at most ``D`` and at most ``E``.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> maps = canonical_maps(x, x[:, :2] + 5, regularisers=[1e-6], num_pairs=2)[0]
        >>> column_correlations(x @ maps.x, x[:, :2] @ maps.y).round(4).tolist()
        [1.0, 1.0]
    """
    x, y = (np.asarray(one - one.mean(0), dtype=np.float64) for one in (x, y))
    (variances_x, axes_x), (variances_y, axes_y) = (np.linalg.eigh(one.T @ one / len(one)) for one in (x, y))
    across = axes_x.T @ (x.T @ y / len(x)) @ axes_y
    maps = []
    for regulariser in regularisers:
        scale_x, scale_y = (
            1 / np.sqrt(np.maximum(variances, 0) + regulariser * max(variances.mean(), 1e-300))
            for variances in (variances_x, variances_y)
        )
        left, _, right = np.linalg.svd(scale_x[:, None] * across * scale_y, full_matrices=False)
        maps.append(
            CanonicalMaps(
                x=axes_x @ (scale_x[:, None] * left[:, :num_pairs]),
                y=axes_y @ (scale_y[:, None] * right[:num_pairs].T),
            )
        )
    return maps


def column_correlations(one: Floats, other: Floats) -> Doubles:
    """Correlation of each column of ``[N, P]`` with its partner in ``[N, P]``; 0 where one does not vary.

    Example:
        >>> one, other = np.array([[0.0, 1], [1, 1], [2, 1]]), np.array([[5.0, 1], [3, 2], [1, 3]])
        >>> column_correlations(one, other).tolist()
        [-1.0, 0.0]
    """
    one, other = one - one.mean(0), other - other.mean(0)
    spread = np.sqrt(np.square(one).sum(0) * np.square(other).sum(0))
    together = (one * other).sum(0)
    correlations: Doubles = np.divide(together, spread, out=np.zeros_like(spread), where=spread > 0)
    return correlations


def unit_rows(x: Floats) -> Floats:
    """Rows divided by their length; a row of zeros stays.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    rows: Floats = np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)
    return rows


def modality_gap(x: Floats, y: Floats) -> float:
    """Distance of the means of the rows of unit length ``[N, D]``, from 0 to 2 (Liang et al., 2022).

    Example:
        >>> modality_gap(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[-1.0, 0.0], [-3.0, 0.0]]))
        2.0
    """
    return float(np.linalg.norm(unit_rows(x).mean(0) - unit_rows(y).mean(0)))


def retrieval_hits(
    queries: Floats, gallery: Floats, *, partners: Places, depths: Sequence[int] = (1, 5, 10)
) -> NDArray[np.float32]:
    """Whether a partner is among the nearest rows of the gallery by cosine, ``[P, N, K]``.

    Their mean over ``N`` is recall@depth. Where several rows are equally near, it is the share of orders of
    these in which the partner is among the nearest, so that embeddings which are all the same do no better
    than chance. Memory is linear in ``N``; time is ``N^2 D``.

    Args:
        queries: ``[N, D]``.
        gallery: ``[N, D]``, of the same width.
        partners: Row of the gallery that belongs to each query, ``[P, N]``, for each of ``P`` pairings.
        depths: ``K`` numbers of nearest rows, none above ``N``.

    Example:
        >>> pairings = np.array([[0, 1, 2], [1, 0, 2]])
        >>> retrieval_hits(np.eye(3), np.eye(3), partners=pairings, depths=[1])[..., 0].tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """
    places = np.asarray(depths)
    hits = np.empty((*partners.shape, len(places)), dtype=np.float32)
    for block, cosines in _cosines(queries, gallery):
        least = -np.partition(-cosines, places - 1, axis=1)[:, places - 1]  # [b, K]
        own = np.take_along_axis(cosines, partners[:, block].T, axis=1).T  # [P, b]
        for k, depth in enumerate(depths):
            limit = least[:, k, None]
            nearer = (cosines > limit + _TIE).sum(1)
            tied = (np.abs(cosines - limit) <= _TIE).sum(1)
            share = np.minimum((depth - nearer) / tied, 1)
            inside = np.abs(own - limit[:, 0]) <= _TIE
            hits[:, block, k] = np.where(inside, share, own > limit[:, 0])
    return hits


def nearest(x: Floats, count: int, *, seed: int = 0) -> Places:
    """The rows nearest to each row by cosine, itself left out, ``[N, count]`` in no order.

    Among rows that are equally near chance decides.

    Args:
        x: ``[N, D]``.
        count: How many, less than ``N``.
        seed: Of what chance decides.
    """
    # Ties go by place, so chance decides them where rows stand in an order of chance.
    order = np.random.default_rng(seed).permutation(len(x))
    found = np.empty((len(x), count), dtype=np.intp)
    for block, cosines in _cosines(x[order], x[order]):
        rows = np.arange(block.start, min(block.stop, len(x)))
        cosines[np.arange(len(rows)), rows] = -np.inf
        found[order[rows]] = order[np.argpartition(-cosines, count - 1, axis=1)[:, :count]]
    return found


def neighbour_overlap(one: Places, other: Places) -> Doubles:
    """Share of the neighbours ``[N, K]`` of each row that are among its neighbours elsewhere, ``[N]``.

    Example:
        >>> neighbour_overlap(np.array([[1, 2], [0, 2]]), np.array([[2, 3], [0, 2]])).tolist()
        [0.5, 1.0]
    """
    shared = np.zeros(len(one))
    for column in other.T:
        shared += (one == column[:, None]).any(1)
    shares: Doubles = shared / one.shape[1]
    return shares


def _cosines(x: Floats, y: Floats) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Cosines ``[b, N]`` of a block of rows of the one with all rows of the other."""
    one, other = (unit_rows(values).astype(np.float32) for values in (x, y))
    for start in range(0, len(one), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield block, one[block] @ other.T
