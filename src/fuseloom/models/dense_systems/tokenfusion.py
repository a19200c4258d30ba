"""TokenFusion by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from fuseloom.models.dense.ensemble import Weighting
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.sizes import mit_size
from fuseloom.models.dense.stream_encoder import norm_owners
from fuseloom.models.dense.tokenfusion import tokenfusion_mit
from fuseloom.models.dense_systems._base import DenseSystem
from fuseloom.registry import Card, register

__all__ = ["TokenFusionSystem"]


@register("tokenfusion")
@dataclass(frozen=True, kw_only=True)
class TokenFusionSystem(DenseSystem):
    """TokenFusion whole, see `tokenfusion_mit`, whose arguments its options are.

    Paper: Wang et al., 2022, arXiv:2204.08721.

    Raises:
        OptionError: an option that is out of its range.
    """

    card = Card(
        summary="Streams of one transformer, whose tokens of low score give way to those of the others.",
        interaction="nonlinear",
        cost="that of a backbone per modality, and of a score per token",
        parameters="norms and predictors of scores per modality",
        arity=(1, None),
        paper="Wang et al., 2022, CVPR",
    )

    size: str | Mapping[str, Any] = "b3"
    """Of the backbone: a name, or its numbers."""
    threshold: float = 0.02
    """Score below which a token gives way."""
    sparsity_weight: float = 0.03
    """Coefficient of the loss on scores."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of that loss, in each block."""
    last: int | None = None
    """Exchange in so many blocks at the end only; in all of them by default."""
    head_dim: int = 256
    weighting: Weighting = "learned"
    drop_path: float = 0.1
    shared_norms: bool = False
    """Have one norm for all modalities at each place of the backbone, instead of one per modality."""
    fixed_statistics: bool = False
    """Whether the head's norm keeps its statistics while it trains, as in the published runs."""
    checkpointing: bool = False
    """Whether blocks are evaluated again in the backward pass, for memory."""

    def build(self, channels: Mapping[str, int], num_labels: int, *, dropout: float) -> DenseModel:
        return tokenfusion_mit(
            channels,
            num_labels,
            size=mit_size(self.size),
            threshold=self.threshold,
            sparsity_weight=self.sparsity_weight,
            reduction=self.reduction,
            last=self.last,
            head_dim=self.head_dim,
            weighting=self.weighting,
            drop_path=self.drop_path,
            shared_norms=self.shared_norms,
            checkpointing=self.checkpointing,
            fixed_statistics=self.fixed_statistics,
            dropout=dropout,
        )

    def expand_backbone(self, weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        return expand_mit(weights, norm_owners(names, shared=self.shared_norms))
