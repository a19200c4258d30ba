"""The merges that multiply whole modalities."""

from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import combinations
from operator import mul

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, named_linear, named_linears, pooled

__all__ = [
    "RIVALS",
    "PlainBilinear",
    "PlainFilm",
    "PlainLowRank",
    "PlainMultiplicativeInteractions",
    "PlainProduct",
    "PlainTensorProduct",
    "floor_bilinear",
    "floor_film",
    "floor_low_rank",
    "floor_multiplicative_interactions",
    "floor_product",
    "floor_tensor",
]


class PlainProduct(nn.Module):
    """One linear map per modality, multiplied, then a linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = named_linears(state, "embed", dims)
        self.out = named_linear(state, "out")

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = (self.embed[name](pooled(value)) for name, value in streams.items())
        return [self.out(reduce(mul, embedded))]


class PlainLowRank(nn.Module):
    """The formula of LMF as its paper and code write it: a constant in front, one product per rank."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        official = {name: state[f"factor.{name}"].transpose(0, 1).roll(1, 1) for name in dims}
        self.factor = nn.ParameterDict({name: factor.contiguous() for name, factor in official.items()})
        self.fusion_weights = nn.Parameter(state["rank_weight"][None].clone())
        self.fusion_bias = nn.Parameter(state["bias"][None].clone())

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        applied = []
        for name, value in streams.items():
            vector = pooled(value)
            with_constant = torch.cat([vector.new_ones(len(vector), 1), vector], 1)
            applied.append(torch.matmul(with_constant, self.factor[name]))  # [R, B, dim]
        product = reduce(mul, applied).permute(1, 0, 2)
        return [torch.matmul(self.fusion_weights, product).squeeze(1) + self.fusion_bias]


class PlainBilinear(nn.Module):
    """One linear map per modality and one bilinear form per pair, summed."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.pairs = list(combinations(dims, 2))
        self.pair = nn.ParameterList(state[f"pair.{a}_from_{b}"].clone() for a, b in self.pairs)
        joined = torch.cat([state[f"linear.{name}"] for name in dims])
        self.weight = nn.Parameter(joined.T.contiguous())
        self.bias = nn.Parameter(state["bias"].clone())

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        vectors = {name: pooled(value) for name, value in streams.items()}
        fused = F.linear(torch.cat(list(vectors.values()), 1), self.weight, self.bias)
        for (a, b), weight in zip(self.pairs, self.pair, strict=True):
            fused = fused + torch.einsum("bj,ikj,bi->bk", vectors[b], weight, vectors[a])
        return [fused]


class PlainFilm(nn.Module):
    """A scale and a shift, each one linear map of the others' concatenation."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        _, *others = dims
        weights = torch.cat([state[f"weight.{name}"] for name in others], 1).chunk(2)
        self.weight = nn.ParameterList(half.clone() for half in weights)
        self.bias = nn.ParameterList(half.clone() for half in state["bias"].chunk(2))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        target, *others = map(pooled, streams.values())
        both = torch.cat(others, 1)
        gamma, beta = map(F.linear, (both, both), self.weight, self.bias)
        return [gamma * target + beta]


class PlainMultiplicativeInteractions(nn.Module):
    """A scale and a shift, each a sum of one linear map per modality that generates and one of their pair."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        weights = [value.chunk(2) for value in _generating(state, dims)]
        self.scale = nn.ParameterList(scale.T.clone() for scale, _ in weights)
        self.shift = nn.ParameterList(shift.T.clone() for _, shift in weights)
        self.constants = nn.ParameterList(half.clone() for half in state["bias"].chunk(2))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        target, *products = _with_pair(streams)
        scale, shift = (
            sum((torch.mm(x, w) for x, w in zip(products, weights, strict=True)), start=constant)
            for weights, constant in zip((self.scale, self.shift), self.constants, strict=True)
        )
        return [scale * target + shift]


class PlainTensorProduct(nn.Module):
    """The formula of TFN as its paper and code write it: the whole outer product, then one linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(state["weight"].transpose(0, 1).flatten(1))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        return [F.linear(reduce(_outer, map(_with_one, streams.values())), self.weight)]


def floor_product(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one after them."""
    first, *rest = (
        torch.mm(pooled(value), state[f"embed.{name}.weight"].T) for name, value in streams.items()
    )
    return [torch.mm(first, state["out.weight"].T), *rest]


def floor_low_rank(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one over the ranks."""
    rank_weight = state["rank_weight"]
    applied = [
        torch.mm(pooled(value), state[f"factor.{name}"].flatten(1)[:-1]) for name, value in streams.items()
    ]
    per_rank = applied[0].view(len(applied[0]), len(rank_weight), -1)
    return [torch.matmul(rank_weight, per_rank), *applied[1:]]


def floor_bilinear(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and two per pair."""
    vectors = {name: pooled(value) for name, value in streams.items()}
    out = [torch.mm(value, state[f"linear.{name}"]) for name, value in vectors.items()]
    for a, b in combinations(vectors, 2):
        weight = state[f"pair.{a}_from_{b}"]
        generated = torch.mm(vectors[b], weight.flatten(0, 1).T).view(-1, *weight.shape[:2])
        out.append(torch.bmm(vectors[a].unsqueeze(1), generated))
    return out


def floor_film(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality that generates; the target as it is."""
    target, *others = map(pooled, streams.values())
    _, *names = streams
    return [target, *(torch.mm(x, state[f"weight.{n}"].T) for n, x in zip(names, others, strict=True))]


def floor_multiplicative_interactions(
    state: Mapping[str, Tensor], streams: Mapping[str, Tensor]
) -> list[Tensor]:
    """The outer product of two modalities that generate, and one product with each; the target as it is."""
    target, *products = _with_pair(streams)
    weights = _generating(state, streams)
    return [target, *(torch.mm(x, weight.T) for x, weight in zip(products, weights, strict=True))]


def floor_tensor(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """The outer product of all modalities but one, and two products that sum over both."""
    first, *others = map(_with_one, streams.values())
    weight = state["weight"]
    partial_sums = torch.mm(reduce(_outer, others), weight.flatten(0, 1).T).view(-1, *weight.shape[:2])
    return [torch.bmm(first.unsqueeze(1), partial_sums)]


def _with_one(value: Tensor) -> Tensor:
    return F.pad(pooled(value), (0, 1), value=1.0)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("bi,bj->bij", left, right).flatten(1)


def _with_pair(streams: Mapping[str, Tensor]) -> list[Tensor]:
    """The vectors of all modalities, and the outer product of the second and third where there is one."""
    vectors = list(map(pooled, streams.values()))
    return [*vectors, _outer(*vectors[1:])] if len(vectors) == 3 else vectors


def _generating(state: Mapping[str, Tensor], names: Iterable[str]) -> list[Tensor]:
    """Weights of the multiplicative interactions, in the order of `_with_pair`."""
    _, *others = names
    terms = [*others, "_from_".join(reversed(others))] if len(others) == 2 else others
    return [state[f"weight.{term}"] for term in terms]


RIVALS: Rivals = {
    "bilinear": (PlainBilinear, floor_bilinear),
    "film": (PlainFilm, floor_film),
    "low_rank": (PlainLowRank, floor_low_rank),
    "multiplicative_interactions": (PlainMultiplicativeInteractions, floor_multiplicative_interactions),
    "product": (PlainProduct, floor_product),
    "tensor": (PlainTensorProduct, floor_tensor),
}
