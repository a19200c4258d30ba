"""CEN by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from fuseloom.errors import OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.models.dense.cen import RESNET_DEPTHS, cen_refinenet
from fuseloom.models.dense.ensemble import Weighting
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense_systems._base import DenseSystem
from fuseloom.registry import Card, register

__all__ = ["CenSystem"]


@register("cen")
@dataclass(frozen=True, kw_only=True)
class CenSystem(DenseSystem):
    """CEN whole, see `cen_refinenet`, whose arguments its options are.

    Paper: Wang et al., 2020, arXiv:2011.05005.

    Raises:
        OptionError: layers of no known network, or an option that is out of its range.
    """

    card = Card(
        summary="Streams of one ResNet, whose channels of small scale give way to those of the others.",
        interaction="nonlinear",
        cost="that of a backbone per modality",
        parameters="norms per modality",
        arity=(1, None),
        paper="Wang et al., 2020, NeurIPS",
    )

    layers: int = 101
    """Of the ResNet: 50, 101 or 152."""
    depths: Sequence[int] = ()
    """Blocks of each stage, where the network is none of these."""
    dim: int = 64
    """Width of the stem."""
    threshold: float = 0.02
    """Scale below which a channel gives way."""
    sparsity_weight: float = 2e-4
    """Coefficient of the loss on scales."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of that loss, in each block; the published one is a sum."""
    exchange: bool = True
    faithful: bool = False
    """Let any channel of small scale give way, as the official code does."""
    head_dim: int = 256
    weighting: Weighting = "learned"
    fixed_statistics: bool = False
    """Whether norms keep their statistics while they train."""
    shared_norms: bool = False
    """Have one norm for all modalities at each place, instead of one per modality; without exchange only."""

    def build(self, channels: Mapping[str, int], num_labels: int, *, dropout: float) -> DenseModel:
        if not self.depths and self.layers not in RESNET_DEPTHS:
            raise OptionError(f"layers must be one of {list(RESNET_DEPTHS)}, got {self.layers}.")
        exchange = partial(
            ChannelExchange,
            threshold=self.threshold,
            sparsity_weight=self.sparsity_weight,
            reduction=self.reduction,
            faithful=self.faithful,
        )
        return cen_refinenet(
            channels,
            num_labels,
            depths=tuple(self.depths) or RESNET_DEPTHS[self.layers],
            dim=self.dim,
            head_dim=self.head_dim,
            exchange=exchange if self.exchange and len(channels) > 1 else None,
            weighting=self.weighting,
            fixed_statistics=self.fixed_statistics,
            shared_norms=self.shared_norms,
            dropout=dropout,
        )
