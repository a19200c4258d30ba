"""Broken twins: each breaks one thing, and the clause it is filed under must say so."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import ContractError, ModalityError
from fuseloom.exchange import Exchange
from fuseloom.merge import Merge
from fuseloom.part import Part, zero_masked
from fuseloom.registry import Card
from fuseloom.testing import Case, Clause, exchange_clauses, merge_clauses
from fuseloom.types import Masks, Streams, Trace

ADDITIVE = Card(summary="Sum.", interaction="additive", cost="D", parameters="per modality")
NONLINEAR = Card(
    summary="Mix.", interaction="nonlinear", cost="D", parameters="per modality", arity=(2, None)
)
TWINS: list[tuple[str, type[Part]]] = []


def breaks(clause: str) -> Callable[[type[Part]], type[Part]]:
    def file(twin: type[Part]) -> type[Part]:
        TWINS.append((clause, twin))
        return twin

    return file


def pooled(value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean of the kept tokens of a channel-last value, and whether there are any."""
    tokens = value.reshape(value.shape[0], -1, value.shape[-1])
    kept = (
        torch.ones_like(tokens[..., 0], dtype=torch.bool) if mask is None else mask.reshape(tokens.shape[:2])
    )
    total = zero_masked(tokens, kept).sum(1) / kept.sum(1, keepdim=True).clamp(min=1).to(tokens.dtype)
    return total, kept.any(1)[:, None]


class Plain(Merge):
    """Everything but `merge`; `total` is the sum of embedded means."""

    card = ADDITIVE

    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.embed = nn.ModuleDict({name: nn.Linear(width, self.dim) for name, width in self.dims.items()})

    def parts(self, streams: Streams, masks: Masks) -> list[Tensor]:
        means = {name: pooled(value, masks.get(name)) for name, value in streams.items()}
        return [torch.where(some, self.embed[name](mean), 0) for name, (mean, some) in means.items()]

    def total(self, streams: Streams, masks: Masks) -> Tensor:
        return functools.reduce(torch.add, self.parts(streams, masks))

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        return self.total(streams, masks)


class PlainExchange(Exchange):
    """Adds a function of the sum of all modalities' embedded means to each."""

    card = NONLINEAR

    def __init__(self, dims: Any) -> None:
        super().__init__(dims)
        self.inward = nn.ModuleDict({name: nn.Linear(width, 4) for name, width in self.dims.items()})
        self.outward = nn.ModuleDict({name: nn.Linear(4, width) for name, width in self.dims.items()})

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        means = {name: pooled(_channel_last(v), masks.get(name))[0] for name, v in streams.items()}
        mood = functools.reduce(torch.add, (self.inward[name](mean) for name, mean in means.items())).tanh()
        return {name: value + self.heard(name, mood, value) for name, value in streams.items()}

    def heard(self, name: str, mood: Tensor, value: Tensor) -> Tensor:
        said = self.outward[name](mood)  # [B, D]
        return said[:, None] if value.dim() == 3 else said.reshape(*said.shape, *[1] * (value.dim() - 2))


def _channel_last(value: Tensor) -> Tensor:
    return value.movedim(1, -1) if value.dim() == 4 else value


def changing(clause: str, name: str, change: Callable[[Tensor], Tensor]) -> None:
    """File a merge that differs from the good one by a change of its result."""

    def merge(self: Plain, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return change(self.total(streams, masks))

    breaks(clause)(type(name, (Plain,), {"merge": merge}))


changing("shape_and_dtype", "DropsAFeature", lambda total: total[:, 1:])
changing("shape_and_dtype", "PromotesToDouble", lambda total: total.double())
changing("any_sizes", "Squeezes", lambda total: total.squeeze())
changing("samples_independent", "CentresTheBatch", lambda total: total - total.mean(0))
changing("gradient_reaches_inputs", "DetachesAll", lambda total: total.detach())
changing("double_runs", "AlwaysFloat32", lambda total: total.float())
changing("low_precision_follows", "Cancels", lambda total: (total + 256) - 256)
changing("operations_constant", "LoopsOverSamples", lambda total: torch.stack([row * 1 for row in total]))
changing("compiles", "BranchesOnBatchSize", lambda total: total * 1 if total.shape[0] > 8 else total)
changing("exports", "KnowsTheBatchSize", lambda total: total.expand(10, -1))


# The door


@breaks("claims_complete")
class SaysNothing(Plain):
    card = replace(ADDITIVE, summary=" ")


@breaks("claims_complete")
class UnknownInteraction(Plain):
    card = replace(ADDITIVE, interaction="quadratic")


@breaks("claims_complete")
class NoExchange(PlainExchange):
    kind = "encoder"


@breaks("arity_respected")
class ClaimsMoreThanItTakes(Plain):
    card = replace(ADDITIVE, arity=(1, 3))

    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        if len(self.dims) > 2:
            raise ModalityError("two at most")


@breaks("arity_respected")
class TakesMoreThanItClaims(Plain):
    card = replace(ADDITIVE, arity=(2, 2))

    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dict(list(dims.items())[:2]), dim)


@breaks("wrong_dims_refused")
class RoundsWidths(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__({name: max(1, int(width)) for name, width in dims.items()}, dim)


@breaks("wrong_dims_refused")
class RenamesModalities(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__({str(name).replace(".", "-"): width for name, width in dims.items()}, dim)


@breaks("unknown_options_refused")
class SwallowsOptions(Plain):
    def __init__(self, dims: Any, dim: int | None = None, **options: Any) -> None:
        super().__init__(dims, dim)


@breaks("unknown_options_refused")
class NeedsAnOption(PlainExchange):
    def __init__(self, dims: Any, depth: int) -> None:
        super().__init__(dims)


@breaks("wrong_input_refused")
class FailsWithKeyError(Plain):
    def enter(self, streams: Any, masks: Any) -> Any:
        return super().enter({name: streams[name] for name in self.dims}, masks)


@breaks("wrong_input_refused")
class TakesFloatMasks(Plain):
    def enter(self, streams: Any, masks: Any) -> Any:
        return super().enter(streams, {name: mask.bool() for name, mask in (masks or {}).items()})


# Values


@breaks("shape_and_dtype")
class LosesAStream(PlainExchange):
    def exchange(self, streams: Streams, masks: Masks, **_: Any) -> Streams:
        return dict(list(super().exchange(streams, masks, trace=None).items())[1:])


@breaks("order_irrelevant")
class FavoursTheFirst(Plain):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Tensor:
        return super().forward(streams, masks, **options) * (1 + len(next(iter(streams))))


@breaks("calls_do_not_interact")
class CountsCalls(Plain):
    calls = 0

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        self.calls += 1
        return self.total(streams, masks)


@breaks("calls_do_not_interact")
class RemembersTheLast(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.memory: list[float] = [0.0]

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        total = self.total(streams, masks)
        total, self.memory[0] = total + self.memory[0], float(total.detach().mean())
        return total


@breaks("calls_do_not_interact")
class AveragesInEvaluation(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.register_buffer("average", torch.zeros(self.dim))

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        total = self.total(streams, masks)
        self.average.lerp_(total.detach().mean(0), 0.1)
        return total


@breaks("calls_do_not_interact")
class KeepsAGraphInTraining(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        total = self.total(streams, masks)
        if self.training:
            self.last = total
        return total


@breaks("inputs_not_modified")
class WritesIntoValues(Plain):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Tensor:
        next(iter(streams.values())).data.add_(1)
        return super().forward(streams, masks, **options)


@breaks("inputs_not_modified")
class WritesIntoDict(Plain):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Tensor:
        for name in streams:
            streams[name] = streams[name] * 1
        return super().forward(streams, masks, **options)


@breaks("trace_changes_nothing")
class TraceTurnsItOff(Plain):
    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **_: Any) -> Tensor:
        return self.total(streams, masks) * (1 if trace is None else 0)


def filing(name: str, file: Callable[[Trace, Tensor], object]) -> None:
    """A twin that files something, but not as it should."""

    def merge(self: Any, streams: Streams, masks: Masks, *, trace: Trace | None, **_: Any) -> Tensor:
        total: Tensor = self.total(streams, masks)
        if trace is not None:
            file(trace, total)
        return total

    breaks("trace_changes_nothing")(type(name, (Plain,), {"merge": merge, "__module__": __name__}))


filing("RecordsTheGraph", lambda trace, total: trace.records.update({"outer.total": total}))
filing("LossPerSample", lambda trace, total: trace.loss("size", total.square().mean(1)))
filing("LeavesTheScope", lambda trace, total: trace.records.update({"total": total.detach()}))
filing("AppendsRecords", lambda trace, total: trace.record(f"total{len(trace.records)}", total))
filing("PredictsForTheBatch", lambda trace, total: trace.prediction("mean", total.mean(0, keepdim=True)))
filing("PredictsWithoutGradient", lambda trace, total: trace.prediction("total", total.detach()))
filing("LearnsNothingFromFeedback", lambda trace, _: trace.feedback("regret", lambda losses: losses.mean()))


@breaks("modalities_talk")
class TalksToItself(PlainExchange):
    def exchange(self, streams: Streams, masks: Masks, **_: Any) -> Streams:
        moods = {n: self.inward[n](pooled(_channel_last(v), masks.get(n))[0]) for n, v in streams.items()}
        return {name: value + self.heard(name, moods[name], value) for name, value in streams.items()}


# Masks


@breaks("masked_values_ignored")
class MultipliesByMask(Plain):
    def enter(self, streams: Any, masks: Any) -> Any:
        return {name: streams[name] for name in self.dims}, masks or {}

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        kept = {n: v * masks[n][..., None] if n in masks else v for n, v in streams.items()}
        return self.total(kept, {})


@breaks("masked_values_ignored")
class MasksAfterTheFact(Plain):
    def enter(self, streams: Any, masks: Any) -> Any:
        return {name: streams[name].exp() for name in self.dims}, masks or {}


@breaks("full_mask_is_no_mask")
class CountsMasks(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return self.total(streams, masks) + len(masks)


@breaks("mask_matters")
class IgnoresMasks(Plain):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Tensor:
        return super().forward(streams, None, **options)


@breaks("mask_matters")
class HearsTheHidden(PlainExchange):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Streams:
        out = super().forward(streams, None, **options)
        return {
            name: zero_masked(value, masks[name]) if name in (masks or {}) else value
            for name, value in out.items()
        }


@breaks("empty_sample_finite")
class DividesByNothing(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        some = torch.stack([pooled(v, masks.get(n))[1] for n, v in streams.items()]).sum(0)
        return self.total(streams, masks) / some


@breaks("empty_sample_finite")
class RootOfNothing(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        name, value = next(iter(streams.items()))
        energy = pooled(value, masks.get(name))[0] @ self.embed[name].weight.T
        return self.total(streams, masks) + energy.square().sum(1, keepdim=True).sqrt()


@breaks("zero_under_mask")
class SpeaksForTheAbsent(PlainExchange):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Streams:
        return {name: value + 1 for name, value in super().forward(streams, masks, **options).items()}


# Learning


@breaks("gradient_reaches_inputs")
class DetachesOne(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        name = next(iter(streams))
        return self.total(streams | {name: streams[name].detach()}, masks)


@breaks("gradient_reaches_parameters")
class DeadParameter(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.scale = nn.Parameter(torch.ones(self.dim))

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return self.total(streams, masks) * self.scale.detach()


@breaks("parameters_learn")
class FrozenParameter(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.scale = nn.Parameter(torch.ones(self.dim), requires_grad=False)

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return self.total(streams, masks) * self.scale


@breaks("inert_without_influence")
class NotSoInert(Plain):
    card = replace(ADDITIVE, inert=("embed.*.bias",))


@breaks("inert_without_influence")
class InertGhost(Plain):
    card = replace(ADDITIVE, inert=("ghost",))


@breaks("same_seed_same_part")
class DrawsElsewhere(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.register_buffer("noise", torch.from_numpy(np.random.default_rng().normal(size=self.dim)))


@breaks("state_round_trip")
class UnsavedBuffer(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.register_buffer("rotation", torch.randn(self.dim), persistent=False)

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return self.total(streams, masks) * self.rotation


@breaks("deepcopy_equal")
class CopiesNothing(Plain):
    def __deepcopy__(self, memo: dict[int, Any]) -> "CopiesNothing":
        return self


@breaks("safetensors_round_trip")
class TiedWeights(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.first = next(iter(self.embed.values())).weight


@breaks("tensors_registered")
class LowRankInAList(Merge):
    """As the published LowRankTensorFusion modules do: the factors stand in a Python list."""

    card = replace(ADDITIVE, interaction="multiplicative")

    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.factors = [nn.Parameter(torch.randn(width + 1, self.dim)) for width in self.dims.values()]
        self.bias = nn.Parameter(torch.zeros(self.dim))

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        means = [pooled(value, masks.get(name))[0] for name, value in streams.items()]
        factors = zip(means, self.factors, strict=True)
        return functools.reduce(torch.mul, (mean @ f[:-1] + f[-1] for mean, f in factors)) + self.bias


@breaks("tensors_registered")
class ModulesInADict(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.after = {"linear": nn.Linear(self.dim, self.dim)}


@breaks("tensors_registered")
class TensorInAClosure(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        weight = torch.randn(self.dim)
        self.scale = lambda value: value * weight


@breaks("tensors_registered")
class TensorInAPartial(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.scale = functools.partial(torch.mul, torch.ones(self.dim))


@breaks("keys_survive_new_modality")
class NumbersFromTheEnd(Plain):
    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.register_buffer(f"mixing{len(self.dims)}", torch.ones(1))


# Running


@breaks("interaction_as_claimed")
class ProductClaimedAdditive(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return functools.reduce(torch.mul, self.parts(streams, masks))


@breaks("interaction_as_claimed")
class SumClaimedMultiplicative(Plain):
    card = replace(ADDITIVE, interaction="multiplicative")


@breaks("interaction_as_claimed")
class BentClaimedMultiplicative(Plain):
    card = replace(ADDITIVE, interaction="multiplicative")

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return functools.reduce(torch.mul, [part.tanh() for part in self.parts(streams, masks)])


@breaks("interaction_as_claimed")
class ProductClaimedNonlinear(Plain):
    card = replace(ADDITIVE, interaction="nonlinear")

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return functools.reduce(torch.mul, self.parts(streams, masks))


@breaks("symmetry_as_claimed")
class WeightsByPlace(Plain):
    card = replace(ADDITIVE, symmetric=True)

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return sum((i * part for i, part in enumerate(self.parts(streams, masks), 1)), start=torch.zeros(()))


@breaks("mixed_dtypes_accepted")
class TakesDtypesAsTheyCome(Plain):
    def enter(self, streams: Any, masks: Any) -> Any:
        masks = masks or {}
        return {n: zero_masked(streams[n], masks[n]) if n in masks else streams[n] for n in self.dims}, masks


@breaks("mixed_dtypes_accepted")
class ReturnsOneDtype(PlainExchange):
    def forward(self, streams: Any, masks: Any = None, **options: Any) -> Streams:
        return {name: value.float() for name, value in super().forward(streams, masks, **options).items()}


@breaks("autocast_follows")
class AddsIntoFloat32(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        name, value = next(iter(streams.items()))
        embedded = self.embed[name](pooled(value, masks.get(name))[0])
        rows = torch.arange(len(embedded), device=embedded.device)
        return torch.zeros_like(embedded, dtype=torch.float32).index_add(0, rows, embedded)


@breaks("device_follows_input")
@breaks("cuda_equal")
class MakesTensorsOnTheCpu(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        return self.total(streams, masks) + torch.zeros(self.dim)


@breaks("no_scalar_read")
@breaks("compiles")
@breaks("inductor_equal")
class BranchesOnValues(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        total = self.total(streams, masks)
        return total * 2 if total.sum() > 0 else total


@breaks("no_scalar_read")
class SelectsRows(Plain):
    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        total = self.total(streams, masks)
        rows = total.detach().abs().sum(1).nonzero()[:, 0]
        return torch.zeros_like(total).index_copy(0, rows, total[rows])


CLAUSES = {clause.name: clause for clause in exchange_clauses()}


def _id(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def _marked(clause: Clause, *values: object) -> Any:
    marks = [getattr(pytest.mark, mark) for mark in clause.marks]
    if "gpu" in clause.marks:
        marks.append(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))
    return pytest.param(*values, marks=marks, id="-".join(map(_id, values)))


@pytest.mark.parametrize(("name", "twin"), [_marked(CLAUSES[name], name, twin) for name, twin in TWINS])
def test_the_clause_rejects_its_broken_twin(name: str, twin: type[Part]) -> None:
    case = Case.of(twin, twin.kind if twin.kind in ("merge", "exchange") else "exchange")
    with pytest.raises(ContractError, match=f"^{twin.__name__} breaks '{name}': "):
        CLAUSES[name](case)


GOOD = [(clause, Plain) for clause in merge_clauses()] + [
    (clause, PlainExchange) for clause in exchange_clauses()
]


@pytest.mark.parametrize(("name", "twin"), [_marked(clause, clause.name, twin) for clause, twin in GOOD])
def test_the_good_twin_passes(name: str, twin: type[Part]) -> None:
    CLAUSES[name](Case.of(twin, twin.kind))


@pytest.mark.parametrize("name", sorted(CLAUSES))
def test_every_clause_has_a_broken_twin(name: str) -> None:
    assert name in {clause for clause, _ in TWINS}
