"""The exchanges."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, named_linear, named_linears, with_tokens

__all__ = [
    "RIVALS",
    "PlainCrossAttention",
    "PlainPixelAttention",
    "floor_cross_attention",
    "floor_pixel_attention",
]


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


class PlainPixelAttention(nn.Module):
    """Per sample and target, as in the official code: tokens are the batch, own and other tokens the keys."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int], *, num_heads: int = 1) -> None:
        super().__init__()
        self.hidden, self.out = (named_linear(state, f"relation.{name}") for name in ("hidden", "out"))
        self.attention = nn.ModuleDict({name: _attention(state, name, num_heads) for name in dims})
        for role in ("key_noise", "value_noise"):
            noise = {name: nn.Parameter(state[f"{role}.{name}"].clone()) for name in dims}
            self.register_module(role, nn.ParameterDict(noise))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N, D]`` each to the same."""
        tokens = {name: with_tokens(value) for name, value in streams.items()}
        samples = [dict(zip(tokens, sample, strict=True)) for sample in zip(*tokens.values(), strict=True)]
        return [
            torch.stack([self._attend(name, sample) for sample in samples]).view_as(value)
            for name, value in streams.items()
        ]

    def _attend(self, target: str, sample: Mapping[str, Tensor]) -> Tensor:
        own = sample[target]  # [N, D]
        others = [value for name, value in sample.items() if name != target]
        keys = torch.stack([own + self.key_noise[target], *(own * self._relate(own, o) for o in others)])
        values = torch.stack([own + self.value_noise[target], *others])
        # Without the weights it would call the fused kernel, which is slower on two keys.
        update, _ = self.attention[target](own[None], keys, values)
        return own + update[0]

    def _relate(self, own: Tensor, other: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(torch.cat([own, other], -1)))).softmax(-1)


def _attention(state: Mapping[str, Tensor], name: str, num_heads: int) -> nn.MultiheadAttention:
    width = state[f"out.{name}.weight"].shape[0]
    bias = torch.zeros(width)  # of the keys, on which nothing depends
    biases = [state[f"query.{name}.bias"], bias, state[f"value.{name}.bias"]]
    layer = nn.MultiheadAttention(width, num_heads)
    layer.load_state_dict(
        {
            "in_proj_weight": torch.cat(
                [state[f"{role}.{name}.weight"] for role in ("query", "key", "value")]
            ),
            "in_proj_bias": torch.cat(biases),
            "out_proj.weight": state[f"out.{name}.weight"],
            "out_proj.bias": state[f"out.{name}.bias"],
        }
    )
    return layer


def floor_pixel_attention(
    state: Mapping[str, Tensor], streams: Mapping[str, Tensor], out: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """The products ``[B N, D] x [D, D]`` of the sigmoid form, 16 of two modalities; into ``out`` if given."""
    rows = {name: value.flatten(0, -2) for name, value in streams.items()}
    first = state["relation.hidden.weight"].chunk(2, 1)
    pairs = []
    for target, own in rows.items():
        others = [value for name, value in rows.items() if name != target]
        pairs += [(own, state[f"{role}.{target}.weight"]) for role in ("query", "value", "out")]
        pairs += [(own, weight) for weight in first]
        for other in others:
            pairs += [(own, state[f"key.{target}.weight"]), (own, state["relation.out.weight"])]
            pairs += [(other, state[f"value.{target}.weight"])]
    if out is None:
        return [value @ weight.T for value, weight in pairs]
    return [torch.mm(value, weight.T, out=into) for (value, weight), into in zip(pairs, out, strict=True)]


RIVALS: Rivals = {
    "cross_attention": (PlainCrossAttention, floor_cross_attention),
    "pixel_attention": (PlainPixelAttention, floor_pixel_attention),
}
