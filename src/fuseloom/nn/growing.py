"""Layers one behind the other, of which the first few run: a stack that is trained while it grows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError

__all__ = ["GrowingStack"]


class GrowingStack(nn.Module):
    """Runs the first of its layers, at the beginning one; `grow` adds the next.

    How many run is part of its state, so a checkpoint holds it. The others have no gradient meanwhile; an
    optimiser that decays weights without one would change them.

    Args:
        layers: Each is called with what the one before gave, and with what the stack is given besides.

    Raises:
        OptionError: no layer.

    Example:
        >>> stack = GrowingStack([nn.Flatten(), nn.Linear(4, 2)])
        >>> before = stack(torch.ones(3, 2, 2)).shape
        >>> stack.grow()
        >>> before, stack(torch.ones(3, 2, 2)).shape
        (torch.Size([3, 4]), torch.Size([3, 2]))
    """

    grown: Tensor

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        if not layers:
            raise OptionError("layers must be one or more, got none.")
        self.layers = nn.ModuleList(layers)
        # Its length tells how many run: a number in it would have to be read back in each forward.
        self.register_buffer("grown", torch.zeros(1, dtype=torch.bool))

    @property
    def depth(self) -> int:
        """How many layers run."""
        return len(self.grown)

    def grow(self) -> None:
        """Run one layer more from now on.

        Raises:
            OptionError: all run.
        """
        if self.depth == len(self.layers):
            raise OptionError(
                f"depth must be below {len(self.layers)}, the number of layers, to grow, got it."
            )
        self.grown = self.grown.new_zeros(self.depth + 1)

    def forward(self, value: Any, *args: Any, **options: Any) -> Any:
        """What the last layer that runs gives."""
        for layer in self.layers[: self.depth]:
            value = layer(value, *args, **options)
        return value

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Grow, or shrink, to what the checkpoint was."""
        saved = state_dict.get(f"{prefix}grown")
        if saved is not None and saved.dim() == 1 and 1 <= len(saved) <= len(self.layers):
            self.grown = self.grown.new_zeros(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)
