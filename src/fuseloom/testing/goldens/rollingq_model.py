"""Runner of RollingQ's whole models: encoders, and behind them attention, a sum or a concatenation."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.exchange.bottleneck import Bottleneck, convert_bottleneck
from fuseloom.merge.concat import Concat, convert_concat
from fuseloom.merge.sum import Sum
from fuseloom.models.fusion import FusionModel
from fuseloom.models.rolling import (
    PatchEncoder,
    convert_patch_encoder,
    convert_rolling_transformer,
    rolling_transformer,
)
from fuseloom.nn.vit import ViTBlock
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, load_module
from fuseloom.testing.goldens.rollingq_attention import all_weights, stored_rotation

__all__ = ["RUNNERS"]

_NAMES: Mapping[str, str] = {"a": "audio", "v": "video"}
_BOTTLENECK_HEADS = 1
_FUSION = "fusion_module."


def _attention(given: Given) -> dict[str, Tensor]:
    weights, inputs = given.weights.under(""), _inputs(given)
    with torch.device("meta"):
        model = rolling_transformer(
            _encoders(given, inputs, weights), given.option("n_classes"), faithful=True
        )
    load_module(model, convert_rolling_transformer(weights, tuple(_NAMES)), training=False)
    found, streams = _run(model, inputs, weights)
    fusion = given.weights.under(_FUSION)
    rotation = stored_rotation(fusion["rotate"], len(fusion["attn.w_qs.bias"]))
    return found | {"output.attn": all_weights(fusion, streams, rotation)["attn"]}


def _sum(given: Given) -> dict[str, Tensor]:
    fusion = given.weights.under(_FUSION)
    state = {
        f"embed.{name}.{kind}": fusion[f"fc_{official}.{kind}"]
        for name, official in zip(_NAMES, "xy", strict=True)
        for kind in ("weight", "bias")
    }
    with torch.device("meta"):
        merge = Sum(_widths(given), given.option("n_classes"), pool=_class_token)
    return _static(given, merge, state)


def _concat(given: Given) -> dict[str, Tensor]:
    fusion = given.weights.under(f"{_FUSION}fc_out.")
    with torch.device("meta"):
        merge = Concat(_widths(given), given.option("n_classes"), pool=_class_token)
    return _static(given, merge, convert_concat(fusion["weight"], fusion["bias"], _widths(given)))


def _static(given: Given, merge: Sum | Concat, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model whose merge makes logits of the class tokens, with the bottleneck's blocks if it has any."""
    weights, inputs = given.weights.under(""), _inputs(given)
    encoder, depth = given.weights.under("encoder."), given.option("multi_depth")
    whole = {f"merge.{key}": value for key, value in state.items()}
    for name, full in _NAMES.items():
        own = convert_patch_encoder(encoder, full)
        whole |= {f"encoders.{name}.{key}": value for key, value in own.items()}
    with torch.device("meta"):
        exchange = {0: _bottleneck(given, encoder)} if depth else {}
        model = FusionModel(_encoders(given, inputs, weights), merge, nn.Identity(), exchanges=exchange)
    if depth:
        blocks = convert_bottleneck(encoder, _NAMES)
        whole |= {f"exchanges.0.{key}": value for key, value in blocks.items()}
    load_module(model, whole, training=False)
    return _run(model, inputs, weights)[0]


def _bottleneck(given: Given, encoder: Mapping[str, Tensor]) -> Bottleneck:
    return Bottleneck(
        _widths(given),
        num_tokens=encoder["bot_token"].shape[1],
        num_layers=given.option("multi_depth"),
        num_heads=_BOTTLENECK_HEADS,
        hidden=_hidden(encoder),
    )


def _encoders(
    given: Given, inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, PatchEncoder]:
    encoder = {name.removeprefix("encoder."): value for name, value in weights.items()}
    block = partial(ViTBlock, num_heads=given.option("num_heads"), hidden=_hidden(encoder))
    return {
        name: PatchEncoder(
            value.shape[1],
            value.shape[2:],
            dim=given.option("edim"),
            depth=given.option("depth"),
            block=block,
        )
        for name, value in inputs.items()
    }


def _run(
    model: FusionModel, inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the official model returns, with its probes of each class token; and the streams."""
    streams, masks = model.encode(inputs)
    found = {"output.out": model.fuse(streams, masks)}
    for name, tokens in streams.items():
        probe = {kind: weights[f"{name}_head.{kind}"] for kind in ("weight", "bias")}
        found |= {f"output.token_{name}": tokens, f"output.f{name}": tokens[:, 0]}
        found[f"output.out_{name}"] = F.linear(tokens[:, 0], **probe)
    return found, streams


def _inputs(given: Given) -> dict[str, Tensor]:
    """The official model swaps the axes of a spectrogram; ours takes its time axis first."""
    return {"a": given.inputs["a"].transpose(2, 3), "v": given.inputs["v"]}


def _widths(given: Given) -> dict[str, int]:
    return dict.fromkeys(_NAMES, given.option("edim"))


def _hidden(encoder: Mapping[str, Tensor]) -> int:
    return len(encoder["audio_blocks.0.mlp.fc1.weight"])


def _class_token(tokens: Tensor, mask: Tensor | None) -> Tensor:
    return tokens[:, 0]


def _idle(case: GoldenCase) -> tuple[str, ...]:
    # A softmax does not see what all keys share; the norm is never called; without blocks nothing is shared.
    dead = (f"{_FUSION}attn.layer_norm.*", f"{_FUSION}attn.w_ks.bias")
    return dead if case.config.get("multi_depth") else (*dead, "encoder.bot_token")


RUNNERS: Mapping[str, Runner] = {
    "rollingq/full_attention": Runner(run=_attention, idle=_idle),
    "rollingq/full_mbt": Runner(run=_concat, idle=_idle),
    "rollingq/full_sum": Runner(run=_sum, idle=_idle),
}
