"""Where modalities differ, where fusing them rescues a row, and where it does harm."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.exhibit import Exhibit
from fuseloom.errors import DataError, ModalityError
from fuseloom.metrics.diversity import disagreement, double_fault, kappa, q_statistic
from fuseloom.metrics.interval import Interval
from fuseloom.types import Batch

__all__ = ["Complementarity", "PairErrors", "Sample", "Share", "complementarity"]

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Kind = Literal["rescued", "harmed", "spoiled"]

_MOST_CELLS = 2**22
_MOST_SAMPLES = 20
_NORMAL = 1.959964
"""Half the width of a 95 % interval in standard errors."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many rows are of a kind."""

    rows: int
    share: Interval
    """Of all rows; with Wilson's interval, which holds for few rows and for none."""


@dataclass(frozen=True, kw_only=True)
class PairErrors:
    """How the errors of two modalities, each asked alone, go together, on rows that have both."""

    modalities: tuple[str, str]
    rows: int
    correlation: Interval | None
    """Of the errors: of numbers signed ones, of classes 0 or 1. Low or negative is complementary. None where
    one of them never errs, or always in the same way."""
    double_fault: Interval | None
    """Share of rows on which both err; None for numbers, as the next two are."""
    q: Interval | None
    """Yule's Q of being wrong: 1 together, 0 independently, -1 never together. None also where it is not
    defined, as is kappa."""
    kappa: Interval | None
    """Cohen's kappa of being wrong: how much more often than by chance both are, or neither."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A row on which fusion does better or worse than the modalities alone."""

    row: str
    """Its id."""
    place: int
    """Where it stands among the rows that were given, from 0."""
    kind: Kind
    target: float
    """Number, or number of the class."""
    alone: dict[str, float]
    """What each modality that the row has predicts: a number, or the number of a class."""
    fused: float
    margin: float
    """By how much fusion errs less than the best modality where it rescues, and more where it does not: of
    classes in the probability of the true one, so that a close call can have one below zero."""
    disagreement: float
    """Of the modalities: of classes from 0 (the same) to 1 (sure and different), of numbers their range."""
    inputs: dict[str, Exhibit] = field(default_factory=dict)
    """What it looks like, by modality, where the data it was read from were at hand."""


@dataclass(frozen=True, kw_only=True)
class Complementarity:
    """What a fusion does on rows where modalities, each asked alone, are right or wrong, near or far."""

    model: str
    rows: int
    left_out: int
    """Rows that have no modality or no target."""
    measure: Literal["accuracy", "mean absolute error"]
    """Of the next three; intervals by bootstrap over rows."""
    alone: dict[str, Interval]
    """Of each modality's own model, on the rows that have it."""
    fused: Interval
    oracle: Interval
    """Of an oracle that takes the best modality of each row, which no rule can know."""
    headroom: Interval
    """What the oracle errs less than the fusion; negative where fusing does more than choosing could."""
    differ: Share
    """Rows of which modalities say different classes, or have the true number between them."""
    rescued: Share
    """Rows on which the fusion errs less than every modality: of classes, all are wrong and it is right."""
    harmed: Share
    """Rows on which it errs more than some modality: of classes, one is right and it is wrong."""
    spoiled: Share
    """Of these, rows on which it errs more than every modality: of classes, all are right and it is wrong."""
    pairs: tuple[PairErrors, ...]
    samples: tuple[Sample, ...]
    """At most 20 of each kind, largest margin first; one that is spoiled is not listed as harmed too."""


def complementarity(
    alone: Mapping[str, Floats],
    fused: Floats,
    rows: Batch,
    *,
    model: str,
    ids: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Complementarity:
    """Compare a fusion, row by row, with models of one modality each.

    A rescue needs no interaction (two hesitant votes may outweigh a wrong one), and some harm is the price of
    any rule that is not an oracle. The intervals are about rows, not about training the models again.

    Args:
        alone: Modality -> predictions of its own model, probabilities ``[N, K]`` or numbers ``[N]``.
        fused: Those of the fusion, of the same shape.
        rows: The target ``[N]``, classes or numbers; and masks: where a row lacks a modality, that modality's
            prediction does not count.
        model: Name of the fusion for the result.
        ids: Names of the rows; by default their ids, or their places.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        DataError: shapes do not fit, there are several targets, or no row has a modality and a target.
        ModalityError: fewer than two modalities.

    Example:
        >>> import torch
        >>> right, wrong = np.array([0.2, 0.8]), np.array([0.6, 0.4])
        >>> alone = {"text": np.stack([right, wrong, wrong]), "image": np.stack([right, right, wrong])}
        >>> rows = Batch(inputs={}, target=torch.tensor([1, 1, 1]))
        >>> found = complementarity(alone, np.stack([wrong, right, right]), rows, model="sum")
        >>> [(one.row, one.kind) for one in found.samples]
        [('2', 'rescued'), ('0', 'spoiled')]
        >>> round(found.oracle.mean, 2), found.harmed.rows
        (0.67, 1)
    """
    answers = _Answers.of(alone, fused, rows)
    generator = np.random.default_rng(seed)
    sums = np.concatenate([answers.columns.sum(0)[None], *_resampled(answers.columns, resamples, generator)])
    low, high, own = answers.lowest, answers.highest, answers.fused_loss
    return Complementarity(
        model=model,
        rows=len(own),
        left_out=len(fused) - len(own),
        measure="accuracy" if answers.classes else "mean absolute error",
        alone={
            name: answers.score(_ratio(sums[:, 2 + 2 * m], sums[:, 3 + 2 * m]))
            for m, name in enumerate(answers.names)
        },
        fused=answers.score(sums[:, 0] / len(own)),
        oracle=answers.score(sums[:, 1] / len(own)),
        headroom=_interval((sums[:, 0] - sums[:, 1]) / len(own)),
        differ=_share(answers.differ),
        rescued=_share(own < low),
        harmed=_share(own > low),
        spoiled=_share(own > high),
        pairs=tuple(_pairs(answers, sums[:, 2 + 2 * len(answers.names) :])),
        samples=tuple(_samples(answers, _names(rows, ids, len(fused)))),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """What each modality, and the fusion, say of the rows that count."""

    names: tuple[str, ...]
    alone: Floats
    """``[M, N, K]`` or ``[M, N]``."""
    fused: Floats
    target: NDArray[Any]
    there: Bools
    """Which rows have which modality ``[M, N]``."""
    kept: NDArray[np.intp]
    """Places of the rows among all."""

    @classmethod
    def of(cls, alone: Mapping[str, Floats], fused: Floats, rows: Batch) -> "_Answers":
        target = _checked(alone, fused, rows)
        there = np.stack([_there(rows, name) for name in alone])
        kept = np.flatnonzero(there.any(0) & np.isfinite(target))
        if not len(kept):
            raise DataError("rows must have a modality and a target, got none that has both.")
        if nowhere := [name for name, one in zip(alone, there[:, kept], strict=True) if not one.any()]:
            raise DataError(
                f"alone must be modalities that some row has, got {nowhere[0]!r}, which none has."
            )
        return cls(
            names=tuple(alone),
            alone=np.stack(list(alone.values()))[:, kept],
            fused=fused[kept],
            target=target[kept],
            there=there[:, kept],
            kept=kept,
        )

    @property
    def classes(self) -> bool:
        return self.fused.ndim == 2

    @property
    def fused_loss(self) -> Doubles:
        losses: Doubles = self._losses(self.fused[None])[0]
        return losses

    @property
    def lowest(self) -> Doubles:
        lowest: Doubles = np.where(self.there, self._losses(self.alone), np.inf).min(0)
        return lowest

    @property
    def highest(self) -> Doubles:
        highest: Doubles = np.where(self.there, self._losses(self.alone), -np.inf).max(0)
        return highest

    @property
    def differ(self) -> Bools:
        said = self.alone.argmax(-1) if self.classes else np.sign(self.alone - self.target)
        high = np.where(self.there, said, -np.inf).max(0)
        low = np.where(self.there, said, np.inf).min(0)
        differ: Bools = high > low if self.classes else (high > 0) & (low < 0)
        return differ

    @property
    def columns(self) -> Doubles:
        """What is summed over rows, ``[N, C]``.

        Losses of fusion and oracle; per modality the loss and 1 where it is there; per pair of modalities 1
        where both are, and the moments of their errors.
        """
        losses = self._losses(self.alone)
        columns = [self.fused_loss, self.lowest]
        for m in range(len(self.names)):
            columns += [np.where(self.there[m], losses[m], 0.0), self.there[m].astype(np.float64)]
        errors = losses if self.classes else self.alone - self.target
        for a, b in combinations(range(len(self.names)), 2):
            both = (self.there[a] & self.there[b]).astype(np.float64)
            one, other = (np.where(both > 0, errors[m], 0.0) for m in (a, b))
            columns += [both, one, other, one * one, other * other, one * other]
        return np.stack(columns, axis=1)

    @property
    def margin(self) -> Doubles:
        """How much less than the best modality the fusion errs, ``[N]``, in what losses are made of."""
        alone, fused = self._distances(self.alone), self._distances(self.fused[None])[0]
        margin: Doubles = np.where(self.there, alone, np.inf).min(0) - fused
        return margin

    def said(self, predictions: Floats) -> Floats:
        """Number, or number of the class, that is predicted for each row."""
        return predictions.argmax(-1).astype(np.float64) if self.classes else predictions

    def score(self, losses: Doubles) -> Interval:
        """Interval of a score, from mean losses: of all rows first, then of resamples."""
        return _interval(1 - losses if self.classes else losses)

    def _losses(self, predictions: Floats) -> Doubles:
        """0 or 1 of classes, distances of numbers, ``[M, N]``."""
        if not self.classes:
            return self._distances(predictions)
        losses: Doubles = (predictions.argmax(-1) != self.target).astype(np.float64)
        return losses

    def _distances(self, predictions: Floats) -> Doubles:
        if not self.classes:
            distances: Doubles = np.abs(predictions - self.target).astype(np.float64)
            return distances
        rows = np.arange(len(self.target))
        return 1 - predictions[:, rows, self.target.astype(np.intp)].astype(np.float64)


def _checked(alone: Mapping[str, Floats], fused: Floats, rows: Batch) -> NDArray[Any]:
    """The target, once all shapes fit."""
    if len(alone) < 2:
        raise ModalityError(f"alone must have two or more modalities, got {list(alone)}.")
    if rows.target is None or rows.target.dim() != 1:
        got = None if rows.target is None else list(rows.target.shape)
        raise DataError(
            f"target must be one number or class per row, got {got}. Ask of one target at a time."
        )
    if wrong := {name: one.shape for name, one in alone.items() if one.shape != fused.shape}:
        raise DataError(f"Predictions must have the shape of the fusion's, {fused.shape}, got {wrong}.")
    if len(fused) != len(rows.target):
        raise DataError(
            f"Predictions must be of {len(rows.target)} rows, as the target is, got {len(fused)}."
        )
    return rows.target.cpu().numpy()


def _there(rows: Batch, name: str) -> Bools:
    """Whether each row has something real of a modality."""
    assert rows.target is not None
    if name not in rows.masks:
        return np.ones(len(rows.target), dtype=np.bool_)
    there: Bools = rows.masks[name].reshape(len(rows.target), -1).any(1).cpu().numpy()
    return there


def _names(rows: Batch, ids: Sequence[str] | None, count: int) -> Sequence[str]:
    if ids is not None:
        return ids
    return [str(one) for one in (range(count) if rows.ids is None else rows.ids.tolist())]


def _resampled(columns: Doubles, resamples: int, generator: np.random.Generator) -> Iterator[Doubles]:
    """Sums over resamples of the rows, ``[R, C]`` a block at a time."""
    count = len(columns)
    step = max(1, _MOST_CELLS // count)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        yield generator.multinomial(count, np.full(count, 1 / count), size=size) @ columns


def _ratio(total: Doubles, count: Doubles) -> Doubles:
    """Mean from a sum; NaN on resamples that drew nothing of it."""
    mean: Doubles = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _interval(values: Doubles) -> Interval:
    """Of a value on all rows, which comes first, and on resamples of them."""
    return Interval.from_resamples(float(values[0]), values[1:])


def _defined(values: Doubles) -> Interval | None:
    return _interval(values) if np.isfinite(values[0]) else None


def _share(rows: Bools) -> Share:
    count, found = len(rows), int(rows.sum())
    share, squared = found / count, _NORMAL**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = _NORMAL * np.sqrt(share * (1 - share) / count + squared / (4 * count**2)) / (1 + squared / count)
    low, high = max(float(middle - half), 0.0), min(float(middle + half), 1.0)
    return Share(rows=found, share=Interval(mean=share, low=min(low, share), high=max(high, share)))


def _pairs(answers: _Answers, sums: Doubles) -> Iterator[PairErrors]:
    """From the sums over pairs ``[1 + R, 6 P]``."""
    for place, pair in enumerate(combinations(answers.names, 2)):
        both, *moments = sums[:, 6 * place : 6 * place + 6].T
        one, other, square, other_square, product = (_ratio(moment, both) for moment in moments)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(np.maximum(square - one**2, 0) * np.maximum(other_square - other**2, 0))
            correlation = np.where(spread > 1e-12, (product - one * other) / spread, np.nan)
        # Of errors 0 or 1 the products of moments are the shares of the four cells.
        cells = np.stack([1 - one - other + product, other - product, one - product, product], axis=-1)
        cells = np.maximum(cells, 0.0).reshape(-1, 2, 2)
        yield PairErrors(
            modalities=(pair[0], pair[1]),
            rows=int(both[0]),
            correlation=_defined(correlation),
            double_fault=_defined(double_fault(cells)) if answers.classes else None,
            q=_defined(q_statistic(cells)) if answers.classes else None,
            kappa=_defined(kappa(cells)) if answers.classes else None,
        )


def _samples(answers: _Answers, names: Sequence[str]) -> Iterator[Sample]:
    margin, own = answers.margin, answers.fused_loss
    spoiled = own > answers.highest
    kinds: dict[Kind, Bools] = {
        "rescued": own < answers.lowest,
        "harmed": (own > answers.lowest) & ~spoiled,
        "spoiled": spoiled,
    }
    degrees = disagreement(answers.alone, answers.there)
    said, fused = answers.said(answers.alone), answers.said(answers.fused)
    for kind, chosen in kinds.items():
        places, sign = np.flatnonzero(chosen), 1 if kind == "rescued" else -1
        for row in places[np.argsort(-sign * margin[places], kind="stable")][:_MOST_SAMPLES]:
            yield Sample(
                row=names[answers.kept[row]],
                place=int(answers.kept[row]),
                kind=kind,
                target=float(answers.target[row]),
                alone={n: float(said[m, row]) for m, n in enumerate(answers.names) if answers.there[m, row]},
                fused=float(fused[row]),
                margin=sign * float(margin[row]),
                disagreement=float(degrees[row]),
            )
