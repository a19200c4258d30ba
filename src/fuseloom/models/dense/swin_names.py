"""Names of the weights of Swin Transformers: of two streams, as GeminiFusion has them, and of one."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fuseloom.models.dense.renaming import Rule, renamed
from fuseloom.models.dense.swin import relative_offsets

__all__ = ["RELATIVE_INDEX", "SWIN_RULES", "expand_swin", "with_relative_index"]

RELATIVE_INDEX = "relative_position_index"
"""A buffer of official attention that follows from the side of its windows; ours is not stored."""
_TABLE = "relative_position_bias_table"

_BLOCK = "encoder.body.layers.{k}.blocks.{i}.", "encoder.stages.{k}.{i}."


def _of_block(official: str, ours: str) -> Rule:
    return Rule(_BLOCK[0] + official, _BLOCK[1] + ours)


SWIN_RULES = (
    Rule("encoder.body.patch_embed.proj.module.{what}", "encoder.embed.{what}"),
    Rule("encoder.body.patch_embed.norm.ln_{modality}.{what}", "encoder.embed_norm.{modality}.{what}"),
    _of_block("norm{n}.module.{what}", "norm{n}.{what}"),
    _of_block("attn.module.qkv.{what}", "qkv.{what}"),
    _of_block("attn.module.proj.{what}", "project.{what}"),
    _of_block(f"attn.module.{_TABLE}", "bias"),
    _of_block("mlp.fc1.module.{what}", "up.{what}"),
    _of_block("mlp.fc2.module.{what}", "down.{what}"),
    Rule("encoder.body.layers.{k}.downsample.module.norm.{what}", "encoder.merge.{k}.norm.{what}"),
    Rule("encoder.body.layers.{k}.downsample.module.reduction.{what}", "encoder.merge.{k}.reduce.{what}"),
    Rule("encoder.body.norm{k}.ln_{modality}.{what}", "encoder.norms.{k}.{modality}.{what}"),
)
"""Of the encoder, without what stands between the streams."""


def with_relative_index(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official names with the buffers that official attention stores beside its bias."""
    found = dict(official)
    for key, value in official.items():
        if key.endswith(_TABLE):
            side = (math.isqrt(len(value)) + 1) // 2
            found[key.removesuffix(_TABLE) + RELATIVE_INDEX] = relative_offsets(side)
    return found


def expand_swin(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Weights of an ordinary Swin Transformer for all streams of ours, the norms too.

    Args:
        weights: From an official file (``swin_tiny_patch4_window7_224.pth``, under its key ``model``), or one
            of a Swin of transformers (``model.safetensors``; its names on disk). Classifiers, and the norm in
            front of them, are left out.
        names: Of the modalities.

    Returns:
        ``encoder.*`` for ``model.load_state_dict(..., strict=False)``: what stands between the streams, and
        the norms of each output, which ordinary networks do not have, are not among them.

    Raises:
        OptionError: a name that no such model has.
    """
    kept = {
        key.removeprefix("swin."): value
        for key, value in weights.items()
        if not key.startswith(("head.", "norm.", "classifier.", "swin.layernorm.", "layernorm."))
        and not key.endswith((RELATIVE_INDEX, "attn_mask"))
    }
    joined: dict[str, Tensor] = {}
    for key, value in kept.items():
        if ".self.key." in key or ".self.value." in key:
            continue
        if ".self.query." in key:
            parts = [kept[key.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
            joined[key.replace(".query.", ".qkv.")] = torch.cat(parts)
        else:
            joined[key] = value
    found: dict[str, Tensor] = {}
    for name in names:
        found |= renamed(joined, _rules_of_one(name), (), to="ours", model="a Swin Transformer")
    return found


def _rules_of_one(name: str) -> list[Rule]:
    """From both layouts of an ordinary network to the weights that one of our streams runs through."""
    block, hub = "encoder.stages.{k}.{i}.", "encoder.layers.{k}.blocks.{i}."
    official = {
        "patch_embed.proj.{what}": "encoder.embed.{what}",
        "patch_embed.norm.{what}": f"encoder.embed_norm.{name}.{{what}}",
        "layers.{k}.blocks.{i}.norm{n}.{what}": f"{block}norm{{n}}.{{what}}",
        "layers.{k}.blocks.{i}.attn.qkv.{what}": f"{block}qkv.{{what}}",
        "layers.{k}.blocks.{i}.attn.proj.{what}": f"{block}project.{{what}}",
        f"layers.{{k}}.blocks.{{i}}.attn.{_TABLE}": f"{block}bias",
        "layers.{k}.blocks.{i}.mlp.fc1.{what}": f"{block}up.{{what}}",
        "layers.{k}.blocks.{i}.mlp.fc2.{what}": f"{block}down.{{what}}",
        "layers.{k}.downsample.norm.{what}": "encoder.merge.{k}.norm.{what}",
        "layers.{k}.downsample.reduction.{what}": "encoder.merge.{k}.reduce.{what}",
    }
    of_hub = {
        "embeddings.patch_embeddings.projection.{what}": "encoder.embed.{what}",
        "embeddings.norm.{what}": f"encoder.embed_norm.{name}.{{what}}",
        f"{hub}layernorm_before.{{what}}": f"{block}norm1.{{what}}",
        f"{hub}layernorm_after.{{what}}": f"{block}norm2.{{what}}",
        f"{hub}attention.self.qkv.{{what}}": f"{block}qkv.{{what}}",
        f"{hub}attention.output.dense.{{what}}": f"{block}project.{{what}}",
        f"{hub}attention.self.{_TABLE}": f"{block}bias",
        f"{hub}intermediate.dense.{{what}}": f"{block}up.{{what}}",
        f"{hub}output.dense.{{what}}": f"{block}down.{{what}}",
        "encoder.layers.{k}.downsample.norm.{what}": "encoder.merge.{k}.norm.{what}",
        "encoder.layers.{k}.downsample.reduction.{what}": "encoder.merge.{k}.reduce.{what}",
    }
    return [Rule(*pair) for pair in (official | of_hub).items()]
