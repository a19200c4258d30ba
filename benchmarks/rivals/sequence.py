"""The perceptron and the transformers over modalities."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rivals._common import Rivals, linear, pooled, under, with_tokens

__all__ = [
    "RIVALS",
    "PlainEarlyTransformer",
    "PlainLateTransformer",
    "PlainMlp",
    "floor_early_transformer",
    "floor_late_transformer",
    "floor_mlp",
]

_NUM_HEADS = 4
_OFFICIAL = {
    "attention.part.qkv.": "self_attn.in_proj_",
    "attention.part.out.": "self_attn.out_proj.",
    "attention.norm.": "norm1.",
    "feedforward.part.up.": "linear1.",
    "feedforward.part.down.": "linear2.",
    "feedforward.norm.": "norm2.",
}


class PlainMlp(nn.Module):
    """Concatenate, then linear maps with ReLU between them."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        first = linear(torch.cat([state[f"weight.{name}"] for name in dims], 1), state["bias"])
        layers: list[nn.Module] = [first]
        for number in range(_count(state, "linears.")):
            inner = under(state, f"linears.{number}.")
            layers += [nn.ReLU(), linear(inner["weight"], inner["bias"])]
        self.layers = nn.Sequential(*layers)

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        return [self.layers(torch.cat([pooled(value) for value in streams.values()], 1))]


class PlainEarlyTransformer(nn.Module):
    """Concatenate at every position, a linear map, torch's own encoder, a mean, and a linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = linear(torch.cat([state[f"embed.{name}"] for name in dims], 1))
        self.encoder = _torch_encoder(under(state, "encoder."))
        self.out = linear(state["out.weight"], state["out.bias"])

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N, D_m]`` or ``[B, D_m]`` each to ``[B, dim]``."""
        tokens = self.embed(torch.cat([with_tokens(value) for value in streams.values()], 2))
        return [self.out(self.encoder(_placed(tokens)).mean(1))]


class PlainLateTransformer(nn.Module):
    """For each modality a linear map, torch's own encoder and a mean; concatenate, and a linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = nn.ModuleDict({name: linear(state[f"embed.{name}"]) for name in dims})
        encoders = {name: _torch_encoder(under(state, f"encoder.{name}.")) for name in dims}
        self.encoder = nn.ModuleDict(encoders)
        self.out = linear(torch.cat([state[f"out.{name}"] for name in dims], 1), state["bias"])

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N_m, D_m]`` or ``[B, D_m]`` each to ``[B, dim]``."""
        tokens = {name: _placed(self.embed[name](with_tokens(value))) for name, value in streams.items()}
        vectors = [self.encoder[name](value).mean(1) for name, value in tokens.items()]
        return [self.out(torch.cat(vectors, 1))]


def floor_mlp(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one per further layer."""
    first, *rest = (torch.mm(pooled(value), state[f"weight.{n}"].T) for n, value in streams.items())
    for number in range(_count(state, "linears.")):
        first = torch.mm(first, state[f"linears.{number}.weight"].T)
    return [first, *rest]


def floor_early_transformer(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality and position, the encoder's, the mean over positions and the last product."""
    first, *rest = (with_tokens(value) @ state[f"embed.{name}"].T for name, value in streams.items())
    encoded, norms = _floor_encoder(under(state, "encoder."), first)
    return [torch.mm(encoded.mean(1), state["out.weight"].T), *rest, *norms]


def floor_late_transformer(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per token, the encoders', the means over tokens, and one product per modality."""
    out = []
    for name, value in streams.items():
        tokens = with_tokens(value) @ state[f"embed.{name}"].T
        encoded, norms = _floor_encoder(under(state, f"encoder.{name}."), tokens)
        out += [torch.mm(encoded.mean(1), state[f"out.{name}"].T), *norms]
    return out


def _floor_encoder(state: Mapping[str, Tensor], tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Four linear maps and two products of attention for every layer; the scales of norms as they are."""
    for number in range(_count(state, "layers.")):
        weights = {
            key.split(".")[-2]: value
            for key, value in under(state, f"layers.{number}.").items()
            if key.endswith("weight")
        }
        query, key, value = (
            part.unflatten(-1, (_NUM_HEADS, -1)).transpose(1, 2)
            for part in (tokens @ weights["qkv"].T).chunk(3, -1)
        )
        mixed = (query @ key.transpose(2, 3) @ value).transpose(1, 2).flatten(2)
        tokens = mixed @ weights["out"].T @ weights["up"].T @ weights["down"].T
    return tokens, [value for key, value in state.items() if key.endswith("norm.weight")]


def _torch_encoder(state: Mapping[str, Tensor]) -> nn.TransformerEncoder:
    dim = len(state["norm.weight"])
    hidden = len(state["layers.0.feedforward.part.up.weight"])
    layer = nn.TransformerEncoderLayer(dim, _NUM_HEADS, hidden, 0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(
        layer, _count(state, "layers."), norm=nn.LayerNorm(dim), enable_nested_tensor=False
    )
    encoder.load_state_dict({_official_key(key): value for key, value in state.items()})
    return encoder


def _official_key(key: str) -> str:
    for ours, official in _OFFICIAL.items():
        key = key.replace(ours, official)
    return key


def _placed(tokens: Tensor) -> Tensor:
    """Tokens with sines and cosines of their places; a single one, an embedding, as it is."""
    _, count, width = tokens.shape
    if count == 1:
        return tokens
    place = torch.arange(count, device=tokens.device, dtype=tokens.dtype)
    pair = torch.arange(0, width, 2, device=tokens.device)
    angle = torch.outer(place, 10_000.0 ** (-pair / width).to(tokens.dtype))
    return tokens + torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


RIVALS: Rivals = {
    "early_transformer": (PlainEarlyTransformer, floor_early_transformer),
    "late_transformer": (PlainLateTransformer, floor_late_transformer),
    "mlp": (PlainMlp, floor_mlp),
}
