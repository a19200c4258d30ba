"""Runners of TokenFusion's translation: the generator and the discriminator, whole."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.models.dense.mit import MitSize
from fuseloom.models.dense.token_translation import (
    MitDiscriminator,
    convert_tokenfusion_discriminator,
    convert_tokenfusion_translation,
    tokenfusion_translation,
)
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, leaf
from fuseloom.testing.goldens._network import NAMES, called, of_sum, parameters, streams_of, weights_of
from fuseloom.types import Trace

__all__ = ["RUNNERS"]

_UNREAD = "patch_embed_dec.*.norm.*"
_PICTURE = 3


def _generator(given: Given) -> dict[str, Tensor]:
    streams, weights, trace = streams_of(given), weights_of(given), Trace()
    exchange = partial(
        TokenExchange, threshold=given.option("mask_threshold"), sparsity_weight=1.0, reduction="sum"
    )
    channels = {name: value.shape[1] for name, value in streams.items()}
    model = tokenfusion_translation(channels, size=_size(given), exchange=exchange)
    state = convert_tokenfusion_translation(weights, NAMES)
    outputs = called(model.eval(), state, (streams,), trace=trace)
    found = {"output.alpha_soft": weights["alpha"].softmax(0)}
    found |= {f"output.{name}": outputs[:, i] for i, name in enumerate(("y0", "y1", "ens"))}
    for stage, depth in enumerate(given.option("depths")):
        scope = f"encoder.stages.{stage}.{depth - 1}.after_attention"
        for i, name in enumerate(NAMES):
            found[f"mid.mask.{stage}.{i}"] = trace.records[f"{scope}.{name}.scores"].flatten()
    terms = [(outputs[:, i] * given.inputs[f"cotangent{i}"]).sum() for i in range(3)]
    terms.append(given.inputs["lambda"] * torch.stack([*trace.losses.values()]).sum())
    read = {name: value for name, value in parameters(weights).items() if "patch_embed_dec" not in name}
    return found | of_sum(terms, streams | read)


def _discriminator(given: Given) -> dict[str, Tensor]:
    inputs = {name: given.inputs[name] for name in NAMES}
    shown = [leaf(given.inputs[f"label{i}"]) for i in range(3)]
    pictures = dict(zip(NAMES, shown, strict=False))  # the official code drops that of the ensemble
    model = MitDiscriminator(dict.fromkeys(NAMES, _PICTURE), size=_size(given))
    state = convert_tokenfusion_discriminator(weights_of(given), NAMES)
    found = called(model.eval(), state, (inputs, pictures))
    told = {f"output.p{i}": found[name].sigmoid() for i, name in enumerate(NAMES)}
    terms = [(told[f"output.p{i}"] * given.inputs[f"cotangent{i}"]).sum() for i in range(2)]
    return told | of_sum(terms, {f"label{i}": pictures[name] for i, name in enumerate(NAMES)})


def _size(given: Given) -> MitSize:
    dims, depths, heads, reductions = (
        tuple(given.option(name)) for name in ("embed_dims", "depths", "num_heads", "sr_ratios")
    )
    return MitSize(
        dims=dims,
        depths=depths,
        num_heads=heads,
        reductions=reductions,
        expansion=given.option("mlp_ratios"),
        stem=(3, 2),
    )


def _norms_of_embeddings(_: GoldenCase) -> tuple[str, ...]:
    return (_UNREAD,)


RUNNERS: Mapping[str, Runner] = {
    "tokenfusion/i2i_discriminator": Runner(run=_discriminator),
    "tokenfusion/i2i_generator": Runner(run=_generator, idle=_norms_of_embeddings),
}
