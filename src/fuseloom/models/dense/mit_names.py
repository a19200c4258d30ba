"""Names of the weights of Mix Transformers: of two streams, as several projects have them, and of one."""

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from fuseloom.models.dense.renaming import Rule, renamed

__all__ = ["HEAD_RULES", "MIT_RULES", "expand_mit"]

_of_stage = partial(Rule, first={"k": 1})
_BLOCK = "encoder.block{k}.{i}.", "encoder.stages.{k}.{i}."


def _of_block(official: str, ours: str) -> Rule:
    return _of_stage(_BLOCK[0] + official, _BLOCK[1] + ours)


MIT_RULES = (
    _of_stage("encoder.patch_embed{k}.proj.module.{what}", "encoder.embed.{k}.{what}"),
    _of_stage(
        "encoder.patch_embed{k}.norm.ln_{modality}.{what}", "encoder.embed_norms.{k}.{modality}.{what}"
    ),
    _of_block("norm{n}.ln_{modality}.{what}", "norm{n}.{modality}.{what}"),
    _of_block("attn.q.module.{what}", "query.{what}"),
    _of_block("attn.kv.module.{what}", "key_value.{what}"),
    _of_block("attn.proj.module.{what}", "project.{what}"),
    _of_block("attn.sr.module.{what}", "reduce.{what}"),
    _of_block("attn.norm.ln_{modality}.{what}", "reduce_norm.{modality}.{what}"),
    _of_block("mlp.fc1.module.{what}", "up.{what}"),
    _of_block("mlp.fc2.module.{what}", "down.{what}"),
    _of_block("mlp.dwconv.dwconv.{what}", "around.{what}"),
    _of_stage("encoder.norm{k}.ln_{modality}.{what}", "encoder.norms.{k}.{modality}.{what}"),
)
"""Of the encoder, without what stands between the streams."""

HEAD_RULES = (
    Rule("alpha", "ensemble.alpha"),
    _of_stage("decoder.linear_c{k}.proj.{what}", "head.project.{k}.{what}"),
    Rule("decoder.linear_fuse.conv.weight", "head.join.weight"),
    Rule("decoder.linear_fuse.bn.{what}", "head.norm.{what}"),
    Rule("decoder.linear_pred.{what}", "head.classify.{what}"),
)
"""Of the head, and of the ensemble."""


def expand_mit(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Weights of an ordinary Mix Transformer or SegFormer for all streams of ours, the norms too.

    Args:
        weights: From a file as ``mit_b0.pth``, or one of a Segformer of transformers (``model.safetensors``;
            its names on disk, which differ from those in memory). Classifiers are left out, as they are of
            other labels.
        names: Of the modalities.

    Returns:
        ``encoder.*``, and ``head.*`` where the weights have a head, for
        ``model.load_state_dict(..., strict=False)``: what stands between the streams is not among them.

    Raises:
        OptionError: a name that no such model has.
    """
    kept = {
        key.removeprefix("segformer."): value
        for key, value in weights.items()
        if not key.startswith(("head.", "classifier.", "decode_head.classifier."))
    }
    paired: dict[str, Tensor] = {}
    for key, value in kept.items():
        if ".self.value." in key:
            continue
        if ".self.key." in key:
            values = kept[key.replace(".self.key.", ".self.value.")]
            paired[key.replace(".self.key.", ".self.key_value.")] = torch.cat([value, values])
        else:
            paired[key] = value
    found: dict[str, Tensor] = {}
    for name in names:
        found |= renamed(paired, _rules_of_one(name), (), to="ours", model="a Mix Transformer")
    return found


def _rules_of_one(name: str) -> list[Rule]:
    """From both layouts of an ordinary network to the weights that one of our streams runs through."""
    block = "encoder.stages.{k}.{i}."
    official = {
        "patch_embed{k}.proj.{what}": "encoder.embed.{k}.{what}",
        "patch_embed{k}.norm.{what}": f"encoder.embed_norms.{{k}}.{name}.{{what}}",
        "block{k}.{i}.norm{n}.{what}": f"{block}norm{{n}}.{name}.{{what}}",
        "block{k}.{i}.attn.q.{what}": f"{block}query.{{what}}",
        "block{k}.{i}.attn.kv.{what}": f"{block}key_value.{{what}}",
        "block{k}.{i}.attn.proj.{what}": f"{block}project.{{what}}",
        "block{k}.{i}.attn.sr.{what}": f"{block}reduce.{{what}}",
        "block{k}.{i}.attn.norm.{what}": f"{block}reduce_norm.{name}.{{what}}",
        "block{k}.{i}.mlp.fc1.{what}": f"{block}up.{{what}}",
        "block{k}.{i}.mlp.fc2.{what}": f"{block}down.{{what}}",
        "block{k}.{i}.mlp.dwconv.dwconv.{what}": f"{block}around.{{what}}",
        "norm{k}.{what}": f"encoder.norms.{{k}}.{name}.{{what}}",
    }
    of_hub = {
        "encoder.patch_embeddings.{k}.proj.{what}": "encoder.embed.{k}.{what}",
        "encoder.patch_embeddings.{k}.layer_norm.{what}": f"encoder.embed_norms.{{k}}.{name}.{{what}}",
        "encoder.block.{k}.{i}.layer_norm_{n}.{what}": f"{block}norm{{n}}.{name}.{{what}}",
        "encoder.block.{k}.{i}.attention.self.query.{what}": f"{block}query.{{what}}",
        "encoder.block.{k}.{i}.attention.self.key_value.{what}": f"{block}key_value.{{what}}",
        "encoder.block.{k}.{i}.attention.output.dense.{what}": f"{block}project.{{what}}",
        "encoder.block.{k}.{i}.attention.self.sr.{what}": f"{block}reduce.{{what}}",
        "encoder.block.{k}.{i}.attention.self.layer_norm.{what}": f"{block}reduce_norm.{name}.{{what}}",
        "encoder.block.{k}.{i}.mlp.dense1.{what}": f"{block}up.{{what}}",
        "encoder.block.{k}.{i}.mlp.dense2.{what}": f"{block}down.{{what}}",
        "encoder.block.{k}.{i}.mlp.dwconv.dwconv.{what}": f"{block}around.{{what}}",
        "encoder.layer_norm.{k}.{what}": f"encoder.norms.{{k}}.{name}.{{what}}",
        "decode_head.linear_c.{k}.proj.{what}": "head.project.{k}.{what}",
        "decode_head.linear_fuse.{what}": "head.join.{what}",
        "decode_head.batch_norm.{what}": "head.norm.{what}",
    }
    return [*(_of_stage(*pair) for pair in official.items()), *(Rule(*pair) for pair in of_hub.items())]
