"""Where a model looks: the attention that its parts file in a trace, per modality, layer and head."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.diagnose.corruptions import CORRUPTIONS, Corruption, corrupt, stream_kind
from fuseloom.diagnose.looks import Look
from fuseloom.diagnose.observing import observed
from fuseloom.errors import DataError, OptionError, did_you_mean
from fuseloom.metrics.attention import (
    attention_entropy,
    attention_mass,
    effective_tokens,
    key_cosine,
    mass_ratio,
)
from fuseloom.metrics.interval import Interval
from fuseloom.metrics.rank_correlation import spearman
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Trace

__all__ = [
    "Attention",
    "AttentionLayer",
    "AttentionQuality",
    "HeadAttention",
    "KeyGap",
    "KeyPoint",
    "attention",
    "attention_quality",
]

Floats = NDArray[np.floating[Any]]
Values = dict[str, Floats]
Drawn = tuple[Floats, Floats]
"""Means ``[K]`` over all rows, and over resamples ``[R, K]``."""
V = TypeVar("V")

_MOST_CELLS = 2**22
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class HeadAttention:
    """Where one head looks: means over rows, of a row over its real queries."""

    head: int
    mass: dict[str, Interval]
    """Modality -> share of the weight that is on modalities."""
    ratio: dict[str, Interval]
    """Modality -> that share over the share of its tokens: 1 where attention does not choose."""
    elsewhere: Interval
    """Weight on tokens of no modality, such as a class token or shared tokens."""
    entropy: Interval
    """Of the weights over all tokens, in nats."""
    effective_tokens: Interval
    """Tokens of equal weight that would have the same entropy."""
    imbalance_rate: Interval | None
    """AIR within the head; None without queries and keys of two modalities."""


@dataclass(frozen=True, kw_only=True)
class KeyPoint:
    """Where the keys of a modality lie as seen from the queries, for a polar plot."""

    modality: str
    angle: Interval
    """Between query and mean key, in degrees: below 90 attention is drawn there, above it is pushed away."""
    norm: Interval
    """Length of the mean key."""


@dataclass(frozen=True, kw_only=True)
class KeyGap:
    """How far the keys of two modalities lie apart, on average over rows."""

    first: str
    second: str
    cosine: Interval
    """Between the mean keys of all rows: 1 where they point the same way."""
    distance: Interval
    """Between the same."""


@dataclass(frozen=True, kw_only=True)
class AttentionLayer:
    """One place where a model attends."""

    name: str
    """Of the record in the trace, such as ``merge.attention``."""
    heads: tuple[HeadAttention, ...]
    imbalance_rate: Interval | None
    """RollingQ's AIR, over the features of all heads: of two modalities the mean cosine of queries with the
    mean key of the first less that with the second; of more the largest less the smallest."""
    points: tuple[KeyPoint, ...]
    """Empty where the part files no queries and keys."""
    gaps: tuple[KeyGap, ...]
    """Of each pair of modalities."""


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where a model looks on held-out rows, layer by layer."""

    model: str
    layers: tuple[AttentionLayer, ...]
    looks: tuple[Look, ...] = ()
    """Of rows that are shown, where each position of the anchor looks; see `fuseloom.diagnose.looks`."""


@dataclass(frozen=True, kw_only=True)
class AttentionQuality:
    """Whether attention follows the quality of a modality, while rows are corrupted to different degrees."""

    model: str
    modality: str
    corruption: str
    rows: int
    """Those that have the modality."""
    correlations: dict[str, Interval]
    """Layer -> Spearman's correlation between the mass on the modality and the quality, one less the severity
    of the row: 1 where less attention goes to what is worse, 0 where attention does not notice."""


def attention(
    module: nn.Module,
    rows: Batch,
    *,
    model: str,
    resamples: int = 1000,
    seed: int = 0,
) -> Attention:
    """Look where each layer and head of a model looks; the model stays as it was.

    Args:
        module: Takes inputs, masks and a trace, in which its parts file attention, as `record_owners` says.
        rows: Held-out rows.
        model: Name for the result.
        resamples: Of the bootstrap over rows.
        seed: Of the bootstrap.

    Raises:
        DataError: the model files no attention that tells whose tokens it is on.
    """
    found = _layers(module, rows, model)
    resample = _Resamples(rows=len(rows), count=resamples, seed=seed)
    return Attention(
        model=model, layers=tuple(_layer(name, values, resample) for name, values in found.items())
    )


def attention_quality(
    module: nn.Module,
    rows: Batch,
    modality: str,
    *,
    model: str,
    corruption: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> AttentionQuality:
    """Corrupt each row's modality to a degree drawn from 0 to 1, and correlate attention with what is left.

    The attention of a layer is the mean over its heads. Rows that lack the modality do not count.

    Args:
        module: As for `attention`.
        rows: Held-out rows.
        modality: Which one gets worse.
        model: Name for the result.
        corruption: Name of one of the `CORRUPTIONS` of the stream's kind; by default the first.
        resamples: Of the bootstrap over rows.
        seed: Of severities, corruption and bootstrap.

    Raises:
        DataError: no layer attends to this modality and another one.
        OptionError: a modality or a corruption that is not there.
    """
    name, damage = _chosen(rows, modality, corruption)
    generator = torch.Generator().manual_seed(seed)
    severity = torch.rand(len(rows), generator=generator)
    worse = corrupt(rows, modality, damage, severity.to(rows.device), generator)
    there = rows.mask_of(modality).reshape(len(rows), -1).any(1).numpy(force=True)
    quality, correlations = 1 - severity.numpy(), {}
    for layer, values in _layers(module, worse, model).items():
        if f"mass.{modality}" in values and sum(key.startswith("mass.") for key in values) > 1:
            mass = values[f"mass.{modality}"].mean(1)
            correlations[layer] = _correlation(mass[there], quality[there], resamples, seed)
    if not correlations:
        raise DataError(
            f"No layer of {model} looks at {modality} and another modality at once, so none can turn from "
            "one to the other. attention_pool does, and cross_attention of three modalities."
        )
    return AttentionQuality(
        model=model, modality=modality, corruption=name, rows=int(there.sum()), correlations=correlations
    )


def _chosen(rows: Batch, modality: str, corruption: str | None) -> tuple[str, Corruption]:
    if modality not in rows.inputs:
        hint = did_you_mean(modality, rows.inputs)
        raise OptionError(f"modality must be one of {sorted(rows.inputs)}, got {modality!r}.{hint}")
    known = CORRUPTIONS[stream_kind(rows.inputs[modality], rows.mask_of(modality))]
    name = corruption if corruption is not None else next(iter(known))
    if name not in known:
        raise OptionError(f"corruption must fit {modality!r}, got {name!r}.{did_you_mean(name, known)}")
    return name, known[name]


def _correlation(mass: Floats, quality: Floats, resamples: int, seed: int) -> Interval:
    """Over the rows that have weight on a modality at all; NaN where none has."""
    there = np.isfinite(mass)
    if not there.any():
        return Interval(mean=math.nan)
    mass, quality = mass[there], quality[there]
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(mass), size=(resamples, len(mass)))
    return Interval.from_resamples(
        spearman(mass, quality), np.array([spearman(mass[rows], quality[rows]) for rows in drawn])
    )


def _layers(module: nn.Module, rows: Batch, model: str) -> dict[str, Values]:
    """Layer -> what is known of each row: name -> ``[N, H]``, ``[N]`` over all heads, or keys ``[N, D]``."""
    parts: dict[str, list[Values]] = {}
    with observed(module), torch.no_grad():
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            trace = Trace()
            apply_model(module, rows.take(slice(start, start + _ROWS_AT_ONCE)), trace=trace)
            for name in _attentions(trace.records, model):
                parts.setdefault(name, []).append(_summary(name, trace.records))
    return {
        name: {key: np.concatenate([one[key] for one in found]) for key in found[0]}
        for name, found in parts.items()
    }


def _attentions(records: Mapping[str, Tensor], model: str) -> list[str]:
    """Names of the weights whose owners are filed too."""
    marks = (".of.", ".key.", ".query", ".asked")
    weights = [
        name
        for name in records
        if name.endswith(("attention", "_from_others")) and not any(mark in name for mark in marks)
    ]
    found = [name for name in weights if _under(name, "of", records)]
    if found:
        return found
    if weights:
        raise DataError(
            f"The tokens that {model} attends to belong to no single modality, so whose it looks at cannot "
            "be told."
        )
    raise DataError(
        f"{model} keeps no record of attention: there is nothing to see of where it looks. attention_pool, "
        "cross_attention, bottleneck and mult do."
    )


def _places(name: str) -> list[str]:
    """Where what belongs to a record may be filed: under its name, or under a scope around it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _under(name: str, what: str, records: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Modality -> record, of the nearest place that has any."""
    for place in _places(name):
        start = f"{place}.{what}."
        if found := {k.removeprefix(start): v for k, v in records.items() if k.startswith(start)}:
            return found
    return {}


def _asked(name: str, records: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Which queries are real and find any key, ``[B, 1, Nq]``."""
    found = like.sum(-1).amax(1, keepdim=True) > 0
    for place in _places(name):
        if f"{place}.asked" in records:
            return found & records[f"{place}.asked"][:, None]
    return found


def _summary(name: str, records: Mapping[str, Tensor]) -> Values:
    """What one batch says of each row; NaN where a row has no query, or nothing of a modality."""
    weights = records[name].double()
    weights = weights[:, :, None] if weights.dim() == 3 else weights  # [B, H, Nq, Nk]
    asked = _asked(name, records, weights)
    owned = {key: own[:, None, None] for key, own in _under(name, "of", records).items()}
    there = {key: own.any(-1).expand(weights.shape[:3]) for key, own in owned.items()}
    nobodys = ~torch.stack(list(owned.values())).any(0)
    found = {
        "elsewhere": (weights * nobodys).sum(-1),
        "entropy": attention_entropy(weights),
        "effective_tokens": effective_tokens(weights),
        **{f"mass.{key}": value for key, value in attention_mass(weights, owned).items()},
        **{f"ratio.{key}": value for key, value in mass_ratio(weights, owned).items()},
    }
    rows = {key: _over_queries(value, asked).numpy(force=True) for key, value in found.items()}
    return rows | _key_summary(name, records, asked, there)


def _over_queries(values: Tensor, asked: Tensor) -> Tensor:
    """``[B, H, Nq]`` to ``[B, H]``: mean over the real queries where it is known."""
    return values.masked_fill(~asked, math.nan).nanmean(-1)


def _key_summary(
    name: str, records: Mapping[str, Tensor], asked: Tensor, there: Mapping[str, Tensor]
) -> Values:
    """Cosines, angles and keys, as far as the part files queries and keys."""
    keys = {key: value.double() for key, value in _under(name, "key", records).items()}
    if not keys:
        return {}
    query = records[f"{name}.query"].double()
    query = query[:, :, None] if query.dim() == 3 else query  # [B, H, Nq, d]
    found: Values = {}
    for modality, key in keys.items():
        known = asked & there[modality]
        cosine = key_cosine(query, key[:, :, None])  # [B, H, Nq]
        flat = key_cosine(query.movedim(1, 2).flatten(2), key.flatten(1)[:, None])[:, None]  # [B, 1, Nq]
        present = there[modality][:, 0, 0]
        rows = {
            "cosine": _over_queries(cosine, known),
            "all.cosine": _over_queries(flat, known[:, :1])[:, 0],
            "angle": _over_queries(flat.clamp(-1, 1).acos().rad2deg(), known[:, :1])[:, 0],
            "norm": key.flatten(1).norm(dim=-1).masked_fill(~present, math.nan),
            "key": key.flatten(1).masked_fill(~present[:, None], math.nan),
        }
        found |= {f"{what}.{modality}": value.numpy(force=True) for what, value in rows.items()}
    if len(keys) == 2:
        first, second = keys
        for start in ("", "all."):
            found[f"{start}difference"] = found[f"{start}cosine.{first}"] - found[f"{start}cosine.{second}"]
    return found


@dataclass(frozen=True, kw_only=True)
class _Resamples:
    """Means of values of rows on the same resamples of the rows."""

    rows: int
    count: int
    seed: int

    def means(self, values: Floats) -> tuple[Floats, Floats]:
        """Means of ``[N, K]`` over the rows that are not NaN: ``[K]`` of all, ``[R, K]`` of the resamples."""
        generator = np.random.default_rng(self.seed)
        known, filled = np.isfinite(values).astype(np.float64), np.nan_to_num(values)
        step, drawn = max(1, _MOST_CELLS // max(1, self.rows)), []
        with np.errstate(invalid="ignore", divide="ignore"):
            for start in range(0, self.count, step):
                size = min(step, self.count - start)
                counts = generator.multinomial(self.rows, np.full(self.rows, 1 / self.rows), size=size)
                drawn.append((counts @ filled) / (counts @ known))
            return filled.sum(0) / known.sum(0), np.concatenate(drawn)

    def named(self, values: Values) -> dict[str, Drawn]:
        """The same of many values ``[N, K]`` or ``[N]`` on resamples that are drawn once."""
        columns = {key: value if value.ndim == 2 else value[:, None] for key, value in values.items()}
        edges = np.cumsum([value.shape[1] for value in columns.values()])[:-1]
        means, drawn = self.means(np.concatenate(list(columns.values()), axis=1))
        parts = zip(np.split(means, edges), np.split(drawn, edges, axis=1), strict=True)
        return dict(zip(columns, parts, strict=True))


def _intervals(found: Drawn) -> list[Interval]:
    means, drawn = found
    return [Interval.from_resamples(float(one), drawn[:, place]) for place, one in enumerate(means)]


def _layer(name: str, values: Values, resample: _Resamples) -> AttentionLayer:
    found = resample.named(values)
    every = {key: _intervals(one) for key, one in found.items() if not key.startswith("key.")}
    num_heads = values["entropy"].shape[1]
    rates = _rates("", found, num_heads)
    return AttentionLayer(
        name=name,
        heads=tuple(
            HeadAttention(
                head=head,
                mass={key: one[head] for key, one in _named("mass", every).items()},
                ratio={key: one[head] for key, one in _named("ratio", every).items()},
                elsewhere=every["elsewhere"][head],
                entropy=every["entropy"][head],
                effective_tokens=every["effective_tokens"][head],
                imbalance_rate=rates[head],
            )
            for head in range(num_heads)
        ),
        imbalance_rate=_rates("all.", found, 1)[0],
        points=tuple(
            KeyPoint(modality=modality, angle=angle[0], norm=every[f"norm.{modality}"][0])
            for modality, angle in _named("angle", every).items()
        ),
        gaps=tuple(_gaps(_named("key", found))),
    )


def _named(what: str, values: Mapping[str, V]) -> dict[str, V]:
    start = f"{what}."
    return {key.removeprefix(start): value for key, value in values.items() if key.startswith(start)}


def _rates(start: str, found: Mapping[str, Drawn], columns: int) -> list[Interval | None]:
    """AIR of each column; None where there are fewer than two modalities."""
    cosines = _named(f"{start}cosine", found)
    if len(cosines) < 2:
        return [None] * columns
    if len(cosines) == 2:
        return [*_intervals(found[f"{start}difference"])]
    means, drawn = (np.stack(each) for each in zip(*cosines.values(), strict=True))
    return [*_intervals((np.ptp(means, axis=0), np.ptp(drawn, axis=0)))]


def _gaps(means: Mapping[str, Drawn]) -> Iterable[KeyGap]:
    for first, second in combinations(means, 2):
        (one, ones), (other, others) = means[first], means[second]
        yield KeyGap(
            first=first,
            second=second,
            cosine=Interval.from_resamples(float(_cosine(one, other)), _cosine(ones, others)),
            distance=Interval.from_resamples(
                float(np.linalg.norm(one - other)), np.linalg.norm(ones - others, axis=-1)
            ),
        )


def _cosine(one: Floats, other: Floats) -> Floats:
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    found: Floats = (one * other).sum(-1) / np.maximum(norms, np.finfo(np.float64).tiny)
    return found
