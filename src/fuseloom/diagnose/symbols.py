"""Continuous values as symbols: clusters, as many as help most to predict the target of rows left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import MissingExtraError, OptionError

__all__ = ["Symbols", "held_out_gain", "symbolise"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

_COUNTS = (2, 3, 4, 6, 8, 12, 16, 20, 30)
_MOST_SYMBOLS = 64
_ROWS_PER_SYMBOL = 5
_KEPT_VARIANCE, _MOST_COMPONENTS = 0.9, 16
_MOST_FITTED = 10_000
_STARTS = 16
_FOLDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Symbols:
    """Two sources as symbols."""

    codes: dict[str, NDArray[np.int64]]
    """Source -> symbol of each row ``[N]``."""
    counts: dict[str, int]
    """Source -> how many symbols there are."""
    clustered: tuple[str, ...]
    """Sources whose symbols are clusters; the others have their values as symbols."""


def symbolise(
    values: Mapping[str, Floats],
    labels: Ints,
    *,
    num_clusters: int | None = None,
    seed: int = 0,
) -> Symbols:
    """Turn the values of two sources into symbols.

    Where a source has at most 64 different rows of values, each five times on average, they are its symbols.
    Otherwise its columns are standardised and projected on their principal components (90 % of the variance,
    at most 16), and k-means makes clusters. Their numbers are those of 2, 3, 4, 6, 8, 12, 16, 20 and 30 per
    source that give the labels of rows left out of the counts the greatest likelihood (five folds): by both
    sources together, so that what only both hold counts, plus by each alone, so that one does not stop short
    of what the other tells as well. Clusters are made without the labels.

    Args:
        values: Source -> ``[N, F]``; two of them.
        labels: Classes ``[N]``.
        num_clusters: In place of the choice.
        seed: Of the clusters and the folds.

    Raises:
        MissingExtraError: clusters are needed and scikit-learn is not installed.
        OptionError: fewer than two clusters, or more than there are rows.

    Example:
        >>> values = {"a": np.repeat([[0.0], [1.0]], 10, axis=0), "b": np.tile([[5.0], [7.0]], (10, 1))}
        >>> symbolise(values, np.arange(20) % 2).counts
        {'a': 2, 'b': 2}
    """
    if num_clusters is not None and not 2 <= num_clusters <= len(labels):
        raise OptionError(f"num_clusters must be from 2 to {len(labels)}, the rows, got {num_clusters}.")
    counts = _COUNTS if num_clusters is None else (num_clusters,)
    own = {name: _as_they_are(one) for name, one in values.items()}
    offered = {
        name: [codes] if codes is not None else _clusters(values[name], counts, seed)
        for name, codes in own.items()
    }
    best = _best(list(offered.values()), labels, seed)
    codes = dict(zip(offered, best, strict=True))
    return Symbols(
        codes=codes,
        counts={name: int(one.max()) + 1 for name, one in codes.items()},
        clustered=tuple(name for name, one in own.items() if one is None),
    )


def held_out_gain(codes: Sequence[Ints], labels: Ints, fold: Ints) -> float:
    """Mean log-likelihood of the labels of each fold by the counts of the others, in nats.

    The probability of a class given the symbols is its count there plus its overall share, over the count of
    all there plus one.

    Args:
        codes: Symbols ``[N]`` of each source.
        labels: Classes ``[N]``.
        fold: Fold of each row ``[N]``.

    Example:
        >>> labels, fold = np.tile([0, 1], 40), np.arange(80) // 40
        >>> told, untold = (held_out_gain([one], labels, fold) for one in (labels, np.zeros(80, dtype=int)))
        >>> round(told, 2), round(untold, 2)
        (-0.02, -0.69)
    """
    shape = [int(fold.max()) + 1, *(int(one.max()) + 1 for one in codes), int(labels.max()) + 1]
    cells = np.ravel_multi_index((fold, *codes, labels), shape)
    counts = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape[0], -1, shape[-1])
    rest = counts.sum(0) - counts
    shares = (counts.sum((0, 1)) + 1) / (len(labels) + shape[-1])
    guesses = (rest + shares) / (rest.sum(-1, keepdims=True) + 1)
    return float((counts * np.log(guesses)).sum() / len(labels))


def _as_they_are(values: Floats) -> NDArray[np.int64] | None:
    distinct, codes = np.unique(values, axis=0, return_inverse=True)
    few = len(distinct) <= _MOST_SYMBOLS and len(distinct) * _ROWS_PER_SYMBOL <= len(values)
    return codes.reshape(-1).astype(np.int64) if few else None


def _clusters(values: Floats, counts: Sequence[int], seed: int) -> list[NDArray[np.int64]]:
    """The cluster of each row ``[N]`` for each number of clusters."""
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise MissingExtraError(
            "Clusters need scikit-learn. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    components = _components(values, seed)
    fitted = np.random.default_rng(seed).permutation(len(values))[:_MOST_FITTED]
    found = []
    for count in counts:
        if count <= len(fitted):
            means = KMeans(count, n_init=_STARTS, random_state=seed).fit(components[fitted])
            found.append(means.predict(components).astype(np.int64))
    return found


def _components(values: Floats, seed: int) -> NDArray[np.float64]:
    """Standardised columns on their leading principal components ``[N, P]``."""
    from sklearn.decomposition import PCA

    spread = values.std(0)
    known = spread > 0
    standard = (values[:, known] - values[:, known].mean(0)) / spread[known]
    most = min(_MOST_COMPONENTS, *standard.shape)
    found = PCA(most, random_state=seed)
    table: NDArray[np.float64] = found.fit_transform(standard)
    enough = np.searchsorted(np.cumsum(found.explained_variance_ratio_), _KEPT_VARIANCE) + 1
    return table[:, : int(enough)]


def _best(
    offered: Sequence[Sequence[NDArray[np.int64]]], labels: Ints, seed: int
) -> tuple[NDArray[np.int64], ...]:
    """One of what each source offers: those that tell most of rows left out, together and each alone."""
    pairs = list(product(*offered))
    if len(pairs) == 1:
        return pairs[0]
    fold = np.random.default_rng(seed).permutation(len(labels)) % _FOLDS
    alone = [[held_out_gain([one], labels, fold) for one in codes] for codes in offered]
    gains = [
        held_out_gain(pair, labels, fold) + sum(own) for pair, own in zip(pairs, product(*alone), strict=True)
    ]
    return pairs[int(np.argmax(gains))]
