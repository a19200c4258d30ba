"""The merges that weigh what they fuse: attention, routing, experts."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, named_linear, named_linears, pooled, with_tokens

__all__ = [
    "RIVALS",
    "PlainAttentionPool",
    "PlainProductOfExperts",
    "PlainRouting",
    "floor_attention_pool",
    "floor_product_of_experts",
    "floor_routing",
]

_ITERATIONS = 3


class PlainAttentionPool(nn.Module):
    """Embed every token, make its key and value, and let the class token attend over them."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = named_linears(state, "embed", dims)
        self.query, self.key, self.value, self.out = (
            named_linear(state, name) for name in ("query", "key", "value", "out")
        )
        self.class_token = nn.Parameter(state["class_token"].clone())

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` or ``[B, N, D_m]`` each to ``[B, dim]``."""
        embedded = [self.embed[name](with_tokens(value)) for name, value in streams.items()]
        own = self.class_token.expand(len(embedded[0]), 1, -1)
        tokens = torch.cat([own, *embedded], 1)
        mixed = F.scaled_dot_product_attention(self.query(own), self.key(tokens), self.value(tokens))
        return [self.out(mixed[:, 0])]


class PlainRouting(nn.Module):
    """Encode every subset, cast its votes, and iterate the two formulas as they are written."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.subsets = _subsets(state)
        self.encode = nn.ModuleDict({key: named_linear(state, f"encode.{key}") for key in self.subsets})
        self.vote = nn.Parameter(torch.stack([state[f"vote.{key}"] for key in self.subsets]))
        self.out = named_linear(state, "out")

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        vectors = {name: pooled(value) for name, value in streams.items()}
        encoded = torch.stack(
            [
                self.encode[key](torch.cat([vectors[n] for n in names], 1))
                for key, names in self.subsets.items()
            ],
            1,
        )
        features, gates = encoded[..., :-1].tanh(), encoded[..., -1].sigmoid()
        votes = torch.einsum("bid,idje->bije", features, self.vote)
        concepts = torch.ones_like(votes[:, 0])
        for _ in range(_ITERATIONS):
            shares = torch.einsum("bije,bje->bij", votes, concepts).softmax(2)
            concepts = torch.einsum("bij,bije->bje", gates[..., None] * shares, votes)
        return [self.out(concepts.flatten(1))]


class PlainProductOfExperts(nn.Module):
    """Means and variances of all experts and the prior, stacked, averaged by precision."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.expert = named_linears(state, "expert", dims)

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        beliefs = [self.expert[name](pooled(value)) for name, value in streams.items()]
        stacked = torch.stack([torch.zeros_like(beliefs[0]), *beliefs])
        means, log_variances = stacked.chunk(2, -1)
        precisions = 1 / log_variances.exp()
        return [(means * precisions).sum(0) / precisions.sum(0)]


def floor_attention_pool(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Per modality a score and a share of each token and one product with its map; two products after."""
    weights = state["value.weight"], state["out.weight"]
    out = []
    for name, value in streams.items():
        embed = state[f"embed.{name}.weight"]
        if value.dim() == 3:
            scores = value @ embed[0]
            value = (scores[:, None] @ value)[:, 0]
        out.append(torch.mm(value, embed.T))
    return [*out[:-1], torch.mm(torch.mm(out[-1], weights[0].T), weights[1].T)]


def floor_routing(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per subset, one for all votes, two per iteration, and the readout."""
    subsets = _subsets(state)
    vectors = {name: pooled(value) for name, value in streams.items()}
    encoded = [
        torch.mm(torch.cat([vectors[n] for n in names], 1), state[f"encode.{key}.weight"].T)
        for key, names in subsets.items()
    ]
    features = torch.stack(encoded)[..., :-1]  # [S, B, F]
    weights = torch.stack([state[f"vote.{key}"].flatten(1) for key in subsets])
    votes = torch.bmm(features, weights)  # [S, B, J * E]
    num, width = state[f"vote.{next(iter(subsets))}"].shape[1:]
    votes = votes.view(len(subsets), -1, width).transpose(0, 1).contiguous()  # [B * J, S, E]
    concepts = votes[:, 0]
    for _ in range(_ITERATIONS):
        agreement = torch.bmm(votes, concepts[..., None])
        concepts = torch.bmm(agreement.mT, votes)[:, 0]
    return [torch.mm(concepts.view(-1, num * width), state["out.weight"].T)]


def floor_product_of_experts(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality."""
    return [torch.mm(pooled(v), state[f"expert.{n}.weight"].T) for n, v in streams.items()]


def _subsets(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    keys = [name.split(".")[1] for name in state if name.startswith("encode.") and name.endswith(".weight")]
    return {key: key.split("_from_") for key in keys}


RIVALS: Rivals = {
    "attention_pool": (PlainAttentionPool, floor_attention_pool),
    "product_of_experts": (PlainProductOfExperts, floor_product_of_experts),
    "routing": (PlainRouting, floor_routing),
}
