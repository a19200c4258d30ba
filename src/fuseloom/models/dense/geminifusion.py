"""GeminiFusion for segmentation: a Mix Transformer whose streams attend to each other pixel by pixel."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.exchange.pixel_attention import (
    PixelAttention,
    convert_pixel_attention,
    official_pixel_attention,
)
from fuseloom.heads.segformer import SegformerHead
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.mit import MitSize, MitStreams, Place, Placed
from fuseloom.models.dense.mit_names import HEAD_RULES, MIT_RULES
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.renaming import renamed

__all__ = ["convert_geminifusion_mit", "geminifusion_mit", "official_geminifusion_mit"]

_PLACE: Place = "before_projection"
_OFFICIAL = re.compile(
    r"(?:module\.)?encoder\.block(\d+)\.(\d+)\.attn\.((?:cross_attn_|relation_judger|k_noise|v_noise).+)"
)
_OURS = re.compile(rf"encoder\.exchanges\.(\d+)_(\d+)_{_PLACE}\.(.+)")


def geminifusion_mit(  # noqa: PLR0913  one option per choice
    channels: Mapping[str, int],
    num_labels: int,
    *,
    size: str | MitSize = "b3",
    num_heads: int = 8,
    last: int | None = None,
    head_dim: int = 256,
    weighting: Weighting = "learned",
    noise: float | None = 1.0,
    relation: bool = True,
    drop_path: float = 0.1,
    dropout: float = 0.1,
    fixed_statistics: bool = False,
    checkpointing: bool = False,
    faithful: bool = False,
) -> DenseModel:
    """GeminiFusion: `PixelAttention` in the blocks of a Mix Transformer, and the head of SegFormer.

    Paper: Jia et al., ICML 2024, arXiv:2406.01210. The published runs on NYUDv2 and SUN RGB-D do not train
    the weights of the ensemble (``weighting="frozen"``), nor the statistics of the head's norm
    (``fixed_statistics``). One modality alone makes a SegFormer.

    Args:
        channels: Modality name -> channels of its map; any number of modalities.
        num_labels: ``K``.
        size: Of the backbone.
        num_heads: Of pixel attention.
        last: Pixel attention in so many blocks at the end only; in all of them by default. The paper finds
            most of its gain with the last four of B3 (published: 56.1 mIoU of 56.8, 53.3 without).
        head_dim: Width of the head.
        weighting: Of the ensemble.
        noise: As of `PixelAttention`.
        relation: As of `PixelAttention`.
        drop_path: Of the last block.
        dropout: Of the head.
        fixed_statistics: Of the head's norm.
        checkpointing: Whether blocks are evaluated again in the backward pass, for memory.
        faithful: Have the bias of the keys, on which nothing depends, for official weights.

    Example:
        >>> import torch
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 2), reductions=(2, 1))
        >>> model = geminifusion_mit({"rgb": 3, "depth": 1}, 5, size=tiny, head_dim=8)
        >>> model({"rgb": torch.zeros(2, 3, 32, 48), "depth": torch.zeros(2, 1, 32, 48)}).shape
        torch.Size([2, 3, 5, 8, 12])
    """
    build = partial(PixelAttention, num_heads=num_heads, noise=noise, relation=relation, faithful=faithful)
    placed = [Placed(build=build, at=_PLACE, last=last)] if len(channels) > 1 else []
    encoder = MitStreams(channels, size, placed, drop_path=drop_path, checkpointing=checkpointing)
    head = SegformerHead(
        encoder.dims, num_labels, dim=head_dim, dropout=dropout, fixed_statistics=fixed_statistics
    )
    return DenseModel(encoder, head, Ensemble([*encoder.channels], weighting=weighting))


def convert_geminifusion_mit(official: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of a faithful `geminifusion_mit` of two modalities, from an official checkpoint.

    Args:
        official: Official name -> weight, also with the prefix of a model that ran on several devices.
        names: The two modalities, in the order of the official numbers.

    Raises:
        OptionError: other than two modalities, or a name that the official model does not have.
    """
    _check_two(names)
    fusions: dict[tuple[int, int], dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for key, value in official.items():
        if found := _OFFICIAL.fullmatch(key):
            fusions.setdefault((int(found[1]) - 1, int(found[2])), {})[found[3]] = value
        else:
            others[key] = value
    state = renamed(others, (*MIT_RULES, *HEAD_RULES), names, to="ours", model="a GeminiFusion MiT")
    for (stage, block), fusion in fusions.items():
        prefix = f"encoder.exchanges.{stage}_{block}_{_PLACE}."
        dims = dict.fromkeys(names, 0)
        state |= {prefix + name: value for name, value in convert_pixel_attention(fusion, dims).items()}
    return state


def official_geminifusion_mit(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official model from that of a faithful `geminifusion_mit`: the inverse.

    Args:
        state: Our name -> weight.
        names: The two modalities, in the order of the official numbers.

    Raises:
        OptionError: other than two modalities, or a name that our model does not have.
    """
    _check_two(names)
    fusions: dict[tuple[int, int], dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for key, value in state.items():
        if found := _OURS.fullmatch(key):
            fusions.setdefault((int(found[1]), int(found[2])), {})[found[3]] = value
        else:
            others[key] = value
    official = renamed(others, (*MIT_RULES, *HEAD_RULES), names, to="official", model="geminifusion_mit")
    for (stage, block), fusion in fusions.items():
        prefix = f"encoder.block{stage + 1}.{block}.attn."
        dims = dict.fromkeys(names, 0)
        official |= {prefix + name: value for name, value in official_pixel_attention(fusion, dims).items()}
    return official


def _check_two(names: Sequence[str]) -> None:
    if len(set(names)) != 2:
        raise OptionError(f"names must be two modalities, as official models have, got {list(names)}.")
