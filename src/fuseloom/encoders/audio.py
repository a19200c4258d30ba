"""Sound as log-mel frames: a small residual network over time and frequency."""

from typing import Literal

from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.encoders._ends import check_choice, make_end
from fuseloom.encoders._maps import map_stages, map_widths
from fuseloom.encoders._shapes import check_shape
from fuseloom.errors import OptionError
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["AudioEncoder"]


@register("audio")
class AudioEncoder(Encoder):
    """A residual network of nine convolutions over a log-mel spectrogram, as `fuseloom.nn.log_mel` gives it.

    Three stages halve time and frequency (the first by ``stride``) and widen to ``dim``; their norms take
    statistics over real frames only and keep none. Then all bands of a moment become one token, each band by
    weights of its own, because a tone is not the same tone an octave higher.

    Args:
        num_mels: Bands of the spectrogram.
        dim: Width of the stream.
        stride: Of the first convolution.
        output: ``pooled``, mean and maximum over time in one vector; ``tokens``, one per moment; or ``map``,
            time and frequency kept apart.
        dropout: Probability of dropping a feature of the last stage.

    Shapes: ``[B, T, num_mels]``, best standardised by band, and mask ``[B, T]`` to ``[B, dim]``, tokens
    ``[B, T', dim]`` or a map ``[B, dim, T', M']``, and their mask; sides are over ``4 * stride``, rounded up.

    Raises:
        OptionError: an unknown ``output``, or ``num_mels`` or ``stride`` below one.

    Example:
        >>> import torch
        >>> encoder = AudioEncoder(40, dim=16, output="tokens")
        >>> tokens, mask = encoder(torch.randn(2, 20, 40), torch.arange(20) < torch.tensor([[20], [9]]))
        >>> tokens.shape, mask.tolist()
        (torch.Size([2, 3, 16]), [[True, True, True], [True, True, False]])
    """

    def __init__(
        self,
        num_mels: int = 64,
        *,
        dim: int = 64,
        stride: int = 2,
        output: Literal["pooled", "tokens", "map"] = "pooled",
        dropout: float = 0.2,
    ) -> None:
        check_choice("output", output, ("pooled", "tokens", "map"))
        if min(num_mels, stride) < 1:
            raise OptionError(f"num_mels and stride must be at least 1, got {num_mels} and {stride}.")
        first, *rest = map_stages(1, dim, stride=stride)
        bands = -(-num_mels // (4 * stride))
        end = (
            make_end(output, dim, dim, dropout=dropout)
            if output == "map"
            else _Moments(make_end(output, bands * dim, dim, dropout=dropout))
        )
        super().__init__([_Frames(num_mels, first), *rest, end], [*map_widths(dim), dim])


class _Frames(nn.Module):
    """Frames become a map of one channel, time by frequency."""

    def __init__(self, num_mels: int, then: nn.Module) -> None:
        super().__init__()
        self.num_mels, self.then = num_mels, then

    def forward(self, frames: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_shape(frames, "B", "T", self.num_mels)
        if mask is not None:
            frames = zero_masked(frames, mask)
            mask = mask[..., None].expand(frames.shape)
        out: tuple[Tensor, Tensor | None] = self.then(frames[:, None], mask)
        return out


class _Moments(nn.Module):
    """All bands of a moment side by side."""

    def __init__(self, then: nn.Module) -> None:
        super().__init__()
        self.then = then

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        tokens = value.transpose(1, 2).flatten(2)  # [B, T, C * M]
        out: tuple[Tensor, Tensor | None] = self.then(tokens, None if mask is None else mask[..., 0])
        return out
