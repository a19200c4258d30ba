"""What crossmodal transformers (MulT) add to a transformer: where tokens stand, and which they may see."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.dropout import Dropout
from fuseloom.nn.transformer import SinusoidalPositions, convert_transformer

__all__ = ["MarkedPositions", "PlacedTokens", "convert_crossmodal", "halved_waves", "not_later"]

_LONGEST_WAVE = 10_000.0
_STATELESS = ("version", "embed_positions._float_tensor")
_OFFICIAL = {
    "fc1.": "linear1.",
    "fc2.": "linear2.",
    "layer_norms.0.": "norm1.",
    "layer_norms.1.": "norm2.",
    "self_attn.": "self_attn.",
}
"""Prefix in a layer of the official encoder -> prefix in torch's."""


def halved_waves(count: int, width: int, like: Tensor) -> Float[Tensor, "count width"]:
    r"""Waves of places that count from one, sines in the first half of the features, cosines in the second.

    .. math:: p_{n, j} = \sin((n + 1) \omega_j), \quad p_{n, h + j} = \cos((n + 1) \omega_j), \quad
        \omega_j = 10000^{-j / (h - 1)}, \quad h = \lfloor D / 2 \rfloor

    An odd width leaves its last feature zero.

    Args:
        count: Places ``N``.
        width: Features ``D``.
        like: A tensor of the wanted device and dtype.

    Example:
        >>> halved_waves(1, 3, torch.ones(1))
        tensor([[0.8415, 0.5403, 0.0000]])
    """
    # float32: bfloat16 cannot tell the places beyond 256 apart.
    wide = torch.promote_types(like.dtype, torch.float32)
    half = width // 2
    place = torch.arange(1, count + 1, device=like.device, dtype=wide)
    step = -math.log(_LONGEST_WAVE) / max(half - 1, 1)
    angle = place[:, None] * torch.exp(torch.arange(half, device=like.device, dtype=wide) * step)
    waves = torch.cat([torch.sin(angle), torch.cos(angle)], 1)
    return F.pad(waves, (0, width - 2 * half)).to(like.dtype)


class MarkedPositions(nn.Module):
    """Positions for all but the tokens whose first feature is exactly zero, which stay as they are.

    This is how the official code of MulT tells padding, and any real token that happens to have a zero there.

    Args:
        positions: Adds positions to every token.

    Example:
        >>> positions = MarkedPositions(SinusoidalPositions(halved_waves))
        >>> positions(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
        tensor([[[0.0000, 1.0000],
                 [1.9093, 0.5839]]])
    """

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, values: Tensor) -> Tensor:
        """``[B, ..., D]`` to the same shape."""
        return torch.where(values[..., :1] == 0, values, self.positions(values))


class PlacedTokens(nn.Module):
    r"""What goes into a transformer: tokens times the root of their width, and their positions.

    .. math:: x \leftarrow \mathrm{dropout}(\sqrt{D} x + p)

    Args:
        positions: Adds positions to tokens; those of `halved_waves` by default.
        dropout: Probability of dropping a feature in training.

    Example:
        >>> PlacedTokens()(torch.ones(1, 2, 2))
        tensor([[[2.2557, 1.9545],
                 [2.3235, 0.9981]]])
    """

    def __init__(self, *, positions: nn.Module | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.positions = SinusoidalPositions(halved_waves) if positions is None else positions
        self.dropout = Dropout(dropout)

    def forward(self, values: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """``[B, D]``, ``[B, N, D]`` or ``[B, H, W, D]`` to the same shape."""
        out: Tensor = self.dropout(self.positions(values * math.sqrt(values.shape[-1])))
        return out


def not_later(queries: int, keys: int, *, device: torch.device) -> Bool[Tensor, "1 query key"]:
    """Which keys each query may see when none looks ahead.

    Of two sequences of equal length, none sees a later token. Where lengths differ nothing says which tokens
    are simultaneous; then, as in the official code of MulT, query ``i`` sees the keys up to place ``i`` plus
    the difference of the lengths.

    Example:
        >>> not_later(2, 3, device=torch.device("cpu")).int()
        tensor([[[1, 1, 0],
                 [1, 1, 1]]], dtype=torch.int32)
    """
    ahead = torch.arange(keys, device=device) - torch.arange(queries, device=device)[:, None]
    # The larger of the two differences is the absolute one, without asking which.
    return ((ahead <= keys - queries) | (ahead <= queries - keys))[None]


def convert_crossmodal(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a pre-norm `TransformerEncoder` from that of an encoder of MulT or of MultiBench's MulT.

    Args:
        official: State of its ``TransformerEncoder``; what holds no weights (``version``,
            ``embed_positions._float_tensor``) is left out.

    Raises:
        OptionError: a key that the official encoder does not have.
    """
    kept = {key: value for key, value in official.items() if key not in _STATELESS}
    return convert_transformer({_torch_key(key): value for key, value in kept.items()})


def _torch_key(key: str) -> str:
    if key in ("layer_norm.weight", "layer_norm.bias"):
        return key.removeprefix("layer_")
    layers, _, rest = key.partition(".")
    number, _, inner = rest.partition(".")
    for theirs, torchs in _OFFICIAL.items():
        if layers == "layers" and inner.startswith(theirs):
            return f"layers.{number}.{torchs}{inner.removeprefix(theirs)}"
    raise OptionError(f"official must be the state of an encoder of MulT, got {key!r} in it.")
