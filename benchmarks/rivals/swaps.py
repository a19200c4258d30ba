"""The exchanges that swap features along an alignment, and that shift one modality by the others."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.types import Alignment
from rivals._common import Rivals, linear, under, with_tokens

__all__ = [
    "READS",
    "RIVALS",
    "PlainFeatureSwap",
    "PlainModalityShift",
    "crossed_pairs",
    "floor_feature_swap",
    "floor_modality_shift",
]

_ONE_IN = 4
_EPS = 1e-6


def crossed_pairs(streams: Mapping[str, Tensor]) -> dict[str, Any]:
    """Each fourth of a stream's first tokens with the last ones of every other stream."""
    tokens = {name: with_tokens(value) for name, value in streams.items()}
    found = {}
    for source, target in combinations(tokens, 2):
        batch, length, _ = tokens[source].shape
        count = max(1, min(length, tokens[target].shape[1]) // _ONE_IN)
        found[f"{target}_from_{source}"] = _pairs(batch, length, count, tokens[source].device)
    return {"alignment": found}


@lru_cache(maxsize=64)
def _pairs(batch: int, length: int, count: int, device: torch.device) -> Alignment:
    place = torch.arange(count, device=device).expand(batch, -1)
    weight = torch.ones(batch, count, device=device)
    return Alignment(source_index=place * (length // count), target_index=length - 1 - place, weight=weight)


class PlainFeatureSwap(nn.Module):
    """Sums of what pairs bring and of their weights over flattened tokens; their quotient where it exists."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        dims: Mapping[str, int],
        *,
        mix: float = 1.0,
        targets: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.mix, self.targets = mix, tuple(dims) if targets is None else targets
        pairs = {key.split(".")[1] for key in state}
        self.bring = nn.ModuleDict({key: linear(**under(state, f"bring.{key}.")) for key in sorted(pairs)})

    def forward(self, streams: Mapping[str, Tensor], *, alignment: Mapping[str, Alignment]) -> list[Tensor]:
        """``[B, N_m, D_m]`` each to the same."""
        tokens = {name: with_tokens(value) for name, value in streams.items()}
        both = {}
        for key, pairs in alignment.items():
            target, source = key.split("_from_")
            both |= {key: pairs, f"{source}_from_{target}": pairs.transpose()}
        return [
            (self._receive(name, tokens, both) if name in self.targets else tokens[name]).view_as(value)
            for name, value in streams.items()
        ]

    def _receive(self, target: str, tokens: Mapping[str, Tensor], pairs: Mapping[str, Alignment]) -> Tensor:
        own = tokens[target]
        rows = own.flatten(0, 1)
        total, weights = torch.zeros_like(rows), rows.new_zeros(len(rows))
        for source, value in tokens.items():
            key = f"{target}_from_{source}"
            if key not in pairs:
                continue
            taken, place, weight = _taken(pairs[key], value, own.shape[1])
            taken = self.bring[key](taken) if key in self.bring else taken
            total = total.index_add(0, place, taken * weight[:, None])
            weights = weights.index_add(0, place, weight)
        partner = total / weights.clamp(min=1e-30)[:, None]
        mixed = torch.where(weights[:, None] > 0, torch.lerp(rows, partner, self.mix), rows)
        return mixed.view_as(own)


def _taken(pairs: Alignment, value: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Source token, flattened target place and weight of each pair; a hole weighs nothing."""
    sample = torch.arange(value.shape[0], device=value.device)[:, None]
    source = (pairs.source_index.clamp(min=0) + sample * value.shape[1]).flatten()
    target = (pairs.target_index.clamp(min=0) + sample * count).flatten()
    weight = torch.where(pairs.real, pairs.weight, 0).flatten().to(value.dtype)
    return value.flatten(0, 1).index_select(0, source), target, weight


def floor_feature_swap(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Read what the pairs bring, and write every stream once; there is no product between equal widths."""
    assert not state, "widths must be equal"
    tokens = {name: with_tokens(value) for name, value in streams.items()}
    brought = []
    for key, pairs in crossed_pairs(streams)["alignment"].items():
        target, source = key.split("_from_")
        for name, index in ((source, pairs.source_index), (target, pairs.target_index)):
            value = tokens[name]
            brought.append(value.gather(1, index[..., None].expand(-1, -1, value.shape[2])))
    return [*(value.clone() for value in tokens.values()), *brought]


class PlainModalityShift(nn.Module):
    """As the official code: each gate is a linear map of the concatenation of both modalities."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int], *, beta: float = 1.0) -> None:
        super().__init__()
        self.beta, (self.primary, *others) = beta, dims
        dim = dims[self.primary]
        self.gate, self.step = nn.ModuleDict(), nn.ModuleDict()
        for name in others:
            weight, bias = state[f"read.{name}.weight"], state[f"read.{name}.bias"]
            joined = torch.cat([weight[:dim], state[f"gate.{name}.weight"]], 1)
            self.gate[name] = linear(joined, bias[:dim])
            self.step[name] = linear(weight[dim:], bias[dim:])
        self.norm = nn.LayerNorm(dim)
        self.norm.load_state_dict(under(state, "norm."))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D]`` or ``[B, N, D]`` each to the same."""
        own = streams[self.primary]
        shift = torch.zeros_like(own)
        for name, step in self.step.items():
            gate = F.relu(self.gate[name](torch.cat([streams[name], own], -1)))
            shift = shift + gate * step(streams[name])
        length, moved = own.norm(dim=-1), shift.norm(dim=-1)
        moved = torch.where(moved == 0, torch.ones_like(moved), moved)
        scale = torch.minimum(self.beta * length / (moved + _EPS), torch.ones_like(length))
        out = self.norm(own + scale[..., None] * shift)
        return [out if name == self.primary else value for name, value in streams.items()]


def floor_modality_shift(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Of each secondary the products for its gate and its step, and that of the primary for the gate."""
    own = next(iter(streams.values()))
    found = []
    for name, value in streams.items():
        if f"read.{name}.weight" in state:
            found += [value @ state[f"read.{name}.weight"].T, own @ state[f"gate.{name}.weight"].T]
    return found


RIVALS: Rivals = {
    "feature_swap": (PlainFeatureSwap, floor_feature_swap),
    "modality_shift": (PlainModalityShift, floor_modality_shift),
}
READS = {"feature_swap": crossed_pairs}
"""Part -> streams to what it reads besides them."""
