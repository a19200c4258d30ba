"""The exchanges."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, named_linears, with_tokens

__all__ = ["RIVALS", "PlainCrossAttention", "floor_cross_attention"]


class PlainCrossAttention(nn.Module):
    """For each target: project its queries and the others' keys and values, attend, project, add."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        for role in ("query", "key", "value", "out"):
            self.add_module(role, named_linears(state, role, dims))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N_m, D_m]`` each to the same."""
        tokens = {name: with_tokens(value) for name, value in streams.items()}
        return [self._attend(name, tokens).view_as(streams[name]) for name in streams]

    def _attend(self, target: str, tokens: Mapping[str, Tensor]) -> Tensor:
        others = [name for name in tokens if name != target]
        query = self.query[target](tokens[target])
        key = torch.cat([self.key[name](tokens[name]) for name in others], 1)
        value = torch.cat([self.value[name](tokens[name]) for name in others], 1)
        mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return tokens[target] + self.out[target](mixed)


def floor_cross_attention(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Four projections per modality, and two products per ordered pair; no softmax, no sum."""
    tokens = {name: with_tokens(value) for name, value in streams.items()}
    query, key, value = (
        {name: x @ state[f"{role}.{name}.weight"].T for name, x in tokens.items()}
        for role in ("query", "key", "value")
    )
    out = []
    for target in tokens:
        first, *rest = (
            torch.bmm(torch.bmm(query[target], key[source].transpose(1, 2)), value[source])
            for source in tokens
            if source != target
        )
        out += [first @ state[f"out.{target}.weight"].T, *rest]
    return out


RIVALS: Rivals = {"cross_attention": (PlainCrossAttention, floor_cross_attention)}
