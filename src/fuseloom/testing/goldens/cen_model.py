"""Runners of CEN's networks for segmentation: a bottleneck, units of RefineNet, the whole, and a step."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.heads.refinenet import ChainedPooling, ResidualUnits
from fuseloom.models.dense.cen import cen_refinenet, convert_cen_refinenet
from fuseloom.models.dense.inference import enlarged
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.resnet import ResNetBottleneck
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, gradients
from fuseloom.testing.goldens._network import (
    NAMES,
    called,
    of_sum,
    parameters,
    streams_of,
    training,
    under,
    weights_of,
)
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_STEM, _IGNORED = 2, 255
_HEAD_DIM = 8
"""Of the networks of the cases, in which all widths are a thirty-second of the published ones."""
_THREE = ("ce_rgb", "ce_depth", "ce_ens")


def _bottleneck(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    state = under(
        convert_cen_refinenet({f"layer1.0.{n}": w for n, w in weights.items()}, NAMES), "encoder.layers.0.0."
    )
    exchange = partial(ChannelExchange, threshold=given.option("bn_threshold"), faithful=True)
    width, inside = given.option("inplanes"), given.option("planes")
    part = ResNetBottleneck(NAMES, width, inside, stride=given.option("stride"), exchange=exchange)
    out: Streams = called(part.train(training(given)), state, (streams, {}))
    terms = [(out[name] * given.inputs[f"cotangent{i}"]).sum() for i, name in enumerate(NAMES)]
    found = {f"output.y{i}": out[name] for i, name in enumerate(NAMES)}
    return found | of_sum(terms, streams | parameters(weights))


def _units(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    official = {f"adapt_stage1_b.0.{n}": w for n, w in under(weights, "rcu.").items()}
    official |= {f"mflow_conv_g1_pool.0.{n}": w for n, w in under(weights, "crp.").items()}
    state = convert_cen_refinenet(official, NAMES)
    width = given.option("channels")
    units = ResidualUnits(width, given.option("rcu_blocks"))
    pools = ChainedPooling(width, given.option("crp_stages"))
    found: dict[str, Tensor] = {}
    terms = []
    for i, value in enumerate(streams.values()):
        middle = called(units, under(state, "head.adapt.0."), (value,))
        end = called(pools, under(state, "head.pool.0."), (middle.relu(),))
        found |= {f"mid.rcu{i}": middle, f"output.y{i}": end}
        terms.append((end * given.inputs[f"cotangent{i}"]).sum())
    return found | of_sum(terms, streams)


def _whole(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    model = _model(given, weights)
    outputs = called(model.train(training(given)), convert_cen_refinenet(weights, NAMES), (streams,))
    found = {"output.alpha_soft": weights["alpha"].softmax(0)}
    found |= {f"output.logits{name}": outputs[:, i] for i, name in enumerate(("0", "1", "_ens"))}
    terms = [(outputs[:, i] * given.inputs[f"cotangent{i}"]).sum() for i in range(3)]
    return found | of_sum(terms, streams | parameters(weights))


def _step(given: Given) -> dict[str, Tensor]:
    streams, weights, trace = streams_of(given), weights_of(given), Trace(keep_records=False)
    model = _model(given, weights, fixed_statistics=given.option("freeze_bn"))
    state = convert_cen_refinenet(weights, NAMES)
    outputs = called(model.train(), state, (streams,), trace=trace)
    target = given.inputs["target"].long()
    whole = enlarged(outputs, target.shape[-2:])
    losses = {
        name: F.cross_entropy(whole[:, i], target, ignore_index=_IGNORED) for i, name in enumerate(_THREE)
    }
    l1 = torch.stack([*trace.losses.values()]).sum()
    loss = torch.stack([*losses.values()]).sum() + len(_THREE) * given.inputs["lambda"] * l1
    found = {f"output.{name}": value for name, value in losses.items()} | {
        "output.l1": l1,
        "output.loss": loss,
    }
    return found | gradients(loss, torch.ones_like(loss), parameters(weights))


def _model(given: Given, weights: Mapping[str, Tensor], *, fixed_statistics: bool = False) -> DenseModel:
    options = {"threshold": given.config["bn_threshold"]} if "bn_threshold" in given.config else {}
    return cen_refinenet(
        {name: given.inputs[name].shape[1] for name in NAMES},
        given.option("num_classes"),
        depths=given.option("blocks_per_layer"),
        dim=_STEM,
        head_dim=_HEAD_DIM,
        exchange=partial(ChannelExchange, faithful=True, sparsity_weight=1.0, reduction="sum", **options),
        fixed_statistics=fixed_statistics,
        dropout=0.0,
    )


def _statistics(case: GoldenCase) -> tuple[str, ...]:
    """Running statistics, which training does not read."""
    return ("*.running_*",) if case.mode == "train" else ()


RUNNERS: Mapping[str, Runner] = {
    "cen/bottleneck": Runner(run=_bottleneck, idle=_statistics),
    "cen/rcu_crp": Runner(run=_units),
    "cen/refinenet": Runner(run=_whole),
    "cen/train_step": Runner(run=_step, idle=_statistics),
}
