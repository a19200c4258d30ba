"""GeminiFusion for segmentation: transformers whose streams attend to each other pixel by pixel."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.exchange.pixel_attention import (
    PixelAttention,
    convert_pixel_attention,
    official_pixel_attention,
)
from fuseloom.heads.segformer import SegformerHead
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.mit import OTHERS, MitSize, MitStreams
from fuseloom.models.dense.mit_names import HEAD_RULES, MIT_RULES
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.placed import Place, Placed
from fuseloom.models.dense.renaming import Rule, renamed
from fuseloom.models.dense.swin import SwinSize, SwinStreams
from fuseloom.models.dense.swin_names import RELATIVE_INDEX, SWIN_RULES, with_relative_index

__all__ = [
    "convert_geminifusion_deliver",
    "convert_geminifusion_mit",
    "convert_geminifusion_swin",
    "geminifusion_mit",
    "geminifusion_swin",
    "official_geminifusion_deliver",
    "official_geminifusion_mit",
    "official_geminifusion_swin",
]

_FUSION = r"((?:cross_attn_|relation_judger|k_noise|v_noise).+)"


def geminifusion_mit(  # noqa: PLR0913  one option per choice
    channels: Mapping[str, int],
    num_labels: int,
    *,
    size: str | MitSize = "b3",
    num_heads: int = 8,
    last: int | None = None,
    collapse: bool = False,
    head_dim: int = 256,
    weighting: Weighting = "learned",
    noise: float | None = 1.0,
    relation: bool = True,
    drop_path: float = 0.1,
    dropout: float = 0.1,
    shared_norms: bool = False,
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
        collapse: Make one stream of all modalities but the first, as the published runs on DeLiVER do (with
            four; their head is 512 wide); by default each position attends to all of them.
        head_dim: Width of the head.
        weighting: Of the ensemble.
        noise: As of `PixelAttention`.
        relation: As of `PixelAttention`.
        drop_path: Of the last block.
        dropout: Of the head.
        shared_norms: As of the backbone.
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
    placed = [Placed(build=build, at=_MIT.place, last=last)] if len(channels) > 1 else []
    encoder = MitStreams(
        channels,
        size,
        placed,
        collapse=collapse,
        drop_path=drop_path,
        shared_norms=shared_norms,
        checkpointing=checkpointing,
    )
    head = SegformerHead(
        encoder.dims, num_labels, dim=head_dim, dropout=dropout, fixed_statistics=fixed_statistics
    )
    return DenseModel(encoder, head, Ensemble(encoder.names, weighting=weighting))


def geminifusion_swin(  # noqa: PLR0913  one option per choice
    channels: Mapping[str, int],
    num_labels: int,
    *,
    size: str | SwinSize = "tiny",
    num_heads: int = 8,
    last: int | None = None,
    head_dim: int = 256,
    weighting: Weighting = "learned",
    noise: float | None = 1.0,
    relation: bool = True,
    drop_path: float = 0.2,
    dropout: float = 0.1,
    shared_norms: bool = False,
    fixed_statistics: bool = False,
    checkpointing: bool = False,
    faithful: bool = False,
) -> DenseModel:
    """GeminiFusion on a Swin Transformer: `PixelAttention` of the update that attention makes in a block.

    Arguments are those of `geminifusion_mit`.

    Example:
        >>> import torch
        >>> tiny = SwinSize(dim=8, depths=(1, 1), num_heads=(1, 2), window=4)
        >>> model = geminifusion_swin({"rgb": 3, "depth": 1}, 5, size=tiny, head_dim=8)
        >>> model({"rgb": torch.zeros(2, 3, 32, 48), "depth": torch.zeros(2, 1, 32, 48)}).shape
        torch.Size([2, 3, 5, 8, 12])
    """
    build = partial(PixelAttention, num_heads=num_heads, noise=noise, relation=relation, faithful=faithful)
    placed = [Placed(build=build, at=_SWIN.place, last=last)] if len(channels) > 1 else []
    encoder = SwinStreams(
        channels,
        size,
        placed,
        drop_path=drop_path,
        shared_norms=shared_norms,
        checkpointing=checkpointing,
    )
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
    return _MIT.to_ours(official, names)


def official_geminifusion_mit(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official model from that of a faithful `geminifusion_mit`: the inverse.

    Args:
        state: Our name -> weight.
        names: The two modalities, in the order of the official numbers.

    Raises:
        OptionError: other than two modalities, or a name that our model does not have.
    """
    return _MIT.to_official(state, names)


def convert_geminifusion_swin(official: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of a faithful `geminifusion_swin` of two modalities, from an official checkpoint.

    Arguments and errors are those of `convert_geminifusion_mit`.
    """
    kept = {key: value for key, value in official.items() if not key.endswith(RELATIVE_INDEX)}
    return _SWIN.to_ours(kept, names)


def official_geminifusion_swin(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official model from that of a faithful `geminifusion_swin`: the inverse.

    Arguments and errors are those of `official_geminifusion_mit`.
    """
    return with_relative_index(_SWIN.to_official(state, names))


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where a published model has its weights, and ours."""

    name: str
    rules: tuple[Rule, ...]
    place: Place
    fusion: str
    """Official prefix of the fusion of a block, as a template."""
    first: int
    """The official number of the first stage."""

    def to_ours(self, official: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """State dict of ours."""
        _check_two(names)
        number = {"stage": r"(\d+)", "block": r"(\d+)"}
        theirs = re.escape(self.fusion).replace(r"\{", "{").replace(r"\}", "}").format(**number)
        fusions, others = _apart(official, rf"(?:module\.)?{theirs}{_FUSION}")
        state = renamed(others, self.rules, names, to="ours", model=f"a {self.name}")
        for (stage, block), fusion in fusions.items():
            prefix = f"encoder.exchanges.{stage - self.first}_{block}_{self.place}."
            ours = convert_pixel_attention(fusion, dict.fromkeys(names, 0))
            state |= {prefix + name: value for name, value in ours.items()}
        return state

    def to_official(self, state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """State dict of theirs."""
        _check_two(names)
        fusions, others = _apart(state, rf"encoder\.exchanges\.(\d+)_(\d+)_{self.place}\.(.+)")
        official = renamed(others, self.rules, names, to="official", model=f"our {self.name}")
        for (stage, block), fusion in fusions.items():
            prefix = self.fusion.format(stage=stage + self.first, block=block)
            theirs = official_pixel_attention(fusion, dict.fromkeys(names, 0))
            official |= {prefix + name: value for name, value in theirs.items()}
        return official


def _apart(
    state: Mapping[str, Tensor], pattern: str
) -> tuple[dict[tuple[int, int], dict[str, Tensor]], dict[str, Tensor]]:
    """Weights of each fusion by stage and block, and all others."""
    fusions: dict[tuple[int, int], dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for key, value in state.items():
        if found := re.fullmatch(pattern, key):
            fusions.setdefault((int(found[1]), int(found[2])), {})[found[3]] = value
        else:
            others[key] = value
    return fusions, others


_MIT = _Layout(
    name="GeminiFusion MiT",
    rules=(*MIT_RULES, *HEAD_RULES),
    place="before_projection",
    fusion="encoder.block{stage}.{block}.attn.",
    first=1,
)
_SWIN = _Layout(
    name="GeminiFusion Swin",
    rules=(*SWIN_RULES, *HEAD_RULES),
    place="after_attention",
    fusion="encoder.body.layers.{stage}.blocks.{block}.",
    first=0,
)


def convert_geminifusion_deliver(official: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of a faithful `geminifusion_mit` from an official checkpoint of the DeLiVER branch.

    Args:
        official: Official name -> weight.
        names: Two modalities, or more: then of a model with ``collapse``.

    Raises:
        OptionError: one modality, or a name that the official model does not have.
    """
    streams = _deliver_streams(names)
    state = {_replaced(key, _DELIVER_PREFIXES): value for key, value in official.items()}
    unused = f".score_nets.{len(names) - 1}."
    scores = {key: value for key, value in state.items() if ".score_nets." in key}
    embeds = {key: value for key, value in state.items() if ".patch_embed" in key}
    rest = {key: value for key, value in state.items() if key not in scores and key not in embeds}
    used = {key: value for key, value in scores.items() if unused not in key}
    found = _MIT.to_ours(rest, streams)
    found |= renamed(embeds, MIT_RULES, names, to="ours", model=_DELIVER)
    return found | renamed(used, _SCORE_RULES, names[1:], to="ours", model=_DELIVER)


def official_geminifusion_deliver(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official model of the DeLiVER branch: the inverse.

    The last of its predictors of scores, which nothing reads, is zero.

    Args:
        state: Our name -> weight.
        names: Of the modalities.

    Raises:
        OptionError: one modality, or a name that our model does not have.
    """
    streams = _deliver_streams(names)
    scores = {key: value for key, value in state.items() if ".collapse." in key}
    embeds = {key: value for key, value in state.items() if ".embed" in key}
    rest = {key: value for key, value in state.items() if key not in scores and key not in embeds}
    found = _MIT.to_official(rest, streams)
    found |= renamed(embeds, MIT_RULES, names, to="official", model=_DELIVER)
    predictors = renamed(scores, _SCORE_RULES, names[1:], to="official", model=_DELIVER)
    first = {key: value for key, value in predictors.items() if ".score_nets.0." in key}
    last = f".score_nets.{len(names) - 1}."
    found |= predictors | {
        key.replace(".score_nets.0.", last): torch.zeros_like(value) for key, value in first.items()
    }
    back = {ours: theirs for theirs, ours in _DELIVER_PREFIXES.items()}
    return {_replaced(key, back): value for key, value in found.items()}


def _deliver_streams(names: Sequence[str]) -> tuple[str, str]:
    if len(names) < 2:
        raise OptionError(f"names must be two modalities at least, got {list(names)}.")
    return (names[0], names[1] if len(names) == 2 else OTHERS)


_DELIVER = "a GeminiFusion of the DeLiVER branch"
_DELIVER_PREFIXES = {"backbone.": "encoder.", "decode_head.": "decoder."}
_PREDICTOR = "encoder.extra_score_predictor.{k}.score_nets.{modality}."
_SCORE_RULES = (
    Rule(_PREDICTOR + "0.{what}", "encoder.collapse.{k}.around.{modality}.{what}"),
    Rule(_PREDICTOR + "1.{what}", "encoder.collapse.{k}.score.{modality}.{what}"),
)


def _replaced(key: str, prefixes: Mapping[str, str]) -> str:
    prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
    return prefixes.get(prefix, "") + key.removeprefix(prefix)


def _check_two(names: Sequence[str]) -> None:
    if len(set(names)) != 2:
        raise OptionError(f"names must be two modalities, as official models have, got {list(names)}.")
