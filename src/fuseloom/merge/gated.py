"""Gated sum: every modality is let through as far as its gate is open."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial, reduce
from operator import add, mul
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import (
    Reinforce,
    entropy,
    gumbel,
    linear_each,
    masked_mean,
    sample_one,
    sigmoid,
    soft,
    sparsemax,
    stack_masks,
    straight_through,
    sum_of_linears,
)
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["GateFrom", "GateKind", "GatePer", "Gated", "convert_gated"]

GatePer = Literal["modality", "feature"]
GateFrom = Literal["target", "others", "all"]
GateKind = Literal["sigmoid", "softmax", "sparsemax", "straight_through", "gumbel", "reinforce"]

_SHARED = {"softmax": soft, "sparsemax": sparsemax, "straight_through": straight_through}
_HARD = ("straight_through", "gumbel", "reinforce")
# Small, so that gates start almost even, and not zero, so that a hard choice differs between samples.
_GATE_STD = 0.1


@register("gated")
class Gated(Merge):
    r"""Sum of a linear embedding of each modality, weighted by gates that look at the modalities.

    .. math:: z = \sum_{m=1}^{M} g_m \odot (W_m x_m + b_m), \quad
        s_m = \sum_{n \in N(m)} V_{mn} x_n + c_m, \quad g = \operatorname{gate}(s_1, \dots, s_M)

    ``sigmoid`` opens each gate by itself; ``softmax`` and ``sparsemax`` share an opening of one among the
    modalities. The others are hard and let one modality through: in evaluation the likeliest; in training the
    likeliest too with the gradient of the softmax (``straight_through``, as in DynMM), a sample with that
    gradient (``gumbel``), or a sample without any (``reinforce``), which learns from the losses that the
    training step returns through the trace (`Reinforce`).

    The gate of an absent modality is closed, those that share an opening share it among the others, and what
    looks at an absent modality sees zeros; a sample without any modality gives zeros. The trace records the
    gates as ``gate``, ``[..., M]`` or ``[..., dim, M]``.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        gate_per: ``feature``: a gate for each feature of a modality; ``modality``: one for all of them.
        gate_from: ``N(m)``, what the gate of a modality looks at: ``target``, the modality itself;
            ``others``, all but it; ``all``.
        kind: How scores become gates; for ``reinforce`` also a `Reinforce` with options of its own.
        temperature: What scores are divided by.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        ModalityError: fewer than two modalities.
        OptionError: an option that is none of those listed, or a temperature that is not positive.

    Example:
        >>> merge = Gated({"text": 6, "audio": 4}, dim=8, gate_per="modality", kind="straight_through")
        >>> trace = Trace()
        >>> streams = {"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}
        >>> fused = merge(streams, {"text": torch.tensor([False, False])}, trace=trace)
        >>> trace.records["gate"]
        tensor([[0., 1.],
                [0., 1.]])
    """

    card = Card(
        summary="Sum of a linear embedding of each modality, weighted by soft or hard gates.",
        interaction="nonlinear",
        cost="sum_m N_m D_m + (1 + M) K sum_m D_m",
        parameters="per ordered pair",
        arity=(2, None),
        symmetric=True,
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        gate_per: GatePer = "feature",
        gate_from: GateFrom = "all",
        kind: GateKind | Reinforce = "sigmoid",
        temperature: float = 1.0,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        self.reinforce = Reinforce() if kind == "reinforce" else kind if isinstance(kind, Reinforce) else None
        self.gate_kind = kind if isinstance(kind, str) else "reinforce"
        _check_options(gate_per, gate_from, self.gate_kind, temperature)
        self.gate_per, self.temperature, self.pool = gate_per, temperature, pool
        if self.gate_kind in _HARD:
            # Not symmetric: of equal scores the first is chosen.
            self.card = replace(type(self).card, discrete=True, symmetric=False)
        elif self.gate_kind == "sigmoid" and gate_from == "target":
            self.card = replace(type(self).card, interaction="additive")
        self.embed = linear_each(self.dims, self.dim, gain=_gain(self.gate_kind, len(self.dims)))
        self.sources = {name: _sources(name, self.dims, gate_from) for name in self.dims}
        size = self.dim if gate_per == "feature" else 1
        pairs = [(target, source) for target, those in self.sources.items() for source in those]
        self.gate = nn.ParameterDict({f"{t}_from_{s}": self._start(t, s, size) for t, s in pairs})
        self.gate_bias = nn.ParameterDict({name: torch.zeros(size) for name in self.dims})

    def _start(self, target: str, source: str, size: int) -> Tensor:
        total = sum(self.dims[name] for name in self.sources[target])
        return torch.randn(size, self.dims[source]) * (_GATE_STD / math.sqrt(total))

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        named = dict(zip(self.dims, values, strict=True))
        gates = self._open([self._score(target, named) for target in self.dims], present, trace)
        if trace is not None and trace.keep_records:
            stacked = torch.stack(gates, -1)
            trace.record("gate", stacked if self.gate_per == "feature" else stacked.squeeze(-2))
        embedded = [self.embed[name](value) for name, value in named.items()]
        fused: Tensor = reduce(add, map(mul, gates, embedded))
        return fused

    def _score(self, target: str, values: Mapping[str, Tensor]) -> Tensor:
        sources = self.sources[target]
        weights = [self.gate[f"{target}_from_{source}"] for source in sources]
        return sum_of_linears([values[source] for source in sources], weights, self.gate_bias[target])

    def _open(self, scores: list[Tensor], present: list[Tensor | None], trace: Trace | None) -> list[Tensor]:
        if self.gate_kind == "sigmoid":  # each by itself, so that nothing is stacked
            masks = [None if mask is None else mask[..., None] for mask in present]
            return [
                sigmoid(score, mask, temperature=self.temperature)
                for score, mask in zip(scores, masks, strict=True)
            ]
        kept = stack_masks(present)
        gates = self._share(torch.stack(scores, -1), None if kept is None else kept[..., None, :], trace)
        return list(gates.unbind(-1))

    def _share(self, scores: Tensor, mask: Tensor | None, trace: Trace | None) -> Tensor:
        if self.reinforce is not None:
            return self._choose(scores, mask, trace, self.reinforce)
        if self.gate_kind == "gumbel":
            return gumbel(scores, mask, temperature=self.temperature, training=self.training)
        return _SHARED[self.gate_kind](scores, mask, temperature=self.temperature)

    def _choose(
        self, scores: Tensor, mask: Tensor | None, trace: Trace | None, reinforce: Reinforce
    ) -> Tensor:
        chosen, log_prob = sample_one(scores, mask, temperature=self.temperature, training=self.training)
        if trace is not None:
            spread = entropy(scores, mask, temperature=self.temperature)
            judge = partial(reinforce, log_prob=log_prob.flatten(1).sum(1), entropy=spread.flatten(1).sum(1))
            trace.feedback("reinforce", judge)
        return chosen


def _sources(target: str, names: Iterable[str], gate_from: GateFrom) -> list[str]:
    if gate_from == "all":
        return list(names)
    return [name for name in names if (name == target) == (gate_from == "target")]


def _gain(kind: str, num: int) -> float:
    """Standard deviation of an embedding under which the sum over even gates has one."""
    if kind == "sigmoid":
        return 2 / math.sqrt(num)
    return 1.0 if kind in _HARD else math.sqrt(num)


def _check_options(gate_per: str, gate_from: str, kind: str, temperature: float) -> None:
    choices = (("gate_per", gate_per, GatePer), ("gate_from", gate_from, GateFrom), ("kind", kind, GateKind))
    for name, value, allowed in choices:
        if value not in get_args(allowed):
            raise OptionError(f"{name} must be one of {sorted(get_args(allowed))}, got {value!r}.")
    if not temperature > 0:
        raise OptionError(f"temperature must be positive, got {temperature}.")


def convert_gated(
    gate: Mapping[str, Tensor], value: Mapping[str, Tensor], *, gating: str, gated: str
) -> dict[str, Tensor]:
    """State dict of `Gated` from a head in which one modality gates another (``Gated`` of RollingQ).

    Args:
        gate: ``weight`` ``[dim, D]`` and ``bias`` ``[dim]`` of the linear map under the sigmoid.
        value: The same of the linear map that is let through.
        gating: Name of the modality that ``gate`` reads.
        gated: Name of the modality that ``value`` reads.

    Returns:
        What a ``Gated`` of these two modalities takes with ``gate_from="others"``; nothing of ``gating``
        itself is let through.
    """
    return {
        f"embed.{gated}.weight": value["weight"],
        f"embed.{gated}.bias": value["bias"],
        f"embed.{gating}.weight": torch.zeros_like(gate["weight"]),
        f"embed.{gating}.bias": torch.zeros_like(gate["bias"]),
        f"gate.{gated}_from_{gating}": gate["weight"],
        f"gate.{gating}_from_{gated}": torch.zeros_like(value["weight"]),
        f"gate_bias.{gated}": gate["bias"],
        f"gate_bias.{gating}": torch.zeros_like(value["bias"]),
    }
