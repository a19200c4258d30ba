"""Runners of MuSE's text-to-image decoder: its blocks, the network, its likelihood and sampling from it."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.losses.logistic_mixture import logistic_mixture_loss, sample_logistic_mixture
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.models.muse.pixelcnn_checkpoint import convert_muse_pixelcnn
from fuseloom.models.muse.pixelcnn_layers import GatedBlock
from fuseloom.nn.shifted_convolution import Direction, ShiftedConv, ShiftedDeconv, pointwise
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, Tolerance, apply_part, leaf

__all__ = ["RUNNERS"]

_DEPTHS = range(3)
_STREAMS = {"u": "vertical", "ul": "horizontal"}
# A sum over all pixels: at the tolerance of the logits it would hide a whole nat. The cases note this one.
_ACCURACY = {"output.loss": Tolerance(rtol=1e-4)}
_PLACES = {
    "nin": (  # codespell:ignore nin
        "nin_out",
        "out",
    ),
    "down_shifted_conv2d": ("u_init", "start.vertical"),
    "down_right_shifted_conv2d": ("u_init", "start.vertical"),
    "down_shifted_deconv2d": ("upsize_u_stream.1", "level.coarser.grow.vertical"),
    "down_right_shifted_deconv2d": ("upsize_u_stream.1", "level.coarser.grow.vertical"),
    "gated_resnet": ("up_layers.0.u_stream.0", "level.up.0.vertical"),
}
"""Official class -> where one stands in the official model, and in ours."""


def _blocks(given: Given) -> dict[str, Tensor]:
    found = {}
    for block in given.option("blocks"):
        name = block["block"]
        official, ours = _PLACES[block["cls"]]
        weights = {f"{official}.{key}": value for key, value in given.weights.under(f"{name}.").items()}
        state = convert_muse_pixelcnn(weights, conditional=block.get("h", False))
        inside = {key.removeprefix(f"{ours}."): value for key, value in state.items()}
        with torch.device("meta"):
            part = _part(block, given.option("nf"), given.option("h_dim"), inside)
        inputs = [given.inputs[f"{name}.{key}"] if key else None for key in _inputs(block)]
        found[f"output.{name}"] = apply_part(part.eval(), inside, *inputs)
    return found


def _part(block: Mapping[str, Any], dim: int, embedding_dim: int, state: Mapping[str, Tensor]) -> nn.Module:
    kind = block["cls"]
    if kind == "gated_resnet":
        direction = _direction(block["conv"])
        given_dim = embedding_dim if block["h"] else None
        return GatedBlock(dim, direction, num_skips=block["skip_connection"], embedding_dim=given_dim)
    out_dim = len(next(value for key, value in state.items() if key.endswith("bias")))
    if "conv" not in kind:
        return pointwise(dim, out_dim)
    if "deconv" in kind:
        return ShiftedDeconv(dim, out_dim, _direction(kind))
    height, width = block["filter"]
    shift = block.get("shift_output_down", False) or block.get("shift_output_right", False)
    stride = block.get("stride", 1)
    return ShiftedConv(dim, out_dim, _direction(kind), (height, width), stride=stride, shift=shift)


def _direction(official: str) -> Direction:
    return "right" if official.startswith("down_right") else "down"


def _inputs(block: Mapping[str, Any]) -> tuple[str, ...]:
    """What a block is called with; empty for nothing."""
    if block["cls"] != "gated_resnet":
        return ("x",)
    return "og_x", "a" if block["skip_connection"] else "", "h" if block["h"] else ""


def _network(given: Given) -> dict[str, Tensor]:
    conditional = given.option("conditional")
    weights = {name: leaf(value) for name, value in given.weights.under("").items()}
    inputs = {name: leaf(given.inputs[name]) for name in ("x", *(["h"] if conditional else []))}
    model, mids = _model(given).eval(), dict[str, Tensor]()
    for place, name in _watched(given.option("nr_resnet")):
        model.get_submodule(place).register_forward_hook(
            lambda _m, _given, out, name=name: mids.update({f"mid.{name}": out})
        )
    state = convert_muse_pixelcnn(weights, conditional=conditional)
    logits = apply_part(model, state, inputs.get("h"), inputs["x"])
    loss = logistic_mixture_loss(logits, inputs["x"]).sum()
    used = {f"weight.{n}": value for n, value in weights.items() if conditional or not n.endswith("hw")}
    cotangent = given.inputs["cotangent"]
    return {
        "output.logits": logits,
        "output.loss": loss.reshape(1),
        **mids,
        **_gradients("grad", (logits * cotangent).sum(), inputs),
        **_gradients("grad.loss", loss, inputs | used),
    }


def _gradients(role: str, value: Tensor, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(sources.values()), retain_graph=True)
    return {f"{role}.{name}": gradient for name, gradient in zip(sources, found, strict=True)}


def _model(given: Given) -> PixelCnn:
    with torch.device("meta"):
        return PixelCnn(
            given.option("h_dim") if given.option("conditional") else None,
            channels=given.option("input_channels"),
            num_resnet=given.option("nr_resnet"),
            num_filters=given.option("nr_filters"),
            num_mixtures=given.option("nr_logistic_mix"),
        )


def _watched(num_resnet: int) -> Iterator[tuple[str, str]]:
    """Module of ours and what its output is stored as."""
    yield "start.vertical", "u_init"
    last = _DEPTHS[-1]
    for depth in _DEPTHS:
        level = "level" + ".coarser.level" * depth
        for official, ours in _STREAMS.items():
            for block in range(num_resnet):
                yield f"{level}.up.{block}.{ours}", f"up_layers.{depth}.{official}{block}"
            blocks = num_resnet + (depth < last)
            yield f"{level}.down.{blocks - 1}.{ours}", f"down_layers.{last - depth}.{official}"
            if depth < last:
                yield f"{level}.coarser.shrink.{ours}", f"downsize_{official}_stream.{depth}"
                yield f"{level}.coarser.grow.{ours}", f"upsize_{official}_stream.{last - 1 - depth}"


def _likelihood(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("l", "x")}
    loss = logistic_mixture_loss(inputs["l"], inputs["x"])
    outputs = {"output.loss": loss.sum().reshape(1), "output.loss_per_sample": loss}
    return outputs | _gradients("grad", loss.sum(), inputs)


def _sample(given: Given) -> dict[str, Tensor]:
    noise = torch.cat([given.inputs[name].movedim(-1, 1) for name in ("u_mix", "u_logistic")], dim=1)
    images = sample_logistic_mixture(given.inputs["l"], noise, channels=given.option("C"), faithful=True)
    return {"output.x": images}


def _without_embedding(case: GoldenCase) -> tuple[str, ...]:
    """Weights of an embedding that is not given."""
    return ("*_h0.hw",) if "blocks" in case.config else () if case.config["conditional"] else ("*.hw",)


RUNNERS: Mapping[str, Runner] = {
    "muse/dmol": Runner(run=_likelihood),
    "muse/dmol_sample": Runner(run=_sample),
    "muse/pixelcnn": Runner(run=_network, idle=_without_embedding, accuracy=_ACCURACY),
    "muse/pixelcnn_blocks": Runner(run=_blocks, idle=_without_embedding),
}
