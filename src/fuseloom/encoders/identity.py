"""No encoder: the given vectors are the stream."""

from torch import Tensor, nn

from fuseloom.encoders._base import Encoder
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["IdentityEncoder"]


@register("identity")
class IdentityEncoder(Encoder):
    """Pass vectors ``[B, in_dim]`` or sequences of them ``[B, N, in_dim]`` on as they are, zero under False.

    Args:
        in_dim: Width of the given vectors, and of the stream.
    """

    sized = False

    def __init__(self, in_dim: int) -> None:
        super().__init__([_Pass()], [in_dim])


class _Pass(nn.Module):
    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (value if mask is None else zero_masked(value, mask)), mask
