"""Dynamic fusion: a gate decides for each sample which of several fusions it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from math import isfinite
from operator import add, mul, or_
from typing import Any, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError, UnknownNameError, did_you_mean
from fuseloom.merge._base import Merge
from fuseloom.nn import gumbel, soft, stack_masks, straight_through
from fuseloom.part import check_dims
from fuseloom.registry import Card, create, lookup, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Dynamic", "GateOptions", "RouteKind"]

RouteKind = Literal["gumbel", "straight_through", "soft"]

# Small, so that experts start almost even, and not zero, so that a hard choice differs between samples.
_GATE_STD = 0.1


class GateOptions(TypedDict, total=False):
    """Options of the gate; each may be left out."""

    kind: RouteKind
    """How scores become weights: ``gumbel`` (default), ``straight_through`` or ``soft``."""
    reads: Sequence[str]
    """Modalities it looks at; those of the cheapest expert by default, so that no other need be encoded."""
    hidden: int
    """Width of its hidden layer; 128 by default."""
    temperature: float
    """What scores are divided by; 1 by default."""


@register("dynamic")
class Dynamic(Merge):
    r"""Weighted sum of experts, each a fusion of some of the modalities, under a gate that may be hard.

    .. math:: y = \sum_{k=1}^{K} w_k \, y_k, \quad y_k = \operatorname{expert}_k(\{x_m : m \in S_k\}), \quad
        w = \operatorname{gate}(f(\{x_m : m \in G\}))

    ``f`` is a perceptron on the pooled streams. ``soft`` gates mix by a softmax. The others let one expert
    through: in evaluation the likeliest; in training a sample, with the gradient of the softmax (``gumbel``),
    or the likeliest too, with that gradient (``straight_through``), which tries nothing it does not prefer
    and settles early. The trace gets the loss ``cost``, ``cost_weight`` times the mean over samples of
    ``sum_k w_k c_k``, and the record ``gate``, ``[B, K]``.

    Here all experts are computed, which training needs; `fuseloom.models.RoutedModel` runs a trained model
    with only the encoders and the expert that each sample takes.

    An expert is open to a sample that has any of its modalities and does then what its merge does with those
    that are absent; the gate shares its weight among open experts. A sample without any modality gives zeros.

    Paper: Xue & Marculescu, CVPRW 2023 (DynMM). Differs from the official code: there the gate does not
    sample (``straight_through`` or ``soft``) and reads the concatenated raw inputs of all modalities; the
    experts are trained before, and only the larger of the two has a cost (``costs`` of 0 and 1).

    Args:
        dims: Modality name -> width.
        dim: Width of the fused value.
        experts: Name of an expert -> its modalities ``S_k``; by default ``first``, of the first modality
            alone, and ``all``.
        expert: Name of the merge that each expert is; an expert of fewer modalities than that takes is a
            ``concat``.
        gate: Options of the gate.
        costs: Expert -> its cost in any unit, such as multiplications with those of its encoders; scaled so
            that the largest is 1. The number of its modalities by default.
        cost_weight: How strongly costly experts are avoided, in units of the loss.

    Raises:
        ModalityError: fewer than two modalities, or an expert of more than its merge takes.
        OptionError: experts, costs or options of the gate that do not fit.
        UnknownNameError: ``expert`` names no merge.

    Example:
        >>> merge = Dynamic({"text": 6, "audio": 4}, dim=8)
        >>> trace = Trace()
        >>> streams = {"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}
        >>> fused = merge(streams, {"text": torch.tensor([False, False])}, trace=trace)
        >>> trace.records["gate"]
        tensor([[0., 1.],
                [0., 1.]])
        >>> merge.experts
        {'first': ('text',), 'all': ('text', 'audio')}
    """

    card = Card(
        summary="A gate picks, for each sample, one of several fusions of subsets (DynMM).",
        interaction="nonlinear",
        cost="that of all experts (of one, if routed) + H (sum_m D_m + E) of the gate, E experts",
        parameters="per modality, in each expert that has it",
        arity=(2, None),
        discrete=True,
        paper="Xue & Marculescu, CVPRW 2023",
        code="zihuixue/DynMM",
        differs="The gate samples in training and reads the cheapest expert's streams, not all raw inputs.",
    )

    cost: Tensor

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        experts: Mapping[str, Sequence[str]] | None = None,
        expert: str = "concat",
        gate: GateOptions | None = None,
        costs: Mapping[str, float] | None = None,
        cost_weight: float = 0.01,
    ) -> None:
        super().__init__(dims, dim)
        if not (isfinite(cost_weight) and cost_weight >= 0):
            raise OptionError(f"cost_weight must be at least 0, got {cost_weight}.")
        self.cost_weight = cost_weight
        self.experts = _subsets(experts, list(self.dims))
        shares = _shares(costs, self.experts)
        self.register_buffer("cost", torch.tensor(list(shares.values())), persistent=False)
        self._build_gate(self.experts[min(shares, key=lambda name: shares[name])], gate or {})
        self._build_experts(expert)

    def _build_gate(self, reads: Sequence[str], options: GateOptions) -> None:
        if unknown := sorted(options.keys() - GateOptions.__annotations__.keys()):
            hint = did_you_mean(unknown[0], GateOptions.__annotations__)
            raise OptionError(f"gate has no option {unknown[0]!r}.{hint}")
        self.gate_kind = options.get("kind", "gumbel")
        if self.gate_kind not in get_args(RouteKind):
            known = sorted(get_args(RouteKind))
            raise OptionError(f"kind of the gate must be one of {known}, got {self.gate_kind!r}.")
        self.temperature = options.get("temperature", 1.0)
        if not self.temperature > 0:
            raise OptionError(f"temperature of the gate must be positive, got {self.temperature}.")
        self.reads = _modalities("the gate", options.get("reads", reads), list(self.dims))
        used = {name for names in (self.reads, *self.experts.values()) for name in names}
        if unused := sorted(self.dims.keys() - used):
            raise OptionError(
                f"experts must have every modality that the gate does not read, got no {unused}."
            )
        read = {name: self.dims[name] for name in self.reads}
        self.gate = create("mlp", read, dim=len(self.experts), hidden=(options.get("hidden", 128),))
        *_, last = (layer for layer in self.gate.modules() if isinstance(layer, nn.Linear))
        with torch.no_grad():
            # ReLUs have alike means: under centred weights no expert is ahead on average.
            last.weight.sub_(last.weight.mean(1, keepdim=True)).mul_(_GATE_STD)

    def _build_experts(self, merge: str) -> None:
        claims: Card = lookup(merge, kind="merge").card
        if claims.level != "stream":
            raise OptionError(
                f"expert must name a merge of level 'stream', got {merge!r} of level {claims.level!r}."
            )
        fewest, _ = claims.arity
        merges = {name: merge if len(own) >= fewest else "concat" for name, own in self.experts.items()}
        widths = {name: {m: self.dims[m] for m in own} for name, own in self.experts.items()}
        self.expert = nn.ModuleDict(
            {name: create(merges[name], widths[name], dim=self.dim) for name in self.experts}
        )
        discrete = self.gate_kind != "soft" or claims.discrete
        self.card = replace(type(self).card, ranks=claims.ranks, aligned=claims.aligned, discrete=discrete)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        weights = self._weigh(self.gate.merge(*_only(self.reads, streams, masks), trace=None), masks)
        if trace is not None:
            trace.record("gate", weights)
            trace.loss("cost", self.cost_weight * (weights * self.cost).sum(-1).mean())
        outputs = []
        for name, own in self.experts.items():
            scope = None if trace is None else trace.scope(f"expert.{name}")
            outputs.append(self._expert(name).merge(*_only(own, streams, masks), trace=scope))
        fused: Tensor = reduce(add, map(mul, weights.unsqueeze(1).unbind(-1), outputs))
        return fused

    def route(
        self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor | None] | None = None
    ) -> Tensor:
        """Place in ``experts`` of the one each sample takes in evaluation, ``[B]``; -1 where none is open.

        Args:
            streams: Those that the gate reads, as in `forward`; others are not looked at.
            masks: Of all modalities, as in `forward` or of their raw inputs ``[B, ...]``: where one that the
                gate does not read is absent decides which experts are open.

        Raises:
            ModalityError: a stream that the gate reads is missing, or does not fit.
        """
        given = {name: mask for name, mask in (masks or {}).items() if mask is not None}
        logits = self.gate(*_only(self.reads, streams, given))
        weights = straight_through(logits, self._open(given), temperature=self.temperature)
        return torch.where(weights.sum(-1) > 0, weights.argmax(-1), -1)

    def run_expert(
        self, name: str, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor | None] | None = None
    ) -> Tensor:
        """What one expert makes, ``[B, dim]``, of streams among which are those of its modalities.

        Raises:
            ModalityError: a stream of its modalities is missing, or does not fit.
            UnknownNameError: there is no such expert.
        """
        if name not in self.experts:
            raise UnknownNameError(f"Unknown expert {name!r}.{did_you_mean(name, self.experts)}")
        given = {modality: mask for modality, mask in (masks or {}).items() if mask is not None}
        fused: Tensor = self._expert(name)(*_only(self.experts[name], streams, given))
        return fused

    def _expert(self, name: str) -> Merge:
        expert = self.expert[name]
        assert isinstance(expert, Merge)
        return expert

    def _weigh(self, logits: Tensor, masks: Masks) -> Tensor:
        mask, temperature = self._open(masks), self.temperature
        if self.gate_kind == "gumbel":
            return gumbel(logits, mask, temperature=temperature, training=self.training)
        gate = soft if self.gate_kind == "soft" else straight_through
        return gate(logits, mask, temperature=temperature)

    def _open(self, masks: Mapping[str, Tensor]) -> Tensor | None:
        """Which experts have a modality that is there, ``[B, K]``; None where all have."""
        present = {name: mask if mask.dim() == 1 else mask.flatten(1).any(1) for name, mask in masks.items()}
        return stack_masks(
            [
                reduce(or_, [present[name] for name in own]) if all(name in present for name in own) else None
                for own in self.experts.values()
            ]
        )


def _only(
    names: Sequence[str], streams: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> tuple[Streams, Masks]:
    found = {name: streams[name] for name in names if name in streams}
    return found, {name: masks[name] for name in names if name in masks}


def _subsets(experts: Mapping[str, Sequence[str]] | None, names: list[str]) -> dict[str, tuple[str, ...]]:
    if experts is None:
        return {"first": (names[0],), "all": tuple(names)}
    if len(experts) < 2:
        raise OptionError(f"experts must be at least two, got {list(experts)}.")
    try:  # names of experts stand in the state dict, as those of modalities do
        check_dims(dict.fromkeys(experts, 1), (2, None), owner="experts")
    except ModalityError as error:
        raise OptionError(f"Names of experts must be fit for a state dict. {error}") from error
    return {expert: _modalities(f"expert {expert!r}", own, names) for expert, own in experts.items()}


def _modalities(owner: str, given: Sequence[str], names: list[str]) -> tuple[str, ...]:
    """The names given, in the order of ``dims``, after a check."""
    if isinstance(given, str) or not given:
        raise OptionError(f"Modalities of {owner} must be one name or more in a list, got {given!r}.")
    if unknown := [name for name in given if name not in names]:
        hint = did_you_mean(unknown[0], names)
        raise OptionError(f"Modalities of {owner} must be among {names}, got {unknown[0]!r}.{hint}")
    return tuple(name for name in names if name in given)


def _shares(costs: Mapping[str, float] | None, experts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Costs with the largest scaled to 1, in the order of the experts."""
    given = costs if costs is not None else {name: len(own) for name, own in experts.items()}
    if given.keys() != experts.keys():
        raise OptionError(f"costs must be given for {sorted(experts)}, got {sorted(given)}.")
    if not all(isfinite(cost) and cost >= 0 for cost in given.values()) or not any(given.values()):
        raise OptionError(f"costs must be at least 0 and not all 0, got {dict(given)}.")
    largest = max(given.values())
    return {name: given[name] / largest for name in experts}
