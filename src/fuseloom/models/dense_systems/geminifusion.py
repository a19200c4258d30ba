"""GeminiFusion by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.models.dense.ensemble import Weighting
from fuseloom.models.dense.geminifusion import geminifusion_mit, geminifusion_swin
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.sizes import mit_size
from fuseloom.models.dense.stream_encoder import norm_owners
from fuseloom.models.dense.swin import SwinSize
from fuseloom.models.dense.swin_names import expand_swin
from fuseloom.models.dense_systems._base import DenseSystem
from fuseloom.registry import Card, register

__all__ = ["GeminiFusionSystem"]


Backbone = Literal["mit", "swin"]


@register("geminifusion")
@dataclass(frozen=True, kw_only=True)
class GeminiFusionSystem(DenseSystem):
    """GeminiFusion whole, see `geminifusion_mit` and `geminifusion_swin`, whose arguments its options are.

    Paper: Jia et al., ICML 2024, arXiv:2406.01210.

    Raises:
        OptionError: another backbone, or an option that is out of its range.
    """

    card = Card(
        summary="Streams of one backbone attend to each other at each pixel, in its blocks.",
        interaction="nonlinear",
        cost="that of a backbone per modality, and of attention over the modalities at each pixel",
        parameters="norms per modality, pixel attention per block",
        arity=(1, None),
        paper="Jia et al., 2024, ICML",
    )

    backbone: Backbone = "mit"
    size: str | Mapping[str, Any] = "b3"
    """Of the backbone: a name, or its numbers."""
    num_heads: int = 8
    """Of pixel attention."""
    last: int | None = None
    """Pixel attention in so many blocks at the end only; in all of them by default."""
    noise: float | None = 1.0
    relation: bool = True
    collapse: bool = False
    """Make one stream of all modalities but the first, as published on DeLiVER; of ``mit`` only."""
    head_dim: int = 256
    weighting: Weighting = "learned"
    drop_path: float = 0.1
    shared_norms: bool = False
    """Have one norm for all modalities at each place of the backbone, instead of one per modality."""
    fixed_statistics: bool = False
    """Whether the head's norm keeps its statistics while it trains, as in the published runs."""
    faithful: bool = False
    """Have the bias of the keys, on which nothing depends, for official weights."""
    checkpointing: bool = False
    """Whether blocks are evaluated again in the backward pass, for memory."""

    def __post_init__(self) -> None:
        if self.backbone not in get_args(Backbone):
            raise OptionError(f"backbone must be one of {list(get_args(Backbone))}, got {self.backbone!r}.")

    def build(self, channels: Mapping[str, int], num_labels: int, *, dropout: float) -> DenseModel:
        shared: dict[str, Any] = {
            "num_heads": self.num_heads,
            "last": self.last,
            "noise": self.noise,
            "relation": self.relation,
            "head_dim": self.head_dim,
            "weighting": self.weighting,
            "drop_path": self.drop_path,
            "shared_norms": self.shared_norms,
            "checkpointing": self.checkpointing,
            "fixed_statistics": self.fixed_statistics,
            "faithful": self.faithful,
            "dropout": dropout,
        }
        if self.backbone == "mit":
            size = mit_size(self.size)
            return geminifusion_mit(channels, num_labels, size=size, collapse=self.collapse, **shared)
        if self.collapse:
            raise OptionError("collapse must be False for the backbone 'swin', got True. It is one of 'mit'.")
        size_of_swin = self.size if isinstance(self.size, str) else SwinSize(**self.size)
        return geminifusion_swin(channels, num_labels, size=size_of_swin, **shared)

    def expand_backbone(self, weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        expand = expand_mit if self.backbone == "mit" else expand_swin
        return expand(weights, norm_owners(names, shared=self.shared_norms))
