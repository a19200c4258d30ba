"""One linear layer, the same after every merge, so that a comparison compares merges."""

from torch import Tensor, nn

from fuseloom.nn import Dropout

__all__ = ["LinearHead"]


class LinearHead(nn.Module):
    """Dropout and one linear layer.

    Args:
        dim: Width of the fused value.
        num_outputs: ``K``: classes, or numbers to predict.
        dropout: Probability of dropping a feature of the fused value.

    Shapes: ``[B, dim]`` to ``[B, num_outputs]``.
    """

    def __init__(self, dim: int, num_outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(dim, num_outputs)

    def forward(self, fused: Tensor) -> Tensor:
        """Outputs ``[B, K]`` of fused values ``[B, dim]``."""
        outputs: Tensor = self.linear(self.dropout(fused))
        return outputs
