"""The exchanges made of transformers: a crossmodal one per pair, and one per modality with shared tokens."""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, linear, named_linears, under, with_tokens

__all__ = [
    "RIVALS",
    "PlainBottleneck",
    "PlainCrossmodal",
    "PlainMult",
    "floor_bottleneck",
    "floor_mult",
    "placed",
    "placed_unless_zero",
]

_HEADS = {"mult": 4, "bottleneck": 1}


def placed(values: Tensor) -> Tensor:
    """Tokens scaled, with sines and cosines of their places; a single one, an embedding, scaled alone."""
    width = values.shape[-1]
    scaled = values * math.sqrt(width)
    if values.dim() == 2:
        return scaled[:, None]
    half = width // 2
    place = torch.arange(1, values.shape[1] + 1, device=values.device, dtype=values.dtype)
    power = torch.arange(half, device=values.device, dtype=values.dtype) / max(half - 1, 1)
    angle = torch.outer(place, 10_000.0**-power)
    return scaled + F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, width % 2))


def placed_unless_zero(values: Tensor) -> Tensor:
    """As the official code: a token whose first feature is zero, padding or not, has no place."""
    return torch.where(values[..., :1] == 0, values * math.sqrt(values.shape[-1]), placed(values))


class PlainMult(nn.Module):
    """For each pair, torch's attention of the target to the source as it was; concatenated, a linear map."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        dims: Mapping[str, int],
        *,
        num_heads: int = _HEADS["mult"],
        place: Callable[[Tensor], Tensor] = placed,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.place = place
        self.embed = named_linears(state, "embed", dims)
        self.encoder = nn.ModuleDict(
            {
                pair: PlainCrossmodal(under(state, f"encoder.{pair}."), num_heads, causal=causal)
                for pair in _pairs(dims)
            }
        )
        self.out = nn.ModuleDict(
            {
                name: linear(torch.cat([state[f"out.{pair}"] for pair in _pairs(dims, name)], 1))
                for name in dims
            }
        )

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N_m, D_m]`` or ``[B, D_m]`` each to the same."""
        return [
            streams[name] + self.out[name](joined).view_as(streams[name])
            for name, joined in self.join(streams).items()
        ]

    def join(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each target makes of each source, ``[B, N_target, D]``, concatenated over sources."""
        tokens = {name: self.place(self.embed[name](value)) for name, value in streams.items()}
        return {
            target: torch.cat(
                [
                    self.encoder[pair](tokens[target], tokens[pair.split("_from_")[1]])
                    for pair in _pairs(tokens, target)
                ],
                2,
            )
            for target in tokens
        }


class PlainCrossmodal(nn.Module):
    """Layers that all read the same source, or the tokens themselves where there is none; and a norm."""

    def __init__(self, state: Mapping[str, Tensor], num_heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(
            _Layer(under(state, f"layers.{number}."), _PARTS, nn.ReLU(), 1e-5, num_heads)
            for number in range(_count(state, "layers."))
        )
        self.norm = _norm(under(state, "norm."), 1e-5)

    def forward(self, target: Tensor, source: Tensor | None = None) -> Tensor:
        """``[B, N, D]`` to the same."""
        ahead = _ahead(target, target if source is None else source) if self.causal else None
        for layer in self.layers:
            target = layer(target, source, ahead)
        out: Tensor = self.norm(target)
        return out


def _ahead(target: Tensor, source: Tensor) -> Tensor:
    """As the official code: what lies behind the diagonal, moved by the difference of the lengths."""
    queries, keys = target.shape[1], source.shape[1]
    return torch.ones(queries, keys, dtype=torch.bool, device=target.device).triu(1 + abs(keys - queries))


class PlainBottleneck(nn.Module):
    """In a layer, each modality's tokens behind the shared ones through its block; then the mean of those."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.bottleneck = nn.Parameter(state["bottleneck"].clone())
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: _Layer(
                        under(state, f"layers.{number}.{name}."),
                        _BLOCK,
                        nn.GELU(),
                        1e-6,
                        _HEADS["bottleneck"],
                    )
                    for name in dims
                }
            )
            for number in range(_count(state, "layers."))
        )

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N_m, D]`` or ``[B, D]`` each to the same."""
        tokens = {name: with_tokens(value) for name, value in streams.items()}
        count = len(self.bottleneck)
        common = self.bottleneck.expand(len(next(iter(tokens.values()))), -1, -1)
        for layer in self.layers:
            joined = {name: torch.cat([common, value], 1) for name, value in tokens.items()}
            changed = {name: layer[name](value) for name, value in joined.items()}
            common = torch.stack([value[:, :count] for value in changed.values()]).mean(0)
            tokens = {name: value[:, count:] for name, value in changed.items()}
        return [value.view_as(streams[name]) for name, value in tokens.items()]


_PARTS = {
    "qkv": "attention.part.qkv",
    "out": "attention.part.out",
    "up": "feedforward.part.up",
    "down": "feedforward.part.down",
    "first": "attention.norm",
    "second": "feedforward.norm",
}
_BLOCK = {
    "qkv": "qkv",
    "out": "out",
    "up": "up",
    "down": "down",
    "first": "attention_norm",
    "second": "feedforward_norm",
}
"""What a layer is made of -> its name in a layer of ours."""


class _Layer(nn.Module):
    def __init__(
        self,
        state: Mapping[str, Tensor],
        names: Mapping[str, str],
        activation: nn.Module,
        eps: float,
        num_heads: int,
    ) -> None:
        super().__init__()
        part = {role: under(state, f"{name}.") for role, name in names.items()}
        width = len(part["first"]["weight"])
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        packed = {f"in_proj_{kind}": value for kind, value in part["qkv"].items()}
        self.attention.load_state_dict(packed | {f"out_proj.{kind}": v for kind, v in part["out"].items()})
        self.first, self.second = (_norm(part[name], eps) for name in ("first", "second"))
        up, down = (linear(part[name]["weight"], part[name]["bias"]) for name in ("up", "down"))
        self.feedforward = nn.Sequential(up, activation, down)

    def forward(self, tokens: Tensor, source: Tensor | None = None, ahead: Tensor | None = None) -> Tensor:
        asked = self.first(tokens)
        read = asked if source is None else self.first(source)
        tokens = tokens + self.attention(asked, read, read, need_weights=False, attn_mask=ahead)[0]
        out: Tensor = tokens + self.feedforward(self.second(tokens))
        return out


def floor_mult(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Each pair's linear maps and two products of attention per layer; no norm, no softmax, no sum."""
    tokens = {name: with_tokens(value) @ state[f"embed.{name}.weight"].T for name, value in streams.items()}
    out = []
    for pair in _pairs(streams):
        target, source = (tokens[name] for name in pair.split("_from_"))
        inner = under(state, f"encoder.{pair}.")
        for number in range(_count(inner, "layers.")):
            weights = {role: inner[f"layers.{number}.{name}.weight"] for role, name in _PARTS.items()}
            target = _floor_layer(weights, target, source, _HEADS["mult"])
        out.append(target @ state[f"out.{pair}"].T)
    return [*out, *(value for key, value in state.items() if "norm.weight" in key)]


def floor_bottleneck(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Each block's linear maps and two products of attention, over shared and own tokens."""
    out = []
    for name, value in streams.items():
        tokens = with_tokens(value)
        tokens = torch.cat([state["bottleneck"].expand(len(tokens), -1, -1), tokens], 1)
        for number in range(_count(state, "layers.")):
            at = f"layers.{number}.{name}."
            weights = {role: state[f"{at}{part}.weight"] for role, part in _BLOCK.items()}
            tokens = _floor_layer(weights, tokens, tokens, _HEADS["bottleneck"])
        out.append(tokens)
    return [*out, *(value for key, value in state.items() if "norm.weight" in key)]


def _floor_layer(weights: Mapping[str, Tensor], target: Tensor, source: Tensor, num_heads: int) -> Tensor:
    ask, answer = weights["qkv"].split([target.shape[2], 2 * target.shape[2]])
    query, key, value = (
        part.unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for part in (target @ ask.T, *(source @ answer.T).chunk(2, -1))
    )
    mixed = (query @ key.transpose(2, 3) @ value).transpose(1, 2).flatten(2)
    return mixed @ weights["out"].T @ weights["up"].T @ weights["down"].T


def _pairs(dims: Mapping[str, object], target: str | None = None) -> Iterator[str]:
    """``<target>_from_<source>`` of all ordered pairs, or of one target."""
    for one in dims if target is None else (target,):
        yield from (f"{one}_from_{other}" for other in dims if other != one)


def _norm(state: Mapping[str, Tensor], eps: float) -> nn.LayerNorm:
    norm = nn.LayerNorm(len(state["weight"]), eps=eps)
    norm.load_state_dict(dict(state))
    return norm


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


RIVALS: Rivals = {
    "bottleneck": (PlainBottleneck, floor_bottleneck),
    "mult": (PlainMult, floor_mult),
}
