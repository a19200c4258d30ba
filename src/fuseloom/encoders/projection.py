"""What a pretrained model made of its input, computed before: a linear map to the width of the stream."""

from torch import Tensor, nn

from fuseloom.encoders._backbones import project, projection
from fuseloom.encoders._base import Encoder
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["ProjectionEncoder"]


@register("projection")
class ProjectionEncoder(Encoder):
    """The last step of a pretrained encoder alone, over features that its frozen part gave.

    Args:
        in_dim: Width of the features.
        dim: Width of the stream.
        dropout: Probability of dropping a feature before the linear map.

    Shapes: features ``[B, in_dim]``, ``[B, N, in_dim]`` or ``[B, in_dim, H, W]`` and their mask to a stream
    of the same shape, ``dim`` wide, and the mask.

    Example:
        >>> import torch
        >>> ProjectionEncoder(6, dim=4)(torch.ones(2, 6))[0].shape
        torch.Size([2, 4])
    """

    def __init__(self, in_dim: int, *, dim: int = 64, dropout: float = 0.2) -> None:
        super().__init__([_Project(projection(in_dim, dim, dropout))], [dim])


class _Project(nn.Module):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        known = value if mask is None else zero_masked(value, mask)
        return project(known, self.layers), mask
