"""The last stage of an encoder: tokens or a map become one vector, tokens or a map of the wanted width."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn import Dropout, masked_max, masked_mean
from fuseloom.part import zero_masked

__all__ = ["check_choice", "make_end"]


def make_end(output: str, width: int, dim: int, *, dropout: float) -> nn.Module:
    """The stage that ends an encoder.

    Args:
        output: ``pooled``, ``tokens`` or ``map``.
        width: Width of the tokens or the map before it.
        dim: Width of the stream.
        dropout: Probability of dropping a feature before the last linear map.
    """
    return {"pooled": _Pooled, "tokens": _Tokens, "map": _Map}[output](width, dim, dropout)


def check_choice(name: str, choice: str, known: Sequence[str]) -> None:
    """Refuse an option that is none of the known ones.

    Raises:
        OptionError: it is none of them.
    """
    if choice not in known:
        listed = ", ".join(map(repr, known[:-1]))
        raise OptionError(f"{name} must be {listed} or {known[-1]!r}, got {choice!r}.")


class _Pooled(nn.Module):
    """Mean and maximum over what is real, side by side, then a layer of ReLUs."""

    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * width, 2 * dim),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(2 * dim, dim),
            nn.LayerNorm(dim),
        )

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        tokens, kept = _as_tokens(value, mask)
        pooled = torch.cat([masked_mean(tokens, kept), masked_max(tokens, kept)], -1)
        return self.layers(pooled), None if kept is None else kept.any(1)


class _Tokens(nn.Module):
    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = _projection(width, dim, dropout)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        tokens, kept = _as_tokens(value, mask)
        return self.layers(tokens), kept


class _Map(nn.Module):
    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = _projection(width, dim, dropout)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        known = value if mask is None else zero_masked(value, mask)
        return self.layers(known.movedim(1, -1)).movedim(-1, 1), mask


def _projection(width: int, dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), Dropout(dropout), nn.Linear(width, dim), nn.LayerNorm(dim))


def _as_tokens(value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    known = value if mask is None else zero_masked(value, mask)
    if value.dim() < 4:
        return known, mask
    return known.flatten(2).transpose(1, 2), None if mask is None else mask.flatten(1)
