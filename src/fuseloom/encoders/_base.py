"""The contract of an encoder: raw values and their mask, stage by stage, to a stream and its mask."""

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.part import zero_masked

__all__ = ["Encoder"]


class Encoder(nn.Module, ABC):
    """A sequence of stages; an exchange may stand after any of them.

    A stage is a module ``(value, mask) -> (value, mask)``. Values under False are zeroed
    after each stage; the first one also meets raw values, which under False may be anything.

    Args:
        stages: Modules in the order in which they run.
        dims: Width of the stream after each stage.
    """

    kind: ClassVar[str] = "encoder"
    name: ClassVar[str] = ""
    sized: ClassVar[bool] = True
    """Whether the width of its stream can be chosen, by ``dim``, and its dropout."""

    def __init__(self, stages: Sequence[nn.Module], dims: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.dims = tuple(dims)
        self.frozen = False

    def shorten(self, stages: int) -> Self:
        """Drop all but its first stages, as before a merge that stands behind them.

        Raises:
            OptionError: it does not have so many.
        """
        if not 1 <= stages <= len(self.stages):
            raise OptionError(f"stages must be from 1 to {len(self.stages)}, got {stages}.")
        del self.stages[stages:]
        self.dims = self.dims[:stages]
        return self

    def extend(self, stage: nn.Module, dim: int) -> Self:
        """Add a stage of width ``dim`` behind its last."""
        self.stages.append(stage)
        self.dims = (*self.dims, dim)
        return self

    def freeze(self) -> None:
        """Train it no more: it has no gradient and stays in evaluation mode, so that its output is fixed."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Enter training mode, unless it is frozen."""
        return super().train(mode and not self.frozen)

    def run_stage(self, index: int, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Value and mask after stage ``index``, zero under False."""
        value, mask = self.stages[index](value, mask)
        return (value, None) if mask is None else (zero_masked(value, mask), mask)

    def rebuild_options(self) -> dict[str, Any]:
        """Options to add to its own, so that it is built again without loading weights, for a state dict."""
        return {}

    def forward(self, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Stream ``[B, D]`` or ``[B, N, D]`` and its mask, after all stages."""
        for index in range(len(self.stages)):
            value, mask = self.run_stage(index, value, mask)
        return value, mask
