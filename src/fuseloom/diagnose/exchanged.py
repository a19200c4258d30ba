"""What a model exchanges between its modalities, layer by layer and row by row, and what it gains."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.data.exhibit import Exhibit
from fuseloom.diagnose.exchange_records import (
    MARKS,
    Place,
    apart,
    channel_shares,
    exchanging,
    filing,
    weights_of_others,
)
from fuseloom.diagnose.observing import observed
from fuseloom.diagnose.resampling import interval_of, known_target, scored
from fuseloom.diagnose.tiling import tiling
from fuseloom.errors import DataError
from fuseloom.metrics.interval import Interval
from fuseloom.models import FusionModel
from fuseloom.models.dense_systems import GridPredictor
from fuseloom.nn.class_token import ClassToken
from fuseloom.tasks import Metric
from fuseloom.train.fit import seeded
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Trace

__all__ = [
    "Exchanged",
    "ExchangedLayer",
    "ExchangedSample",
    "LayerOverlap",
    "SampleLayer",
    "SampleStream",
    "Unit",
    "exchanged",
]

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Unit = Literal["positions", "channels", "values"]
_ROWS_AT_ONCE = 32
"""Attention of every layer is in memory at once."""


@dataclass(frozen=True, kw_only=True)
class ExchangedLayer:
    """What one layer exchanges in one modality: means over rows, of a row over its real positions."""

    layer: str
    """Where the exchange files its records, such as ``exchange.0.layer.1.after_norm``."""
    modality: str
    share: Interval
    """Of what is exchanged, which is what the unit says."""
    to_exchanged: Interval | None
    """Attention of the class token to an exchanged position, averaged over heads; None where the layer files
    no attention or the stream has no class token, as the next two are."""
    to_kept: Interval | None
    """The same to a position that is kept."""
    to_class_token: Interval | None
    """Attention of a position to the class token."""
    unit: Unit = "positions"
    """What is exchanged whole: positions, or channels, which are the same for every row. Of values nothing
    is, and the share is what the keys of other modalities weigh where each position attends to all."""


@dataclass(frozen=True, kw_only=True)
class LayerOverlap:
    """Whether two layers exchange the same positions of a modality."""

    modality: str
    earlier: str
    later: str
    again: Interval
    """Share of the positions exchanged in the earlier layer that the later one exchanges too."""
    chance: float
    """The same where the later layer draws as many at random."""


@dataclass(frozen=True, kw_only=True)
class SampleLayer:
    """What one layer exchanges in one modality of one row."""

    layer: str
    chosen: tuple[int, ...]
    """Positions from 0, class tokens and the like not counted."""
    scores: tuple[float, ...]
    """Of each position, by which it was chosen; empty where the exchange files none."""


@dataclass(frozen=True, kw_only=True)
class SampleStream:
    """One modality of one row."""

    modality: str
    positions: int
    """How many there are; those behind the end are not."""
    grid: tuple[int, int] | None
    """Rows and columns of the patches of a picture; None where its positions are no rectangle of its shape,
    and of what is no picture."""
    layers: tuple[SampleLayer, ...]
    words: tuple[str, ...] = ()
    """What stands at the positions, where these are the words of a text at hand."""
    picture: Exhibit | None = None
    """As the model read it, where that is at hand."""


@dataclass(frozen=True, kw_only=True)
class ExchangedSample:
    """One row, with what was exchanged on it."""

    place: int
    """Where it stands among the rows that were given, from 0."""
    streams: tuple[SampleStream, ...]
    row: str = ""
    """Its id."""


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """What a model exchanges on held-out rows."""

    model: str
    metric: str
    rows: int
    layers: tuple[ExchangedLayer, ...]
    overlaps: tuple[LayerOverlap, ...]
    score: Interval
    without: Interval
    """The score where every part that chooses what to exchange gives back what it got."""
    lost: Interval
    """By how much that is worse; paired bootstrap over rows."""
    changed: Interval | None
    """Share of the rows whose answer is another one then; None of numbers."""
    samples: tuple[ExchangedSample, ...] = field(default=())
    """Drawn at random."""


def exchanged(  # noqa: PLR0913  the keywords are what a person wants to say
    module: FusionModel | GridPredictor,
    rows: Batch,
    predict: Callable[[Batch], NDArray[Any]],
    *,
    model: str,
    metric: tuple[str, Metric],
    answers: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    num_samples: int = 6,
    resamples: int = 1000,
    seed: int = 0,
) -> Exchanged:
    """See what is exchanged, and what the model is without that; it stays as it was.

    The model without it was not trained so: what it loses is what it has come to rely on.

    Args:
        module: With exchanges that file what they take: `ClsExchange`, `TokenExchange`, `FeatureSwap`,
            `ChannelExchange`, `PixelAttention`.
        rows: Held-out rows with their target.
        predict: Rows to predictions of this model as the metric takes them; changes nothing.
        model: Name for the result.
        metric: Name and metric.
        answers: Predictions to what is answered on each row ``[N]``, to count which change; None of numbers.
        num_samples: Rows that are shown, at most.
        resamples: Of the bootstrap over rows.
        seed: Of the bootstrap and of the rows that are shown.

    Raises:
        DataError: the rows have no target, or the model has no such exchange.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> from fuseloom.heads import LinearHead
        >>> from fuseloom.models import FusionModel
        >>> from fuseloom.tasks.classification import Classification
        >>> dims, task = {"text": 4, "image": 4}, Classification(["no", "yes"])
        >>> encoders = {name: IdentityEncoder(4) for name in dims}
        >>> exchanges = {0: create("cls_exchange", dims, theta=0.5)}
        >>> net = FusionModel(encoders, create("sum", dims), LinearHead(4, 2), exchanges=exchanges)
        >>> inputs = {name: torch.randn(8, 5, 4) for name in dims}
        >>> rows = Batch(inputs=inputs, target=torch.arange(8) % 2)
        >>> found = exchanged(
        ...     net,
        ...     rows,
        ...     lambda rows: task.predict(apply_model(net, rows).detach().numpy()),
        ...     model="mine",
        ...     metric=task.metric("accuracy"),
        ... )
        >>> [(one.layer, one.modality, one.share.mean) for one in found.layers]
        [('exchange.0', 'text', 0.4), ('exchange.0', 'image', 0.4)]
    """
    target, parts = known_target(rows), exchanging(module)
    found = _observed(module, rows, parts)
    if not found.positions and not found.shares:
        raise DataError(
            f"{model} has no exchange that says what it takes from other modalities, so nothing to show. "
            "cls_exchange, token_exchange, feature_swap, channel_exchange and pixel_attention do."
        )
    draw = _Draw(rows=len(rows), count=resamples, seed=seed)
    own = predict(rows)
    with apart(parts):
        other = predict(rows)
    scores = scored([own, other], target, metric[1], resamples=resamples, seed=seed)
    sign = metric[1].better(1.0)
    differ = None if answers is None else (answers(own) != answers(other)).astype(np.float64)
    return Exchanged(
        model=model,
        metric=metric[0],
        rows=len(rows),
        layers=(
            *(_layer(place, one, draw) for place, one in found.positions.items()),
            *(_of_shares(place, *one, draw) for place, one in found.shares.items()),
        ),
        overlaps=tuple(_overlaps(found.positions, draw)),
        score=interval_of(sign * scores[0]),
        without=interval_of(sign * scores[1]),
        lost=interval_of(scores[0] - scores[1]),
        changed=None if differ is None else draw.mean(differ),
        samples=tuple(_samples(found.positions, rows, draw.some(num_samples))) if found.positions else (),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What one layer did in one modality, on all rows, behind the class token."""

    chosen: Bools
    """``[N, P]``."""
    real: Bools
    scores: Doubles | None
    attention: Doubles | None
    """Of the class token to each position ``[N, P]``."""
    to_class_token: Doubles | None
    """``[N]``."""
    map_size: tuple[int, int] | None
    """Of a stream that is a feature map."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Observed:
    """What the layers of a model did on all rows."""

    positions: Mapping[Place, _Seen]
    """Of exchanges of positions."""
    shares: Mapping[Place, tuple[Unit, Doubles]]
    """Of the others, ``[N]``: NaN of a row without a real position."""


def _observed(module: FusionModel | GridPredictor, rows: Batch, parts: Sequence[nn.Module]) -> _Observed:
    encoders = module.encoders.items() if isinstance(module, FusionModel) else ()
    fronts = dict.fromkeys(rows.inputs, 0) | {
        name: sum(isinstance(part, ClassToken) for part in encoder.modules()) for name, encoder in encoders
    }
    found: dict[Place, list[_Seen]] = {}
    shares: dict[Place, tuple[Unit, list[Doubles]]] = {}
    device = next((parameter.device for parameter in module.parameters()), rows.device)
    with observed(module), filing(parts), torch.no_grad(), seeded(0):
        for start in range(0, len(rows), _ROWS_AT_ONCE) if parts else ():
            some, trace = rows.take(slice(start, start + _ROWS_AT_ONCE)), Trace()
            apply_model(module, some.to(device), trace=trace)
            for place, one in _of_records(trace.records, fronts):
                found.setdefault(place, []).append(one)
            for place, (unit, share) in _shares(trace.records, len(some)).items():
                shares.setdefault(place, (unit, []))[1].append(share)
    return _Observed(
        positions={place: _joined(parts) for place, parts in found.items()},
        shares={place: (unit, np.concatenate(parts)) for place, (unit, parts) in shares.items()},
    )


def _shares(records: Mapping[str, Tensor], rows: int) -> dict[Place, tuple[Unit, Doubles]]:
    """Share of each row of a batch that layers take which exchange no positions."""
    found: dict[Place, tuple[Unit, Doubles]] = {
        place: ("channels", np.full(rows, share)) for place, share in channel_shares(records).items()
    }
    for place, (weights, real) in weights_of_others(records).items():
        found[place] = "values", _over(weights.numpy(force=True), real.numpy(force=True))
    return found


def _of_records(records: Mapping[str, Tensor], fronts: Mapping[str, int]) -> Iterator[tuple[Place, _Seen]]:
    """What a batch files; ``fronts`` is how many class tokens stand before each stream."""
    for key, chosen in records.items():
        mark = next((mark for mark in MARKS if key.endswith(mark)), None)
        if mark is None or f"{key.removesuffix(mark)}.real" not in records:
            continue
        stream = key.removesuffix(mark)
        layer, _, modality = stream.rpartition(".")
        real, front = records[f"{stream}.real"], fronts.get(modality, 0)
        outside = layer.rpartition(".")[0]
        weights = records.get(f"{outside}.{modality}.attention") if front else None
        yield (
            (layer, modality),
            _one(chosen, real, front, scores=records.get(f"{stream}.scores"), weights=weights),
        )


def _one(chosen: Tensor, real: Tensor, front: int, *, scores: Tensor | None, weights: Tensor | None) -> _Seen:
    """Of one batch, without what stands in front; attention is ``[B, H, N, N]``."""
    flat = real.flatten(1)[:, front:]
    mean = None if weights is None else weights.double().mean(1)
    kept = flat.double()
    to_first = None if mean is None else (mean[:, front:, 0] * kept).sum(1) / kept.sum(1)
    return _Seen(
        chosen=chosen.flatten(1)[:, front:].numpy(force=True),
        real=flat.numpy(force=True),
        scores=None if scores is None else scores.flatten(1)[:, front:].double().numpy(force=True),
        attention=None if mean is None else mean[:, 0, front:].numpy(force=True),
        to_class_token=None if to_first is None else to_first.numpy(force=True),
        map_size=(real.shape[1], real.shape[2]) if real.dim() == 3 else None,
    )


def _joined(parts: list[_Seen]) -> _Seen:
    def joined(values: list[Any]) -> Any:
        return None if values[0] is None else np.concatenate(values)

    return _Seen(
        chosen=joined([one.chosen for one in parts]),
        real=joined([one.real for one in parts]),
        scores=joined([one.scores for one in parts]),
        attention=joined([one.attention for one in parts]),
        to_class_token=joined([one.to_class_token for one in parts]),
        map_size=parts[0].map_size,
    )


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """Resamples of the rows, the same for all that is averaged."""

    rows: int
    count: int
    seed: int

    def mean(self, values: Doubles) -> Interval:
        """Over the rows on which ``[N]`` is defined."""
        known, filled = np.isfinite(values).astype(np.float64), np.nan_to_num(values)
        generator = np.random.default_rng(self.seed)
        drawn = generator.multinomial(self.rows, np.full(self.rows, 1 / self.rows), size=self.count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return Interval.from_resamples(
                float(filled.sum() / known.sum()), (drawn @ filled) / (drawn @ known)
            )

    def some(self, count: int) -> list[int]:
        """Places of some rows, in their order."""
        generator = np.random.default_rng(self.seed)
        return sorted(generator.permutation(self.rows)[:count].tolist())


def _layer(place: Place, one: _Seen, draw: _Draw) -> ExchangedLayer:
    attention = one.attention
    return ExchangedLayer(
        layer=place[0],
        modality=place[1],
        share=draw.mean(_share(one.chosen, one.real)),
        to_exchanged=None if attention is None else draw.mean(_over(attention, one.chosen)),
        to_kept=None if attention is None else draw.mean(_over(attention, one.real & ~one.chosen)),
        to_class_token=None if one.to_class_token is None else draw.mean(one.to_class_token),
    )


def _of_shares(place: Place, unit: Unit, shares: Doubles, draw: _Draw) -> ExchangedLayer:
    return ExchangedLayer(
        layer=place[0],
        modality=place[1],
        share=draw.mean(shares),
        to_exchanged=None,
        to_kept=None,
        to_class_token=None,
        unit=unit,
    )


def _share(some: Bools, among: Bools) -> Doubles:
    """Of each row ``[N]``; NaN where there is none to be among."""
    return _over(some.astype(np.float64), among)


def _over(values: Doubles, where: Bools) -> Doubles:
    """Mean of each row ``[N]`` over some places ``[N, P]``; NaN where there is none."""
    count = where.sum(1)
    total = (values * where).sum(1)
    mean: Doubles = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean


def _overlaps(seen: Mapping[Place, _Seen], draw: _Draw) -> Iterator[LayerOverlap]:
    for (earlier, one), (later, other) in combinations(seen.items(), 2):
        if earlier[1] != later[1] or one.chosen.shape != other.chosen.shape:
            continue
        again, expected = _share(other.chosen, one.chosen), _share(other.chosen, one.real)
        known = np.isfinite(again)
        yield LayerOverlap(
            modality=earlier[1],
            earlier=earlier[0],
            later=later[0],
            again=draw.mean(again),
            chance=float(expected[known].mean()) if known.any() else float("nan"),
        )


def _samples(seen: Mapping[Place, _Seen], rows: Batch, places: list[int]) -> Iterator[ExchangedSample]:
    for place in places:
        streams = [_stream(name, seen, rows, place) for name in dict.fromkeys(name for _, name in seen)]
        yield ExchangedSample(place=place, streams=tuple(streams))


def _stream(modality: str, seen: Mapping[Place, _Seen], rows: Batch, place: int) -> SampleStream:
    layers = {layer: one for (layer, name), one in seen.items() if name == modality}
    first = next(iter(layers.values()))
    count = int(np.flatnonzero(first.real[place]).max(initial=-1)) + 1
    return SampleStream(
        modality=modality,
        positions=count,
        grid=(first.map_size or tiling(first.real.shape[1], rows.inputs.get(modality))) if count else None,
        layers=tuple(
            SampleLayer(
                layer=layer,
                chosen=tuple(np.flatnonzero(one.chosen[place]).tolist()),
                scores=() if one.scores is None else tuple(one.scores[place, :count].tolist()),
            )
            for layer, one in layers.items()
        ),
    )
