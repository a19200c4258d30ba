"""A linear layer at each position, and the transitions between the tags of neighbours."""

from torch import Tensor, nn

from fuseloom.heads._base import PositionHead
from fuseloom.nn import Dropout
from fuseloom.nn.crf import LinearChainCrf
from fuseloom.nn.crf_packing import pack_chain
from fuseloom.types import Trace

__all__ = ["TaggingHead"]


class TaggingHead(PositionHead):
    """Dropout, one linear layer and a linear-chain CRF.

    Args:
        dim: Width of the fused value.
        num_tags: ``K``.
        dropout: Probability of dropping a feature of the fused value.

    Shapes: ``[B, N, dim]`` and mask ``[B, N]`` to packed chains ``[B, K + 2 + N, K + 1]``, see
    `fuseloom.nn.crf_packing.pack_chain`.
    """

    def __init__(self, dim: int, num_tags: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(dim, num_tags)
        self.crf = LinearChainCrf(num_tags)

    def forward(self, fused: Tensor, mask: Tensor | None = None, *, trace: Trace | None = None) -> Tensor:
        """Packed chains of fused values and their mask."""
        return pack_chain(self.crf.chain(), self.linear(self.dropout(fused)), mask)
