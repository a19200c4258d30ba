"""CEN for segmentation: a ResNet whose bottlenecks exchange channels, and RefineNet; and its checkpoints."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from fuseloom.exchange.channel_exchange import ChannelExchange, convert_channel_exchange
from fuseloom.heads.refinenet import RefineNetHead
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.renaming import Rule, renamed
from fuseloom.models.dense.resnet import ResNetStreams
from fuseloom.models.dense.stream_encoder import BuildExchange

__all__ = ["RESNET_DEPTHS", "cen_refinenet", "convert_cen_refinenet", "official_cen_refinenet"]

RESNET_DEPTHS: Mapping[int, tuple[int, int, int, int]] = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Layers of a ResNet -> blocks of each of its stages."""


def cen_refinenet(  # noqa: PLR0913  one option per choice
    channels: Mapping[str, int],
    num_labels: int,
    *,
    depths: Sequence[int] = RESNET_DEPTHS[101],
    dim: int = 64,
    head_dim: int = 256,
    exchange: BuildExchange | None = ChannelExchange,
    weighting: Weighting = "learned",
    fixed_statistics: bool = False,
    shared_norms: bool = False,
    dropout: float = 0.5,
) -> DenseModel:
    """CEN: streams through one ResNet with norms of their own, whose small channels give way, and RefineNet.

    Paper: Wang et al., 2020, arXiv:2011.05005. The published runs keep the norms' ImageNet statistics
    (``fixed_statistics``), exchange any channel of small scale (``partial(ChannelExchange, faithful=True)``),
    and train the weights of the ensemble.

    Args:
        channels: Modality name -> channels of its map.
        num_labels: ``K``.
        depths: Blocks of each stage, such as those of ``RESNET_DEPTHS``.
        dim: Width of the stem; 64 in the published networks.
        head_dim: Width of the decoder.
        exchange: Stands in every bottleneck; None leaves the streams apart.
        weighting: Of the ensemble.
        fixed_statistics: Whether norms keep their statistics while they train.
        shared_norms: One norm for all modalities at each place, instead of one per modality; without an
            exchange only, as channels give way by the scale that the norm of their modality has.
        dropout: Of the decoder.

    Raises:
        OptionError: shared norms beside channel exchange.

    Example:
        >>> import torch
        >>> model = cen_refinenet({"rgb": 3, "depth": 1}, 5, depths=(1, 1, 1, 1), dim=4, head_dim=8)
        >>> model({"rgb": torch.zeros(2, 3, 64, 96), "depth": torch.zeros(2, 1, 64, 96)}).shape
        torch.Size([2, 3, 5, 16, 24])
    """
    encoder = ResNetStreams(
        channels,
        depths=depths,
        dim=dim,
        exchange=exchange,
        fixed_statistics=fixed_statistics,
        shared_norms=shared_norms,
    )
    head = RefineNetHead(encoder.dims, num_labels, dim=head_dim, dropout=dropout)
    return DenseModel(encoder, head, Ensemble([*encoder.channels], weighting=weighting))


def convert_cen_refinenet(official: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of `cen_refinenet`, with ``ChannelExchange(faithful=True)``, from an official checkpoint.

    Args:
        official: Official name -> weight, also with the prefix of a model that ran on several devices.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that the official model does not have.
    """
    found = renamed(official, _RULES, names, to="ours", model="a CEN RefineNet")
    for key, value in list(found.items()):
        if key.endswith("conv2.weight"):
            place = key.removesuffix("conv2.weight") + "exchange."
            buffers = convert_channel_exchange({}, dict.fromkeys(names, len(value)))
            found |= {place + name: buffer for name, buffer in buffers.items()}
    return found


def official_cen_refinenet(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official model from that of `cen_refinenet`: the inverse of the conversion.

    Args:
        state: Our name -> weight; which channels are whose is left out, as the official code states it.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that our model does not have.
    """
    kept = {key: value for key, value in state.items() if not _OF_CHANNELS.fullmatch(key)}
    return renamed(kept, _RULES, names, to="official", model="cen_refinenet with channel exchange")


_OF_CHANNELS = re.compile(r"encoder\.layers\.\d+\.\d+\.exchange\.(own|open)\..+")
_BLOCK = "layer{k}.{block}.", "encoder.layers.{k}.{block}."
_of_stage = partial(Rule, first={"k": 1})
_of_unit = partial(Rule, first={"k": 1, "i": 1})


def _units(official: str, ours: str) -> list[Rule]:
    """Both convolutions of residual units."""
    return [
        _of_unit(f"{official}.0.{{i}}_conv.module.{{what}}", f"{ours}.inner.{{i}}.{{what}}"),
        _of_unit(f"{official}.0.{{i}}_conv_relu_varout_dimred.module.weight", f"{ours}.outer.{{i}}.weight"),
    ]


def _of_block(official: str, ours: str) -> Rule:
    return _of_stage(_BLOCK[0] + official, _BLOCK[1] + ours)


_RULES = (
    Rule("alpha", "ensemble.alpha"),
    Rule("conv1.module.weight", "encoder.stem.weight"),
    Rule("bn1.bn_{modality}.{what}", "encoder.stem_norm.{modality}.{what}"),
    _of_block("conv{c}.module.weight", "conv{c}.weight"),
    _of_block("bn1.bn_{modality}.{what}", "norm1.{modality}.{what}"),
    _of_block("bn2.bn_{modality}.{what}", "exchange.norm.{modality}.{what}"),
    _of_block("bn3.bn_{modality}.{what}", "norm3.{modality}.{what}"),
    _of_block("downsample.0.module.weight", "skip.weight"),
    _of_block("downsample.1.bn_{modality}.{what}", "skip_norm.{modality}.{what}"),
    _of_stage("p_ims1d2_outl{k}_dimred.module.weight", "head.reduce.{k}.weight"),
    *_units("adapt_stage{k}_b", "head.adapt.{k}"),
    Rule("adapt_stage{k}_b2_joint_varout_dimred.module.weight", "head.join.{k}.weight", {"k": 2}),
    _of_unit("mflow_conv_g{k}_pool.0.{i}_outvar_dimred.module.weight", "head.pool.{k}.convs.{i}.weight"),
    *_units("mflow_conv_g{k}_b", "head.refine.{k}"),
    _of_stage("mflow_conv_g{k}_b3_joint_varout_dimred.module.weight", "head.hand_on.{k}.weight"),
    Rule("clf_conv.module.{what}", "head.classify.{what}"),
)
