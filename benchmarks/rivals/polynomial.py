"""The polynomial merge and the non-local gate."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, named_linear, pooled

__all__ = ["RIVALS", "PlainNonLocalGate", "PlainPolynomial", "floor_nl_gate", "floor_polynomial"]


class PlainPolynomial(nn.Module):
    """All pairs of features and a one, multiplied; each cross product counts by the root of two."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = nn.ParameterDict({n: state[k].clone() for n in dims if (k := _embed(n)) in state})
        num = sum(len(self.embed[name]) if name in self.embed else width for name, width in dims.items())
        self.weight = nn.Parameter(state["weight"].clone())
        left, right = torch.combinations(torch.arange(num + 1), with_replacement=True).T.contiguous()
        self.gamma = 1 / num
        self.register_buffer("left", left)
        self.register_buffer("right", right)
        self.register_buffer("scale", torch.where(left == right, 1.0, math.sqrt(2)))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = _embedded(self.embed, streams)
        values = F.pad(torch.cat(embedded, 1) * math.sqrt(self.gamma), (0, 1), value=1.0)
        monomials = values[:, self.left] * values[:, self.right] * self.scale
        return [F.linear(monomials, self.weight)]


class PlainNonLocalGate(nn.Module):
    """The official steps with our keys: three linear maps, attention, a sum, here a mean over positions."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.target, *self.others = dims
        self.width = len(state[f"query.{self.target}.weight"])
        self.query = named_linear(state, f"query.{self.target}")
        self.key = nn.ModuleDict({name: named_linear(state, f"key.{name}") for name in self.others})
        self.value = nn.ModuleDict({name: named_linear(state, f"value.{name}") for name in self.others})

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` or ``[B, N, D_m]`` each to ``[B, dim]``."""
        query = _tokens(self.query(streams[self.target]), self.width)
        out = query
        for name in self.others:
            key, value = (_tokens(part[name](streams[name]), self.width) for part in (self.key, self.value))
            out = out + F.scaled_dot_product_attention(query, key, value)
        return [out.mean(1)]


def floor_polynomial(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one of as many values as there are monomials, which are given."""
    weights = {n: state[k] for n in streams if (k := _embed(n)) in state}
    embedded = _embedded(weights, streams)
    # Some value of every modality in place of the monomials, so that nothing is gathered or multiplied.
    rows, weight = embedded[0], state["weight"]
    monomials = rows[:, :1].expand(-1, weight.shape[1])
    return [torch.mm(monomials, weight.T), *embedded[1:]]


def floor_nl_gate(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Three products per modality but the first, which has one, and two per other modality; no softmax."""
    target, *others = streams
    weight = state[f"query.{target}.weight"]
    query = _tokens(streams[target] @ weight.T, len(weight))
    out = []
    for name in others:
        key, value = (
            _tokens(streams[name] @ state[f"{part}.{name}.weight"].T, len(weight))
            for part in ("key", "value")
        )
        out.append(torch.bmm(torch.bmm(query, key.transpose(1, 2)), value))
    return out


RIVALS: Rivals = {
    "nl_gate": (PlainNonLocalGate, floor_nl_gate),
    "polynomial": (PlainPolynomial, floor_polynomial),
}


def _embed(name: str) -> str:
    return f"embed.{name}.weight"


def _embedded(weights: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    vectors = {name: pooled(value) for name, value in streams.items()}
    return [torch.mm(v, weights[n].T) if n in weights else v for n, v in vectors.items()]


def _tokens(value: Tensor, width: int) -> Tensor:
    return value.reshape(len(value), -1, width)
