"""Runners of the attention and of the vision transformers of the RollingQ repository, one of them an MBT."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.exchange.bottleneck import Bottleneck, convert_bottleneck
from fuseloom.nn.attention import attend, attention_weights
from fuseloom.nn.bottleneck import join_shared, mean_of_present
from fuseloom.nn.vit import ViTBlock, convert_vit_block, run_block
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, gradients, leaf, load_module
from fuseloom.types import Streams

__all__ = ["RUNNERS"]

_NAMES: Mapping[str, str] = {"a": "audio", "v": "video"}
_PATCH = 16
_SHARED = "bot_token"


def _attention(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in "qkv"}
    projected = {
        name: F.linear(value, **given.weights.under(f"w_{name}s.")) for name, value in inputs.items()
    }
    # The official mask leaves equal scores where it keeps no key: a query of zeros before all keys.
    seen = _checked_mask(given.inputs["mask"])
    none = ~seen.any(-1, keepdim=True)
    query, key, mask = projected["q"].masked_fill(none, 0), projected["k"], seen | none
    heads = given.option("n_head")
    mixed = attend(query, key, projected["v"], num_heads=heads, mask=mask)
    output = F.linear(mixed, **given.weights.under("fc."))
    given.weights.under("layer_norm.")  # the official code has it and does not call it
    weights = attention_weights(query, key, num_heads=heads, mask=mask)
    return {"output.out": output, "output.attn": weights} | gradients(
        output, given.inputs["cotangent"], inputs
    )


def _checked_mask(mask: Tensor) -> Tensor:
    if not ((mask == 0) | (mask == 1)).all():
        raise DataError(f"mask must hold zeros and ones, got values from {mask.min()} to {mask.max()}.")
    return mask.bool()


def _mbt(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in _NAMES}
    weights = {name: leaf(given.weights[name]) for name in given.weights}
    tokens: Streams = {}
    found: dict[str, Tensor] = {}
    for name, full in _NAMES.items():
        patches = _patches(weights, inputs[name], full)
        tokens[name] = _run_blocks(given, weights, _with_class(weights, patches, full), full)
        found |= {f"mid.patch_{full}": patches, f"mid.{full}_blocks_out": tokens[name]}
    fused, copies = _fuse(given, weights, tokens)
    outputs = {name: _closing(weights, value, _NAMES[name]) for name, value in fused.items()}
    found |= copies | {f"output.{name}": value for name, value in outputs.items()}
    return found | _gradients(given, outputs, inputs, weights)


def _vit(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in _NAMES}
    weights = {name: leaf(given.weights[name]) for name in given.weights}
    name = given.option("modality").removeprefix("uni_").lower()
    full = _NAMES[name]
    tokens = _with_class(weights, _patches(weights, inputs[name], full), full)
    output = _closing(weights, _run_blocks(given, weights, tokens, full), full)
    return {f"output.{name}": output} | _gradients(
        given, {name: output}, {name: inputs[name]}, {k: v for k, v in weights.items() if full in k}
    )


def _patches(weights: Mapping[str, Tensor], value: Tensor, full: str) -> Tensor:
    """``[B, 1, T, F]`` with its last axes swapped, or ``[B, 3, T, H, W]``, to one token per patch."""
    kernel, bias = (weights[f"patch_embed_{full}.proj.{kind}"] for kind in ("weight", "bias"))
    if value.dim() == 4:
        value, kernel = value.transpose(2, 3)[:, :, None], kernel[:, :, None]
    return F.conv3d(value, kernel, bias, stride=(1, _PATCH, _PATCH)).flatten(2).transpose(1, 2)


def _with_class(weights: Mapping[str, Tensor], patches: Tensor, full: str) -> Tensor:
    first = weights[f"cls_token_{full}"].expand(len(patches), -1, -1)
    return torch.cat([first, patches], 1) + weights[f"pos_embed_{full}"]


def _run_blocks(given: Given, weights: Mapping[str, Tensor], tokens: Tensor, full: str) -> Tensor:
    for number in range(given.option("depth_total") - given.option("multi_depth")):
        block = _block(given, weights, f"{full}_blocks.{number}.", heads=given.option("num_heads"))
        tokens, _ = run_block(block, tokens, None)
    return tokens


def _block(given: Given, weights: Mapping[str, Tensor], prefix: str, *, heads: int) -> ViTBlock:
    width = given.option("embed_dim")
    state = {key.removeprefix(prefix): v.detach() for key, v in weights.items() if key.startswith(prefix)}
    with torch.device("meta"):
        block = ViTBlock(width, num_heads=heads, hidden=int(width * given.option("mlp_ratio")))
    load_module(block, convert_vit_block(state), training=False)
    return block


def _fuse(given: Given, weights: Mapping[str, Tensor], tokens: Streams) -> tuple[Streams, dict[str, Tensor]]:
    """The bottleneck layers one by one, for what is inside them; where there are two or more, by our part."""
    common = weights[_SHARED].expand(len(tokens["a"]), -1, -1)
    heads, depth = given.option("bottleneck_block_heads"), given.option("multi_depth")
    inside: dict[str, Tensor] = {}
    steps = tokens
    for number in range(depth):
        joined = {}
        for name, full in _NAMES.items():
            block = _block(given, weights, f"bot_{full}_blocks.{number}.", heads=heads)
            joined[name], _ = run_block(block, join_shared(common, steps[name])[0], None)
            inside[f"mid.bot_{full}_{number}"] = joined[name]
        count = common.shape[1]
        steps = {name: value[:, count:] for name, value in joined.items()}
        common = mean_of_present([value[:, :count] for value in joined.values()], None, common)
    return (_exchanged(given, weights, tokens) if depth > 1 else steps), inside


def _exchanged(given: Given, weights: Mapping[str, Tensor], tokens: Streams) -> Streams:
    width = given.option("embed_dim")
    state = convert_bottleneck(weights, _NAMES)
    with torch.device("meta"):
        part = Bottleneck(
            dict.fromkeys(_NAMES, width),
            num_tokens=given.option("num_bottle_token"),
            num_layers=given.option("multi_depth"),
            num_heads=given.option("bottleneck_block_heads"),
            hidden=int(width * given.option("mlp_ratio")),
        )
    load_module(part, {key: value.detach() for key, value in state.items()}, training=False)
    out: Streams = torch.func.functional_call(part, state, (tokens,), strict=True)
    return out


def _closing(weights: Mapping[str, Tensor], tokens: Tensor, full: str) -> Tensor:
    scale, shift = (weights[f"norm_{full}.{kind}"] for kind in ("weight", "bias"))
    return F.layer_norm(tokens, scale.shape, scale, shift, eps=1e-6)


def _gradients(
    given: Given, outputs: Streams, inputs: Streams, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    pairs = [(value, given.inputs[f"cotangent_{name}"]) for name, value in outputs.items()]
    total = torch.stack([(value * cotangent).sum() for value, cotangent in pairs]).sum()
    learnt = ("cls_token_", "pos_embed_", _SHARED)
    fused = {} if given.option("multi_depth") else {_SHARED}
    named = {n: v for n, v in weights.items() if n.startswith(learnt) and n not in fused}
    return gradients(total, torch.ones_like(total), inputs | {f"weight.{n}": v for n, v in named.items()})


def _idle_in_attention(case: GoldenCase) -> tuple[str, ...]:
    # A softmax does not see what all keys share; the norm is never called.
    return tuple(name for name in case.weights if name == "w_ks.bias" or name.startswith("layer_norm."))


def _idle_in_mbt(case: GoldenCase) -> tuple[str, ...]:
    return () if case.config.get("multi_depth") else (_SHARED,)


def _idle_in_vit(case: GoldenCase) -> tuple[str, ...]:
    other = "video" if case.config.get("modality") == "uni_A" else "audio"
    return (_SHARED, f"*{other}*")


RUNNERS: Mapping[str, Runner] = {
    "rollingq/mbt": Runner(run=_mbt, idle=_idle_in_mbt),
    "rollingq/mha": Runner(run=_attention, idle=_idle_in_attention),
    "rollingq/vit_unimodal": Runner(run=_vit, idle=_idle_in_vit),
}
