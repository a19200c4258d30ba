"""Runners of GeminiFusion's Swin Transformer of two streams: a stage, the backbone and the whole."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_swin,
    geminifusion_swin,
    official_geminifusion_swin,
)
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.placed import Placed
from fuseloom.models.dense.swin import SwinSize, SwinStreams
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner
from fuseloom.testing.goldens._network import (
    NAMES,
    OUTPUTS,
    STAGES,
    called,
    drawn,
    of_sum,
    parameters,
    streams_of,
    under,
    weights_of,
)
from fuseloom.types import Streams

__all__ = ["RUNNERS"]

_HEADS = 8


class _OneStage(nn.Module):
    """The first stage of an encoder by itself, and the merging behind it where there is one."""

    def __init__(self, encoder: SwinStreams, size: tuple[int, int]) -> None:
        super().__init__()
        self.encoder, self.size = encoder, size

    def forward(self, streams: Streams) -> tuple[Tensor, Tensor | None]:
        tokens = torch.stack([streams[name] for name in NAMES])
        out = self.encoder.run_stage(0, tokens, self.size, {}, None)
        return out, self.encoder.merge[0](out, self.size) if len(self.encoder.merge) else None


def _stage(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    dim, depth, heads = (given.option(name) for name in ("dim", "depth", "num_heads"))
    merging = any(name.startswith("downsample.") for name in weights)
    depths, all_heads = ((depth, 0), (heads, 1)) if merging else ((depth,), (heads,))
    size = SwinSize(dim=dim, depths=depths, num_heads=all_heads, window=given.option("window_size"))
    encoder = SwinStreams(dict.fromkeys(NAMES, 1), size, _placed(given.option("cross_heads")))
    part = _OneStage(encoder, (given.option("H"), given.option("W")))
    official = {f"encoder.body.layers.0.{name}": value for name, value in weights.items()}
    # What stands around a stage is not run.
    state = {**part.state_dict(), **convert_geminifusion_swin(official, NAMES)}
    out, merged = called(part.eval(), state, (streams,))
    found = {f"output.out{i}": value for i, value in enumerate(out.unbind())}
    if merged is not None:
        found |= {f"output.down{i}": value for i, value in enumerate(merged.unbind())}
    terms = [(value * given.inputs[f"cotangent{i}"]).sum() for i, value in enumerate(found.values())]
    return found | of_sum(terms, streams | parameters(weights))


def _backbone(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    encoder = SwinStreams(_channels(given), _size(given), _placed(given.option("cross_heads")))
    state = convert_geminifusion_swin({f"encoder.body.{n}": w for n, w in weights.items()}, NAMES)
    stages, _ = called(encoder.eval(), under(state, "encoder."), (streams,))
    found = {
        f"stream{i}.{stage}": maps[name]
        for stage, maps in zip(STAGES, stages, strict=True)
        for i, name in enumerate(NAMES)
    }
    terms = [(value * given.inputs[f"cotangent.{name}"]).sum() for name, value in found.items()]
    return {f"output.{n}": v for n, v in found.items()} | of_sum(terms, streams | parameters(weights))


def _whole(given: Given) -> dict[str, Tensor]:
    if "backbone" in given.config:
        model = _model(given, given.option("backbone").removeprefix("swin_")).eval()
        names = official_geminifusion_swin(model.state_dict(), NAMES)
        weights = {name: drawn(name, value) for name, value in names.items()}
    else:
        model, weights = _model(given, _size(given)).eval(), weights_of(given)
    model.load_state_dict(convert_geminifusion_swin(weights, NAMES))
    with torch.no_grad():
        outputs = model({name: given.inputs[name] for name in NAMES})
    return {f"output.{name}": outputs[:, i] for i, name in enumerate(OUTPUTS)}


def _model(given: Given, size: str | SwinSize) -> DenseModel:
    return geminifusion_swin(
        _channels(given),
        given.option("num_classes"),
        size=size,
        num_heads=given.config.get("cross_heads", _HEADS),
        head_dim=given.config.get("decoder_embedding_dim", 256),
        faithful=True,
    )


def _placed(num_heads: int) -> list[Placed]:
    def build(dims: Mapping[str, int]) -> PixelAttention:
        return PixelAttention(dims, num_heads=num_heads, faithful=True)

    return [Placed(build=build, at="after_attention")]


def _channels(given: Given) -> dict[str, int]:
    return {name: given.inputs[name].shape[1] for name in NAMES}


def _size(given: Given) -> SwinSize:
    depths, heads = tuple(given.option("depths")), tuple(given.option("num_heads"))
    width, window = given.option("embed_dim"), given.option("window_size")
    return SwinSize(dim=width, depths=depths, num_heads=heads, window=window)


def _counts(_: GoldenCase) -> tuple[str, ...]:
    """What follows from the side of the windows, and what the official head counts."""
    return ("*.num_batches_tracked", "*.relative_position_index")


RUNNERS: Mapping[str, Runner] = {
    "geminifusion/swin_backbone": Runner(run=_backbone, idle=_counts),
    "geminifusion/swin_layer": Runner(run=_stage, idle=_counts),
    "geminifusion/wetr_swin": Runner(run=_whole, idle=_counts),
}
