"""Multimodal routing: subsets of the modalities vote on concepts, and agreement decides who is heard."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from operator import and_
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import masked_mean, route, stack_masks
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Routing", "convert_routing"]

_MOST_SUBSETS = 255


@register("routing")
class Routing(Merge):
    r"""Concepts that the subsets of up to ``order`` modalities vote for, read out linearly.

    .. math:: [f_i; g_i] = V_i [x_m]_{m \in i} + v_i, \quad u_{ij} = U_{ij} \tanh f_i, \quad
        p_i = \sigma(g_i)
    .. math:: r_{ij} = \mathrm{softmax}_j \langle u_{ij}, c_j \rangle, \quad
        c_j = \sum_i p_i r_{ij} u_{ij} \quad (\text{repeated, from } c_j = 1), \quad
        z = W [c_1; \dots; c_J] + b

    ``i`` runs over the subsets, ``j`` over the concepts. A subset with an absent modality has ``p_i = 0``; a
    sample without any modality gives ``b``. Parameters of a subset are named after its modalities, joined by
    ``_from_`` in the order of ``dims``. The fused value starts at size one for standardised inputs.

    Paper: Tsai et al., 2020. Differs from the official code: there ``f_i`` and ``p_i`` come from the user's
    encoders, one for each subset.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        order: Most modalities in a subset; all of them where there are fewer.
        concepts: Number ``J`` of concepts, and the width of one.
        feature_dim: Width of ``f_i``.
        iterations: How often the routing is refined.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        OptionError: a number below one, or more subsets than can be afforded.

    Records:
        ``gate``: ``p`` ``[..., S]``, and ``routing``: ``r`` ``[..., S, J]``, in the order of ``subsets``.

    Example:
        >>> merge = Routing({"text": 6, "audio": 4}, dim=8)
        >>> merge.subsets
        [('text',), ('audio',), ('text', 'audio')]
        >>> trace = Trace()
        >>> streams = {"text": torch.ones(1, 6), "audio": torch.ones(1, 4)}
        >>> fused = merge(streams, {"audio": torch.tensor([False])}, trace=trace)
        >>> trace.records["gate"].bool()
        tensor([[ True, False, False]])
    """

    card = Card(
        summary="Subsets of the modalities vote on concepts by routing (multimodal routing).",
        interaction="nonlinear",
        cost="sum_m N_m D_m + F sum_i D_i + S F J E + 2 S J E per iteration + J E K, S subsets",
        parameters="per subset of the modalities",
        paper="Tsai et al., 2020",
        code="twoertwein/MultimodalResidualOptimization",
        differs="Features and gates of a subset are linear maps of its modalities, not encoders.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        order: int = 3,
        concepts: tuple[int, int] = (4, 32),
        feature_dim: int = 64,
        iterations: int = 3,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        for option, size in (("order", order), ("feature_dim", feature_dim), ("iterations", iterations)):
            if size < 1:
                raise OptionError(f"{option} must be at least 1, got {size}.")
        if min(concepts) < 1:
            raise OptionError(f"concepts must be a number and a width, both at least 1, got {concepts}.")
        self.subsets = _subsets(list(self.dims), order)
        self.iterations, self.pool = iterations, pool
        self._build(feature_dim, *concepts)
        # One vote each, on concepts that no other vote changes: a sum of functions of one modality each.
        if order == 1 and 1 in (iterations, concepts[0]):
            self.card = replace(type(self).card, interaction="additive")

    def _build(self, feature_dim: int, num_concepts: int, concept_dim: int) -> None:
        keys = list(map("_from_".join, self.subsets))
        widths = [sum(self.dims[name] for name in subset) for subset in self.subsets]
        encoders = {key: nn.Linear(w, feature_dim + 1) for key, w in zip(keys, widths, strict=True)}
        for encoder in encoders.values():
            nn.init.normal_(encoder.weight, std=encoder.in_features**-0.5)
            nn.init.zeros_(encoder.bias)
        self.encode = nn.ModuleDict(encoders)
        # Votes of length about one, so that agreement is neither noise nor already settled.
        std = nn.init.calculate_gain("tanh") / math.sqrt(feature_dim * concept_dim)
        self.vote = nn.ParameterDict(
            {key: torch.randn(feature_dim, num_concepts, concept_dim) * std for key in keys}
        )
        self.out = nn.Linear(num_concepts * concept_dim, self.dim)
        nn.init.normal_(self.out.weight, std=2 * math.sqrt(num_concepts / len(self.subsets)))
        nn.init.zeros_(self.out.bias)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        features, gates = self._encode(dict(zip(self.dims, values, strict=True)))
        kept = _whole(self.subsets, dict(zip(self.dims, present, strict=True)))
        if kept is not None:
            gates = gates.masked_fill(~kept, 0)
        concepts, shares = self.route(features, gates)
        if trace is not None:
            trace.record("gate", gates)
            trace.record("routing", shares)
        fused: Tensor = self.out(concepts.flatten(-2))
        return fused

    def route(self, features: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Concepts ``[..., J, E]`` and routing ``[..., S, J]`` of features ``[..., S, F]`` and gates."""
        weights = torch.stack(list(map(self.vote.__getitem__, self.encode)))  # [S, F, J, E]
        votes = torch.einsum("...sf,sfje->...sje", features, weights)
        return route(votes, gates, iterations=self.iterations)

    def _encode(self, values: Streams) -> tuple[Tensor, Tensor]:
        joined = [torch.cat([values[name] for name in subset], -1) for subset in self.subsets]
        encoded = [linear(value) for linear, value in zip(self.encode.values(), joined, strict=True)]
        stacked = torch.stack(encoded, -2)  # [..., S, F + 1]
        return stacked[..., :-1].tanh(), stacked[..., -1].sigmoid()


def _subsets(names: Sequence[str], order: int) -> list[tuple[str, ...]]:
    order = min(order, len(names))
    count = sum(math.comb(len(names), size) for size in range(1, order + 1))
    if count > _MOST_SUBSETS:
        raise OptionError(
            f"order must give at most {_MOST_SUBSETS} subsets, got {order}, which gives {count} of "
            f"{len(names)} modalities. Pass a smaller order."
        )
    return [subset for size in range(1, order + 1) for subset in combinations(names, size)]


def _whole(subsets: Sequence[Sequence[str]], present: Mapping[str, Tensor | None]) -> Tensor | None:
    """Which subsets are there as a whole, ``[..., S]``; None where everything is."""
    masks = stack_masks(list(present.values()))
    if masks is None:
        return None
    columns = dict(zip(present, masks.unbind(-1), strict=True))
    return torch.stack([reduce(and_, (columns[name] for name in subset)) for subset in subsets], -1)


def convert_routing(weights: Tensor, dims: Mapping[str, int], *, order: int = 3) -> dict[str, Tensor]:
    """State dict of the votes of `Routing`, ``Routing.vote``, from the official layout.

    Args:
        weights: ``[S, F, J, E]``, subsets by their number of modalities, then in the order of ``dims``.
        dims: Modality name -> width ``D_m``.
        order: Most modalities in a subset.

    Raises:
        OptionError: another number of subsets.
    """
    keys = list(map("_from_".join, _subsets(list(dims), order)))
    if weights.dim() != 4 or len(weights) != len(keys):
        raise OptionError(
            f"weights must have shape [{len(keys)}, F, J, E], one for each subset, got {list(weights.shape)}."
        )
    return {key: weight.contiguous() for key, weight in zip(keys, weights, strict=True)}
