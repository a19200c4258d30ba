"""Sensor series: rows of numbers in time, with holes, evenly spaced or with a time of their own."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.encoders._ends import check_choice, make_end
from fuseloom.encoders._shapes import check_shape
from fuseloom.errors import OptionError
from fuseloom.nn import MaskedConv, MaskedResidual, SinusoidalPositions, TransformerEncoder
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["SeriesEncoder"]

_BLOCKS, _LAYERS = 4, 2
_RATES = 16
_LONGEST_WAVE = 10_000.0


@register("series")
class SeriesEncoder(Encoder):
    r"""Temporal convolutions or a transformer over steps of standardised numbers.

    A number that is missing in a real step (NaN, infinite) enters as zero together with a flag, as in a
    table. Masked steps count as nothing, wherever they stand; after a stride a token is real where one of
    its steps is.

    The body ``conv`` has four residual blocks, a stage each, and the reach doubles from block to block (after
    Bai et al., 2018, arXiv:1803.01271, there causal): some 60 tokens in all. ``transformer`` is one stage of
    two layers of self-attention, which sees all of the series at once. Each stands behind a convolution that
    makes the tokens; a long series wants a larger ``stride``.

    Args:
        in_dim: Channels of the series, the time included.
        dim: Width of the stream.
        timed: Whether the last channel is the time of the step, counted from the first step of its row in
            units of the usual distance between steps. It enters as sines and cosines of 16 frequencies.
        body: ``conv`` or ``transformer``.
        stride: Steps per token.
        output: ``pooled``, mean and maximum over time in one vector, or ``tokens``.
        dropout: Probability of dropping a feature of the last stage, and inside a transformer.

    Shapes: ``[B, T, in_dim]`` and mask ``[B, T]`` to ``[B, dim]``, or to tokens
    ``[B, ceil(T / stride), dim]`` and their mask.

    Raises:
        OptionError: an unknown ``body`` or ``output``, or nothing but a time.

    Example:
        >>> encoder = SeriesEncoder(3, dim=16, output="tokens", stride=2)
        >>> tokens, mask = encoder(torch.randn(2, 5, 3), torch.arange(5) < torch.tensor([[5], [2]]))
        >>> tokens.shape, mask.tolist()
        (torch.Size([2, 3, 16]), [[True, True, True], [True, False, False]])
    """

    def __init__(
        self,
        in_dim: int,
        *,
        dim: int = 64,
        timed: bool = False,
        body: Literal["conv", "transformer"] = "conv",
        stride: int = 1,
        output: Literal["pooled", "tokens"] = "pooled",
        dropout: float = 0.2,
    ) -> None:
        check_choice("body", body, ("conv", "transformer"))
        check_choice("output", output, ("pooled", "tokens"))
        if in_dim <= timed:
            raise OptionError(f"in_dim must count a channel beside the time, got {in_dim}.")
        if stride < 1:
            raise OptionError(f"stride must be at least 1, got {stride}.")
        steps = _Steps(_Timed(in_dim) if timed else _Known(in_dim), dim, stride)
        blocks: list[nn.Module] = (
            [_Block(dim, 2**number) for number in range(_BLOCKS)]
            if body == "conv"
            else [_Attention(dim, dropout, SinusoidalPositions() if not timed else nn.Identity())]
        )
        stages = [steps, *blocks, make_end(output, dim, dim, dropout=dropout)]
        super().__init__(stages, [dim] * len(stages))


class _Known(nn.Module):
    """Numbers and which of them are missing."""

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim, self.width = in_dim, 2 * in_dim

    def forward(self, rows: Tensor) -> Tensor:
        missing = ~rows.isfinite()
        return torch.cat([rows.masked_fill(missing, 0), missing.to(rows.dtype)], -1)


class _Timed(nn.Module):
    """Numbers, which of them and of the times are missing, and waves of the time."""

    rates: Tensor

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim, self.width = in_dim, 2 * in_dim - 1 + 2 * _RATES
        steps = torch.arange(_RATES) / _RATES
        # The fastest wave turns a quarter in one usual step, so that neighbours stay neighbours.
        self.register_buffer("rates", math.pi / 2 * _LONGEST_WAVE**-steps, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        missing = ~rows.isfinite()
        known = rows.masked_fill(missing, 0)
        phase = known[..., -1:].to(self.rates.dtype) * self.rates  # [B, T, R]
        waves = torch.cat([phase.sin(), phase.cos()], -1).to(rows.dtype)
        return torch.cat([known[..., :-1], missing.to(rows.dtype), waves], -1)


class _Steps(nn.Module):
    """Rows to tokens, by a convolution that reaches a stride to either side."""

    def __init__(self, features: _Known | _Timed, dim: int, stride: int) -> None:
        super().__init__()
        self.features = features
        self.conv = MaskedConv(features.width, dim, axes=1, kernel=2 * stride + 1, stride=stride)

    def forward(self, rows: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_shape(rows, "B", "T", self.features.in_dim)
        real = rows if mask is None else zero_masked(rows, mask)
        steps, short = self.conv(self.features(real).transpose(1, 2), mask)
        return steps.transpose(1, 2).contiguous(), short


class _Block(nn.Module):
    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.block = MaskedResidual(dim, dim, axes=1, dilation=dilation)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        steps, _ = self.block(tokens.transpose(1, 2), mask)
        return steps.transpose(1, 2).contiguous(), mask


class _Attention(nn.Module):
    def __init__(self, dim: int, dropout: float, positions: nn.Module) -> None:
        super().__init__()
        self.positions = positions
        heads = math.gcd(dim, 4)
        self.encoder = TransformerEncoder(dim, hidden=[2 * dim] * _LAYERS, num_heads=heads, dropout=dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.encoder(self.positions(tokens), mask), mask
