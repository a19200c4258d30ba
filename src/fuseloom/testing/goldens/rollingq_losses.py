"""Runners of the remedies that change the loss: MBSD, CML, LFM and MMCosine, as BalanceBenchmark has them."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from fuseloom.merge.concat import Concat
from fuseloom.models.fusion import FusionModel
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner
from fuseloom.testing.goldens._tiny import classes, official_gradients, tiny_batch, tiny_model
from fuseloom.train.remedies import Passage, Remedied, Remedy, view_of
from fuseloom.train.remedies.cml import CML, confidence, rise
from fuseloom.train.remedies.lfm import LFM, alignment
from fuseloom.train.remedies.mbsd import MBSD, pair_terms
from fuseloom.train.remedies.mmcosine import MMCosine
from fuseloom.types import Batch

__all__ = ["RUNNERS"]

_NAMES = ("audio", "visual")
_LFM_RATE = 0.1
"""Learning rate of the share of LFM's losses; its case says so in words."""


class _Met:
    """A case's model in a remedy's care, and its rows on their way through it."""

    def __init__(self, given: Given, remedy: Remedy) -> None:
        self.model: FusionModel = tiny_model(given)
        self.batch = tiny_batch(given)
        task = classes(len(given.weights["fusion_module.fc_out.bias"]))
        self.remedied = Remedied(self.model, remedy, task)
        self.seen = self.passage(self.batch)

    def passage(self, batch: Batch) -> Passage:
        return Passage(view_of(self.model), batch, self.remedied.task)

    def learnt(self, parts: Mapping[str, Tensor], whole: Tensor) -> dict[str, Tensor]:
        """The loss and its gradients, with features and with outputs of modalities and of all."""
        loss = self.remedied.loss(self.batch)
        loss.backward()  # type: ignore[no-untyped-call]
        found = {f"mid.feat_{name}": self.seen.features(name) for name in _NAMES}
        found |= {f"mid.logits_{name}": parts[name] for name in _NAMES}
        found |= {f"grad.weight.{name}": value for name, value in official_gradients(self.model).items()}
        return found | {"mid.feat_output": self.seen.outputs, "mid.logits_output": whole, "output.loss": loss}


def _mbsd(given: Given) -> dict[str, Tensor]:
    met = _Met(given, MBSD(official=True))
    split = met.seen.split()
    terms = pair_terms(split["audio"], split["visual"], met.seen.target, official=True)
    return met.learnt(split, met.seen.outputs) | {
        "mid.w": terms.weight[None],
        "mid.ps": terms.surer,
        "mid.pw": terms.less_sure,
        "mid.loss_RS": (terms.weight * terms.similarity).mean().view(1, 1),
        "mid.loss_KL": (terms.weight * terms.divergence).mean().view(1, 1),
        **{f"mid.loss_modality.{name}": met.seen.loss_of(outputs) for name, outputs in split.items()},
    }


def _cml(given: Given) -> dict[str, Tensor]:
    """The toolkit sums the growth over the rows, we take its mean."""
    rows = len(given.inputs["label"])
    met = _Met(given, CML(weight=given.option("lam") * rows))
    rest = met.seen.outputs_of(_NAMES[:-1])  # the case removes the last one
    before, behind = confidence(met.seen.outputs), confidence(rest)
    everyone = torch.ones(rows, dtype=torch.bool)
    return met.learnt(met.seen.split(), met.seen.outputs) | {
        "mid.conf_s": before,
        "mid.conf_p": behind,
        "mid.loss_p": met.seen.loss_of(rest),
        "mid._loss_c": rows * rise(behind - before, everyone),
    }


def _lfm(given: Given) -> dict[str, Tensor]:
    remedy, epoch = LFM(learned=True, lr=_LFM_RATE), given.option("epoch")
    met = _Met(given, remedy)
    quarter = met.passage(met.batch.take(slice(0, len(met.batch) // 4)))
    curvature = remedy.curvature(quarter)
    remedy.move(curvature.mean(), epoch)
    split = met.seen.split()
    return met.learnt(split, met.seen.outputs) | {
        "mid.hvp_first_param": curvature,
        "mid.alpha_grad": curvature.mean(),
        "output.alpha_align": remedy.aligned,
        "output.alpha_cls": remedy.share(epoch),
        "output.lr_alpha": torch.tensor(remedy.rate(epoch)),
        "output.align_pair01": alignment(split["audio"], split["visual"]).mean(),
        "output.loss_alignment": remedy.gap(met.seen),
    }


def _mmcosine(given: Given) -> dict[str, Tensor]:
    remedy = MMCosine(scale=given.option("scaling"))
    met = _Met(given, remedy)
    merge = cast(Concat, met.model.merge)
    for name in _NAMES:  # the toolkit takes the columns of its linear map for the class vectors
        cast(nn.Linear, remedy.classes[name]).weight = merge.weight[name]
    parts, whole = remedy.parts(met.seen), remedy.predict(met.seen)
    return met.learnt(parts, whole) | {
        f"mid.unimodal_result.{name}": value for name, value in {**parts, "output": whole}.items()
    }


def _number(_: GoldenCase, __: str, tensor: Tensor) -> Tensor:
    """Without its type: the toolkit's ``max(0, ...)`` gives an integer where the tensor is below."""
    return tensor.double()


RUNNERS: Mapping[str, Runner] = {
    "rollingq/cml": Runner(run=_cml, invariants={"mid._loss_c": _number}),
    "rollingq/lfm": Runner(run=_lfm),
    "rollingq/mbsd": Runner(run=_mbsd),
    "rollingq/mmcosine": Runner(run=_mmcosine),
}
