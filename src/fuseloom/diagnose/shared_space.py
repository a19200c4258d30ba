"""Whether the streams of different modalities live in one space, layer by layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import DataError, ModalityError, OptionError
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.similarity import (
    canonical_maps,
    column_correlations,
    linear_cka,
    modality_gap,
    nearest,
    neighbour_overlap,
    retrieval_hits,
    unit_rows,
)
from fuseloom.nn.masked import masked_mean
from fuseloom.types import Batch

__all__ = ["LEAST_ROWS", "AgainstChance", "Recall", "SharedSpace", "pooled", "shared_space"]

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.intp]

_DEPTHS = (1, 5, 10)
_NUM_NEIGHBOURS = 10
_NUM_PAIRS = 5
_REGULARISERS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_NUM_GROUPS = 20
_STUDENT = 2.0930
"""Half the width of a 95 % interval in standard errors, of 19 degrees of freedom."""
LEAST_ROWS = 80
"""That two modalities must share."""
_MOST_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class AgainstChance:
    """A measure of two streams, beside what it is where nothing ties them together."""

    estimate: Interval
    """With an interval by the jackknife over 20 groups of rows."""
    chance: float
    """Its mean over permutations."""
    p: float
    """How often chance reaches the estimate: (1 + such permutations) / (1 + permutations)."""


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How often a row's partner is among the nearest rows of the other modality, by cosine."""

    source: str
    """The modality that asks."""
    target: str
    depth: int
    """How many nearest rows count."""
    found: AgainstChance


@dataclass(frozen=True, kw_only=True)
class SharedSpace:
    """What two modalities share at one layer. Chance is rows paired at random, but for the gap."""

    layer: str
    modalities: tuple[str, str]
    widths: tuple[int, int]
    rows: int
    """That have both; of more than 20,000 a sample."""
    cka: AgainstChance
    """Linear CKA, 0 to 1: whether rows lie alike up to rotation and scale. Widths may differ."""
    cca: AgainstChance
    """Mean correlation of the first five canonical pairs (fewer of narrow streams) on a quarter of the rows,
    which neither the maps nor their regulariser were chosen on. Its interval is about these rows, given the
    maps. Widths may differ."""
    regulariser: float
    """Of the CCA, as a share of the mean variance: the best on another quarter of the rows."""
    neighbours: AgainstChance
    """Share of the ten nearest rows by cosine that are the same in both. Widths may differ."""
    recall: tuple[Recall, ...]
    """At 1, 5 and 10, both ways. Empty where widths differ."""
    gap: AgainstChance | None
    """Distance of the means of the embeddings, at unit length: 0 to 2. Chance exchanges the modalities of
    rows, so a small p says that the modalities lie apart. None where widths differ."""
    matched: AgainstChance | None
    """Mean cosine of a row's two embeddings less that of different rows. None where widths differ."""
    cosine_across: float | None
    """Mean cosine of embeddings of different rows and different modalities. None where widths differ."""
    cosine_within: tuple[float, float]
    """Mean cosine of embeddings of different rows of each modality."""


def shared_space(
    layers: Mapping[str, Batch], *, permutations: int = 200, seed: int = 0
) -> tuple[SharedSpace, ...]:
    """Compare the streams of every two modalities at every layer.

    Cosines need streams of one width that were meant for one space, as behind a projection; CKA, CCA and
    neighbours do not. Modalities can share a space and still say nothing of the target, and the reverse.
    P-values are not corrected for the number of measures, pairs and layers. Time grows with the square of the
    rows, memory with their number.

    Args:
        layers: Name -> streams ``[N, D]``, or tokens or maps, which are averaged over what is real, with
            their masks; a row counts where both modalities have something real. `model_layers` gives those
            of a model.
        permutations: Of the rows, for what chance does.
        seed: Of the permutations, the split of the rows, and the sample of very many.

    Raises:
        DataError: too few rows have both modalities, or a stream is not finite or the same in all rows.
        ModalityError: fewer than two modalities.
        OptionError: no permutations.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> text = torch.randn(100, 4, generator=generator)
        >>> noise = torch.randn(100, 4, generator=generator)
        >>> found = shared_space({"end": Batch(inputs={"text": text, "copy": -text, "noise": noise})})
        >>> [(one.modalities, round(one.cka.estimate.mean, 1), one.cka.p < 0.01) for one in found]
        [(('text', 'copy'), 1.0, True), (('text', 'noise'), 0.0, False), (('copy', 'noise'), 0.0, False)]
    """
    if permutations < 1:
        raise OptionError(f"permutations must be at least 1, got {permutations}.")
    found = []
    for layer, rows in layers.items():
        if len(rows.inputs) < 2:
            raise ModalityError(f"{layer!r} must have two or more modalities, got {list(rows.inputs)}.")
        streams = {name: pooled(value, rows.masks.get(name)) for name, value in rows.inputs.items()}
        for pair in combinations(streams, 2):
            generator = np.random.default_rng(seed)
            where = f"{pair[0]!r} and {pair[1]!r} at {layer!r}"
            x, y = _both([streams[name] for name in pair], where, generator)
            found.append(_compared(layer, (pair[0], pair[1]), x, y, permutations, generator))
    return tuple(found)


def pooled(value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean over the real tokens or pixels of each row ``[N, D]``, and which rows have any ``[N]``.

    Args:
        value: ``[N, D]``, ``[N, T, D]`` or ``[N, D, H, W]``.
        mask: ``[N]``, ``[N, T]`` or ``[N, H, W]``, True where real.

    Example:
        >>> mask = torch.tensor([[True, False], [False, False]])
        >>> means, there = pooled(torch.tensor([[[2.0], [9.0]], [[1.0], [5.0]]]), mask)
        >>> means.tolist(), there.tolist()
        ([[2.0], [0.0]], [True, False])
    """
    tokens = value.flatten(2).transpose(1, 2) if value.dim() == 4 else value
    if value.dim() == 2:
        tokens = value[:, None]
    kept = torch.ones(tokens.shape[:2], dtype=torch.bool, device=value.device)
    kept = kept if mask is None else mask.reshape(kept.shape)
    return masked_mean(tokens, kept), kept.any(1)


def _both(
    streams: list[tuple[Tensor, Tensor]], where: str, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """The two streams on the rows that have both, of very many a sample."""
    (x, there_x), (y, there_y) = streams
    rows = (there_x & there_y).nonzero()[:, 0]
    if len(rows) < LEAST_ROWS:
        raise DataError(f"{where} must share at least {LEAST_ROWS} rows, got {len(rows)}. Give more rows.")
    if len(rows) > _MOST_ROWS:
        rows = rows[torch.from_numpy(generator.permutation(len(rows))[:_MOST_ROWS]).to(rows.device)]
    one, other = (stream[rows].detach().double().cpu().numpy() for stream in (x, y))
    for values in (one, other):
        if not np.isfinite(values).all():
            raise DataError(f"{where} must be finite, got NaN or infinite values.")
        if not np.ptp(values, axis=0).any():
            raise DataError(f"{where} must vary, got a stream that is the same in all rows.")
    return one, other


def _compared(
    layer: str,
    modalities: tuple[str, str],
    x: Floats,
    y: Floats,
    permutations: int,
    generator: np.random.Generator,
) -> SharedSpace:
    # The first pairing is the true one.
    pairings = np.stack([np.arange(len(x)), *(generator.permutation(len(x)) for _ in range(permutations))])
    cca, regulariser = _cca(x, y, generator, permutations)
    same = x.shape[1] == y.shape[1]
    return SharedSpace(
        layer=layer,
        modalities=modalities,
        widths=(x.shape[1], y.shape[1]),
        rows=len(x),
        cka=_cka(x, y, pairings),
        cca=cca,
        regulariser=regulariser,
        neighbours=_neighbours(x, y, pairings),
        recall=tuple(_recalls(modalities, x, y, pairings)) if same else (),
        gap=_gap(x, y, permutations, generator) if same else None,
        matched=_matched(x, y, pairings) if same else None,
        cosine_across=_mean_cosine(x, y) if same else None,
        cosine_within=(_mean_cosine(x, x), _mean_cosine(y, y)),
    )


def _against(
    estimate: float,
    without: NDArray[np.float64],
    chance: NDArray[np.float64],
    *,
    limits: tuple[float, float],
) -> AgainstChance:
    """From the estimate, those without each group of rows ``[G]`` and those of permutations ``[K]``.

    The interval does not go beyond the limits of the measure.
    """
    count = len(without)
    error = float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))
    # Rounding may put a permutation that changes nothing a hair below the estimate.
    reached = int((chance >= estimate - 1e-9 * max(1.0, abs(estimate))).sum())
    half = _STUDENT * error
    return AgainstChance(
        estimate=Interval(
            mean=estimate, low=max(estimate - half, limits[0]), high=min(estimate + half, limits[1])
        ),
        chance=float(chance.mean()),
        p=(1 + reached) / (1 + len(chance)),
    )


def _groups(count: int) -> list[Places]:
    """Rows of each of the groups of the jackknife."""
    return [np.arange(group, count, _NUM_GROUPS) for group in range(_NUM_GROUPS)]


def _of_rows(
    values: NDArray[np.float64], chance: NDArray[np.float64], *, limits: tuple[float, float] = (0.0, 1.0)
) -> AgainstChance:
    """A measure that is a mean over rows ``[N]``."""
    total, count = values.sum(), len(values)
    without = np.array([(total - values[g].sum()) / (count - len(g)) for g in _groups(count)])
    return _against(float(values.mean()), without, chance, limits=limits)


def _left_out(measure: Callable[[Floats, Floats], float], x: Floats, y: Floats) -> NDArray[np.float64]:
    """A measure without each of the groups of rows, ``[G]``."""
    return np.array([measure(np.delete(x, g, axis=0), np.delete(y, g, axis=0)) for g in _groups(len(x))])


def _cka(x: Floats, y: Floats, pairings: Places) -> AgainstChance:
    one, other = x - x.mean(0), y - y.mean(0)
    own = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)  # the same in any order of rows
    found = [float(np.square(one.T @ other[pairing]).sum() / own) for pairing in pairings]
    return _against(found[0], _left_out(linear_cka, x, y), np.array(found[1:]), limits=(0.0, 1.0))


def _cca(
    x: Floats, y: Floats, generator: np.random.Generator, permutations: int
) -> tuple[AgainstChance, float]:
    """Fitted on half of the rows, its regulariser chosen on a quarter, and measured on the last."""
    count = len(x)
    fit, choose, test = np.split(generator.permutation(count), [count // 2, 3 * count // 4])
    width = min(_NUM_PAIRS, x.shape[1], y.shape[1])
    fitted = canonical_maps(x[fit], y[fit], regularisers=_REGULARISERS, num_pairs=width)
    chosen = [_mean_correlation(x[choose] @ maps.x, y[choose] @ maps.y) for maps in fitted]
    best = int(np.argmax(chosen))
    one, other = x[test] @ fitted[best].x, y[test] @ fitted[best].y
    chance = [_mean_correlation(one, other[generator.permutation(len(test))]) for _ in range(permutations)]
    without, found = _left_out(_mean_correlation, one, other), _mean_correlation(one, other)
    return _against(found, without, np.array(chance), limits=(-1.0, 1.0)), _REGULARISERS[best]


def _mean_correlation(one: Floats, other: Floats) -> float:
    return float(column_correlations(one, other).mean())


def _neighbours(x: Floats, y: Floats, pairings: Places) -> AgainstChance:
    one, other = nearest(x, _NUM_NEIGHBOURS, seed=0), nearest(y, _NUM_NEIGHBOURS, seed=1)
    chance = [
        # Row j of the other modality now stands at the place where the pairing put it.
        float(neighbour_overlap(one, np.argsort(pairing)[other[pairing]]).mean())
        for pairing in pairings[1:]
    ]
    return _of_rows(neighbour_overlap(one, other), np.array(chance))


def _recalls(modalities: tuple[str, str], x: Floats, y: Floats, pairings: Places) -> list[Recall]:
    found = []
    for (source, target), queries, gallery in ((modalities, x, y), (modalities[::-1], y, x)):
        hits = retrieval_hits(queries, gallery, partners=pairings, depths=_DEPTHS)
        for k, depth in enumerate(_DEPTHS):
            own, chance = hits[0, :, k].astype(np.float64), hits[1:, :, k].mean(1, dtype=np.float64)
            found.append(Recall(source=source, target=target, depth=depth, found=_of_rows(own, chance)))
    return found


def _gap(x: Floats, y: Floats, permutations: int, generator: np.random.Generator) -> AgainstChance:
    apart = unit_rows(x) - unit_rows(y)
    # Exchanging the modalities of a row turns the sign of their difference.
    chance = [
        float(np.linalg.norm((2 * generator.integers(2, size=len(x)) - 1) @ apart) / len(x))
        for _ in range(permutations)
    ]
    without = _left_out(modality_gap, x, y)
    return _against(modality_gap(x, y), without, np.array(chance), limits=(0.0, 2.0))


def _matched(x: Floats, y: Floats, pairings: Places) -> AgainstChance:
    one, other, across = unit_rows(x), unit_rows(y), unit_rows(y).mean(0)
    # Less the mean cosine with rows other than its own.
    share = len(x) / (len(x) - 1)
    found = [share * ((one * other[pairing]).sum(1) - one @ across) for pairing in pairings]
    return _of_rows(found[0], np.array([values.mean() for values in found[1:]]), limits=(-2.0, 2.0))


def _mean_cosine(x: Floats, y: Floats) -> float:
    """Mean over pairs of different rows."""
    one, other = unit_rows(x), unit_rows(y)
    total = one.sum(0) @ other.sum(0) - (one * other).sum()
    return float(total / (len(x) * (len(x) - 1)))
