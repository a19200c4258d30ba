"""Runners of GeminiFusion on more than two modalities: what makes one stream of several, and the whole."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.losses.hard_pixels import hard_pixel_loss
from fuseloom.models.dense.collapse import Collapse
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_deliver,
    geminifusion_mit,
    official_geminifusion_deliver,
)
from fuseloom.models.dense.inference import enlarged
from fuseloom.models.dense.mit import MitSize, MitStreams
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.placed import Placed
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, leaf
from fuseloom.testing.goldens._network import STAGES, called, drawn, of_sum, under, weights_of
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_OUTPUTS = ("rgb", "ext", "ens")
_LABELS, _HEAD_DIM, _STRIDE = 25, 512, 4


def _select(given: Given) -> dict[str, Tensor]:
    names = _names(given)[:-1]  # those besides the first
    streams = {name: leaf(given.inputs[name]) for name in names}
    weights, trace = weights_of(given), Trace()
    official = {f"backbone.extra_score_predictor.0.{name}": value for name, value in weights.items()}
    state = under(convert_geminifusion_deliver(official, ["first", *names]), "encoder.collapse.0.")
    part = Collapse(names, given.option("dim"))
    size = given.option("H"), given.option("W")
    scaled, largest = called(part, state, (torch.stack([*streams.values()]), size, {}), trace=trace)
    found = {"output.fused": largest}
    found |= {f"output.ext_after{i}": value for i, value in enumerate(scaled.unbind())}
    found |= {f"mid.score{i}": trace.records[f"{name}.score"][..., None] for i, name in enumerate(names)}
    return found | of_sum([(largest * given.inputs["cotangent"]).sum()], streams)


def _backbone(given: Given) -> dict[str, Tensor]:
    streams, weights = _streams(given), weights_of(given)
    build = partial(PixelAttention, num_heads=given.option("cross_heads"), faithful=True)
    placed = [Placed(build=build, at="before_projection")]
    encoder = MitStreams(_channels(streams), _size(given), placed, collapse=len(streams) > 2)
    official = {f"backbone.{name}": value for name, value in weights.items()}
    state = under(convert_geminifusion_deliver(official, list(streams)), "encoder.")
    stages, _ = called(encoder.eval(), state, (streams,))
    found = {
        f"stream{i}.{stage}": maps[name]
        for stage, maps in zip(STAGES, stages, strict=True)
        for i, name in enumerate(encoder.names)
    }
    terms = [(value * given.inputs[f"cotangent.{name}"]).sum() for name, value in found.items()]
    return {f"output.{n}": v for n, v in found.items()} | of_sum(terms, streams)


def _whole(given: Given) -> dict[str, Tensor]:
    streams, weights = _streams(given), weights_of(given)
    model = _model(given, _size(given), head_dim=given.option("head_dim"))
    state = convert_geminifusion_deliver(weights, list(streams))
    outputs = called(model.eval(), state, (streams,))
    target = given.inputs["label"].long()
    whole = enlarged(outputs, target.shape[-2:])
    threshold = given.option("ohem_thresh")
    losses = torch.stack([hard_pixel_loss(own, target, threshold=threshold) for own in whole.unbind(1)])
    found = {f"output.{name}": whole[:, i] for i, name in enumerate(_OUTPUTS)} | {"output.losses": losses}
    return found | of_sum([losses.sum()], streams | {"alpha": weights["alpha"]})


def _full_size(given: Given) -> dict[str, Tensor]:
    streams = _streams(given)
    model = _model(given, given.option("backbone").lower(), head_dim=_HEAD_DIM).eval()
    names = official_geminifusion_deliver(model.state_dict(), list(streams))
    weights = {name: drawn(name, value) for name, value in names.items()}
    model.load_state_dict(convert_geminifusion_deliver(weights, list(streams)))
    with torch.no_grad():
        whole = enlarged(model(streams), tuple(given.option("hw")))
    return {f"output.{name}.every4": whole[:, i, :, ::_STRIDE, ::_STRIDE] for i, name in enumerate(_OUTPUTS)}


def _model(given: Given, size: str | MitSize, *, head_dim: int) -> DenseModel:
    return geminifusion_mit(
        {name: given.inputs[name].shape[1] for name in _names(given)},
        given.config.get("num_classes", _LABELS),
        size=size,
        num_heads=given.config.get("cross_heads", 8),
        collapse=given.option("num_modals") > 2,
        head_dim=head_dim,
        faithful=True,
    )


def _names(given: Given) -> list[str]:
    return [f"x{i}" for i in range(given.option("num_modals"))]


def _streams(given: Given) -> Streams:
    return {name: leaf(given.inputs[name]) for name in _names(given)}


def _channels(streams: Streams) -> dict[str, int]:
    return {name: value.shape[1] for name, value in streams.items()}


def _size(given: Given) -> MitSize:
    dims, depths, heads = (tuple(given.option(name)) for name in ("embed_dims", "depths", "num_heads"))
    return MitSize(dims=dims, depths=depths, num_heads=heads)


def _unread(case: GoldenCase) -> tuple[str, ...]:
    """The last predictor of scores, and what the official head counts."""
    return (f"*score_nets.{case.config['num_modals'] - 1}.*", "*.num_batches_tracked")


RUNNERS: Mapping[str, Runner] = {
    "geminifusion/deliver_b0": Runner(run=_full_size),
    "geminifusion/deliver_backbone": Runner(run=_backbone, idle=_unread),
    "geminifusion/deliver_model": Runner(run=_whole, idle=_unread),
    "geminifusion/deliver_tokenselect": Runner(run=_select, idle=_unread),
}
