"""Runner of MuSE's conditional random field."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.nn.crf import LinearChainCrf
from fuseloom.testing.goldens._case import Given, Runner, leaf, load_module

__all__ = ["RUNNERS"]

_PADDING = 0
"""Of the official decoder, where the case names none."""


def _crf(given: Given) -> dict[str, Tensor]:
    with torch.device("meta"):
        crf = LinearChainCrf(given.option("num_tags"))
    load_module(crf, given.weights.under(""), training=False)
    emissions = leaf(given.inputs["emissions"])
    batch, tags, mask = (
        value if given.option("batch_first") else value.transpose(0, 1)
        for value in (emissions, given.inputs["tags"], given.inputs["mask"].bool())
    )
    likelihood = crf(batch, tags, mask)
    padding = given.option("pad_tag")
    sources = {"emissions": emissions} | {f"weight.{n}": value for n, value in crf.named_parameters()}
    gradients = torch.autograd.grad(-likelihood.mean(), list(sources.values()))
    return {
        "output.llh_none": likelihood,
        "output.llh_sum": likelihood.sum()[None],
        "output.llh_mean": likelihood.mean()[None],
        "output.llh_token_mean": (likelihood.sum() / mask.sum())[None],
        "output.viterbi": crf.decode(batch, mask, padding=_PADDING if padding is None else padding)[None],
    } | {f"grad.{name}": value for name, value in zip(sources, gradients, strict=True)}


RUNNERS: Mapping[str, Runner] = {"muse/crf": Runner(run=_crf)}
