"""The contract of a head over positions."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from fuseloom.types import Trace

__all__ = ["PositionHead"]


class PositionHead(nn.Module, ABC):
    """Fused values at the positions of a sequence become the outputs of a task."""

    @abstractmethod
    def forward(self, fused: Tensor, mask: Tensor | None = None, *, trace: Trace | None = None) -> Tensor:
        """Outputs of fused values ``[B, N, dim]`` and their mask ``[B, N]`` (True = real), rows first.

        What it learns from besides goes into the trace.
        """
