"""How modalities tell of the target, in the data and in a model: each, only one, or only together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.diagnose.sources import Sources, TargetClasses, read_sources
from fuseloom.diagnose.symbols import Symbols, symbolise
from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.information.decomposition import (
    Decomposition,
    SynergyBounds,
    Unit,
    decompose,
    in_nats,
    synergy_bounds,
)
from fuseloom.metrics.information.entropy import entropy, miller_madow
from fuseloom.metrics.interval import Interval
from fuseloom.types import Batch

__all__ = ["Pid", "PidParts", "pid", "pid_agreement"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

_LOOSE = 1e-6
_FEWEST_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class PidParts:
    """A partial information decomposition estimated from rows; its parts add up to the total."""

    redundant: Interval
    """What either source tells."""
    unique: dict[str, Interval]
    """Source -> what only it tells."""
    synergistic: Interval
    """What neither tells and both together do."""
    total: Interval
    """What both together tell."""
    gap: float
    """By how much the least information that the parts rest on may be off, from the certificate."""

    def shares(self) -> tuple[float, ...]:
        """Redundant, unique of each source, synergistic, over their sum; zeros where that is zero."""
        parts = [self.redundant, *self.unique.values(), self.synergistic]
        total = sum(part.mean for part in parts)
        return tuple(part.mean / total if total > 0 else 0.0 for part in parts)


@dataclass(frozen=True, kw_only=True)
class Pid:
    """How two sources tell of the target in the data, and of a model's predictions."""

    sources: tuple[str, str]
    data: PidParts
    """Of the target."""
    model: PidParts | None
    """Of the model's predictions on the same symbols; None without a model."""
    agreement: float | None
    """Shares of the parts in the data times the parts in the model, summed: high where the model uses what
    the data hold. In the unit. None without a model."""
    bounds: SynergyBounds
    """What would be known of the synergistic part if both sources had not been seen with the target."""
    target_entropy: float
    """What there is to tell."""
    num_symbols: dict[str, int]
    """Source -> clusters, or different values."""
    clustered: tuple[str, ...]
    """Sources that were clustered; what a cluster hides is missing from every part."""
    num_rows: int
    unit: Unit
    correction: str = "Miller-Madow"
    """Of the bias of the measured information; the least information is corrected by the bootstrap."""


def pid(  # noqa: PLR0913  the keywords are what a person wants to say
    rows: Batch,
    predict: Callable[[Batch], Floats] | None = None,
    *,
    sources: Sources | None = None,
    unit: Unit = "bits",
    num_clusters: int | None = None,
    num_bins: int = 4,
    resamples: int = 200,
    seed: int = 0,
) -> Pid:
    """Decompose what two modalities tell of the target, and of what a model makes of them.

    Values become symbols (see `fuseloom.diagnose.symbols.symbolise`), rows become a table of counts, and the
    table is decomposed exactly (see `fuseloom.metrics.information.decomposition.decompose`). Three of the
    four information terms are corrected for the bias of few rows after Miller and Madow; the fourth, the
    least information of both, by what it is higher by on resamples. Intervals are of a bootstrap over rows
    with the clusters as they are, moved to be centred at the estimate, and end at zero.

    The parts are of the symbols: clusters can only hide information, and of the synergistic part first. They
    say nothing of what causes what, nor how a model computes; that of a model is of its decisions.

    Args:
        rows: Held-out rows with their target: class indices or numbers.
        predict: Rows to predictions as the metric takes them; changes nothing.
        sources: Two names of modalities, or tuples of names that count as one; by default the two there are.
        unit: ``bits`` or ``nats``.
        num_clusters: Of each source that is clustered, in place of the choice.
        num_bins: Of a target of numbers, with equally many rows in each.
        resamples: Of the bootstrap; at least 2.
        seed: Of the clusters and the bootstrap.

    Raises:
        DataError: there is no target of one class or number per row, or there are fewer than 20 rows.
        MissingExtraError: clusters are needed and scikit-learn is not installed.
        OptionError: sources that are not two, or another option out of its range.

    Example:
        >>> import torch
        >>> bits = torch.arange(400)[:, None] // torch.tensor([1, 2]) % 2
        >>> rows = Batch(inputs={"a": bits[:, :1], "b": bits[:, 1:]}, target=bits.sum(1) % 2)
        >>> found = pid(rows)
        >>> round(found.data.synergistic.mean, 2), round(found.data.unique["a"].mean, 2)
        (1.0, 0.0)
    """
    if resamples < 2:
        raise OptionError(f"resamples must be at least 2, got {resamples}.")
    scale = in_nats(unit)
    target = TargetClasses.of(rows, num_bins=num_bins)
    if len(target.labels) < _FEWEST_ROWS:
        raise DataError(
            f"rows must be at least {_FEWEST_ROWS} to estimate information from, got {len(target.labels)}."
        )
    symbols = symbolise(read_sources(rows, sources), target.labels, num_clusters=num_clusters, seed=seed)
    counts = _counts(symbols, target.labels)
    guessed = None if predict is None else _counts(symbols, target.of_predictions(predict(rows)))
    first, second = symbols.codes
    sample = _Sample(names=(first, second), scale=scale, resamples=resamples, seed=seed)
    data = sample.parts(counts)
    model = None if guessed is None else sample.parts(guessed)
    return Pid(
        sources=(first, second),
        data=data,
        model=model,
        agreement=None if model is None else pid_agreement(data, model),
        bounds=synergy_bounds(counts, unit=unit),
        target_entropy=entropy(counts.sum((0, 1))) / scale,
        num_symbols=symbols.counts,
        clustered=symbols.clustered,
        num_rows=len(target.labels),
        unit=unit,
    )


def pid_agreement(data: PidParts, model: PidParts) -> float:
    """How far a model's predictions rest on what the data hold: shares in the data times parts of the model.

    After Liang et al. (NeurIPS 2023). It is highest where all that the predictions hold is of the kind that
    the target is made of most, and grows with the information in the predictions.

    Example:
        >>> none, bit = Interval(mean=0.0), Interval(mean=1.0)
        >>> parts = {"redundant": none, "unique": {"a": none, "b": none}, "total": bit, "gap": 0.0}
        >>> data = PidParts(synergistic=bit, **parts)
        >>> pid_agreement(data, data)
        1.0
    """
    own = [model.redundant, *model.unique.values(), model.synergistic]
    return float(sum(share * part.mean for share, part in zip(data.shares(), own, strict=True)))


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """The information of a table in nats: of each source, of both, and the least of both."""

    first: float
    second: float
    both: float
    least: float
    gap: float

    @classmethod
    def of(cls, counts: Ints, *, tolerance: float) -> Self:
        found: Decomposition = decompose(counts, unit="nats", tolerance=tolerance)
        first, second = (found.redundant + one for one in found.unique)
        return cls(first=first, second=second, both=found.total, least=first + found.unique[1], gap=found.gap)

    def corrected(self, counts: Ints, bias: float) -> NDArray[np.float64]:
        """Redundant, unique, unique, synergistic and their sum ``[5]``, none negative."""
        first = max(0.0, self.first - miller_madow(counts.sum(1)))
        second = max(0.0, self.second - miller_madow(counts.sum(0)))
        both = max(first, second, self.both - miller_madow(counts.reshape(-1, counts.shape[2])))
        least = min(max(self.least - bias, first, second), first + second, both)
        return np.array([first + second - least, least - second, least - first, both - least, both])


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """How the parts of a table of counts are estimated."""

    names: tuple[str, str]
    scale: float
    resamples: int
    seed: int

    def parts(self, counts: Ints) -> PidParts:
        plain = _Terms.of(counts, tolerance=_LOOSE / 1000)
        generator, size = np.random.default_rng(self.seed), int(counts.sum())
        drawn = generator.multinomial(size, counts.ravel() / size, size=self.resamples)
        tables = [one.reshape(counts.shape) for one in drawn]
        terms = [_Terms.of(table, tolerance=_LOOSE) for table in tables]
        bias = float(np.mean([one.least for one in terms])) - plain.least
        found = plain.corrected(counts, bias) / self.scale
        again = np.stack([t.corrected(c, bias) for t, c in zip(terms, tables, strict=True)]) / self.scale
        moved = np.maximum(found + again - again.mean(0), 0.0)
        each = [Interval.from_resamples(float(mean), one) for mean, one in zip(found, moved.T, strict=True)]
        return PidParts(
            redundant=each[0],
            unique=dict(zip(self.names, each[1:3], strict=True)),
            synergistic=each[3],
            total=each[4],
            gap=plain.gap / self.scale,
        )


def _counts(symbols: Symbols, labels: Ints) -> NDArray[np.int64]:
    """Rows of each pair of symbols and class ``[n_1, n_2, K]``."""
    shape = (*symbols.counts.values(), int(labels.max()) + 1)
    cells = np.ravel_multi_index((*symbols.codes.values(), labels), shape)
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
