"""SegFormer of many streams by name, with any exchange in its blocks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.heads.segformer import SegformerHead
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.joined import JoinedDecoder
from fuseloom.models.dense.mit import MitStreams
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.placed import Place, Placed
from fuseloom.models.dense.sizes import mit_size
from fuseloom.models.dense.stream_encoder import norm_owners
from fuseloom.models.dense_systems._base import DenseSystem
from fuseloom.registry import Card, create, register

__all__ = ["SegformerSystem"]


@register("segformer")
@dataclass(frozen=True, kw_only=True)
class SegformerSystem(DenseSystem):
    """Mix Transformers of shared weights, any exchange of the library in their blocks, and SegFormer's head.

    Without an exchange, streams meet in the mean of their predictions, or of ``merge: concat`` in one head
    that reads all of them: the plain rivals of the published systems, at the same backbone and budget.

    Paper: Xie et al., 2021, arXiv:2105.15203.

    Raises:
        OptionError: another merge, an exchange that there is none of, or an option that is out of its range.
    """

    card = Card(
        summary="Streams of one transformer, with any exchange or none, and their mean or one head for all.",
        interaction="nonlinear",
        cost="that of a backbone per modality, and of the exchange",
        parameters="norms per modality, and those of the exchange",
        arity=(1, None),
        paper="Xie et al., 2021, NeurIPS",
        differs="Of one modality; of several, the assembly is ours.",
    )

    size: str | Mapping[str, Any] = "b3"
    """Of the backbone: a name, or its numbers."""
    exchange: str = ""
    """Name of an exchange; none by default."""
    exchange_options: Mapping[str, Any] = field(default_factory=dict)
    at: Place = "after_attention"
    """Where in a block it stands."""
    last: int | None = None
    """Exchange in so many blocks at the end only; in all of them by default."""
    stage_ends: bool = False
    """Exchange only in the last block of each stage."""
    merge: Literal["mean", "concat"] = "mean"
    """Of the predictions of streams; or one head for all of them."""
    head_dim: int = 256
    weighting: Weighting = "learned"
    drop_path: float = 0.1
    shared_norms: bool = False
    """Have one norm for all modalities at each place of the backbone, instead of one per modality."""
    checkpointing: bool = False
    """Whether blocks are evaluated again in the backward pass, for memory."""

    def build(self, channels: Mapping[str, int], num_labels: int, *, dropout: float) -> DenseModel:
        if self.merge not in ("mean", "concat"):
            raise OptionError(f"merge must be 'mean' or 'concat', got {self.merge!r}.")
        placed = self._placed() if len(channels) > 1 and self.exchange else ()
        encoder = MitStreams(
            channels,
            mit_size(self.size),
            placed,
            drop_path=self.drop_path,
            shared_norms=self.shared_norms,
            checkpointing=self.checkpointing,
        )
        if self.merge == "concat" and len(channels) > 1:
            head = JoinedDecoder(encoder.names, encoder.dims, num_labels, dim=self.head_dim, dropout=dropout)
            return DenseModel(encoder, head, Ensemble(head.outputs, weighting="mean"))
        alone = SegformerHead(encoder.dims, num_labels, dim=self.head_dim, dropout=dropout)
        return DenseModel(encoder, alone, Ensemble(encoder.names, weighting=self.weighting))

    def _placed(self) -> Sequence[Placed]:
        build = partial(create, self.exchange, **self.exchange_options)
        return [Placed(build=build, at=self.at, last=self.last, stage_ends=self.stage_ends)]

    def expand_backbone(self, weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        return expand_mit(weights, norm_owners(names, shared=self.shared_norms))
