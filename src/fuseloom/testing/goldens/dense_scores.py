"""Runners of what label maps and generated pictures are scored by, and of the loss of hard pixels."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.losses.hard_pixels import hard_pixel_loss
from fuseloom.metrics.generation import frechet_distance, kernel_distance
from fuseloom.metrics.segmentation import SegmentationScores, confusion_counts, segmentation_scores
from fuseloom.models.dense.inference import enlarged
from fuseloom.testing.goldens._case import Given, Runner, leaf

__all__ = ["RUNNERS"]

_PERCENT = 100
_EVERY = 4
"""Of the enlarged scores every fourth pixel is stored."""


def _main(given: Given) -> dict[str, Tensor]:
    found = {"output.empty.scores": _three(segmentation_scores(np.zeros((2, 2), dtype=np.int64)))}
    for name, settings in given.config.items():
        counts = sum(
            confusion_counts(
                given.inputs[f"{name}.pred{picture}"].numpy(),
                given.inputs[f"{name}.gt{picture}"].numpy(),
                settings["num_classes"],
            )
            for picture in range(3)
        )
        found[f"output.{name}.confusion"] = torch.from_numpy(counts)
        found[f"output.{name}.scores"] = _three(segmentation_scores(np.asarray(counts)))
    return found


def _deliver(given: Given) -> dict[str, Tensor]:
    counts = sum(
        confusion_counts(
            given.inputs[f"batch{batch}.logits"].argmax(1).numpy(),
            given.inputs[f"batch{batch}.label"].numpy(),
            given.option("num_classes"),
        )
        for batch in range(2)
    )
    counts = np.asarray(counts)
    scores = segmentation_scores(counts, absent="zero")
    areas = {"intersect": np.diagonal(counts), "label": counts.sum(1), "pred": counts.sum(0)}
    per_label = {"acc": scores.accuracy, "f1": scores.f1, "iou": scores.iou}
    return {
        **{f"output.area_{name}": torch.from_numpy(area.copy()).float() for name, area in areas.items()},
        **{f"output.{name}": _rounded(np.nan_to_num(values)) for name, values in per_label.items()},
        "output.means": _rounded([scores.mean_iou, scores.mean_f1, scores.mean_accuracy]),
    }


def _tokenfusion(given: Given) -> dict[str, Tensor]:
    counts = confusion_counts(
        given.inputs["pred"].numpy(), given.inputs["gt"].numpy(), given.option("num_classes")
    )
    pixels, accuracy, iou = _three(segmentation_scores(counts)).float()
    return {
        "output.confusion": torch.from_numpy(counts),
        "output.pixel_acc": pixels,
        "output.mean_acc": accuracy,
        "output.miou": iou,
    }


def _hard_pixels(given: Given) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name in ("easy", "hard", "mixed"):
        logits, label = leaf(given.inputs[f"{name}.logits"]), given.inputs[f"{name}.label"]
        ignore = given.option("ignore")
        loss = hard_pixel_loss(logits, label, threshold=given.option("thresh"), ignore=ignore)
        (found[f"grad.{name}.logits"],) = torch.autograd.grad(loss, logits)
        found[f"output.{name}.ohem"] = loss
        found[f"output.{name}.ce"] = F.cross_entropy(logits, label, ignore_index=ignore)
    return found


def _distances(given: Given) -> dict[str, Tensor]:
    fake, real = given.inputs["fake.f64"], given.inputs["real.f64"]
    count = min(len(fake), len(real))
    found = {
        "output.fid.f64": frechet_distance(fake, real),
        "output.mmd2_unbiased.f64": kernel_distance(fake[:count], real[:count]),
    }
    if len(fake) == len(real):
        found["output.kid_x100.f64"] = 100 * kernel_distance(fake, real)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def _postprocessed(given: Given) -> dict[str, Tensor]:
    whole = enlarged(given.inputs["logits"], given.option("out_hw"), mode="bicubic")
    return {
        "output.pred": whole.argmax(1)[0].to(torch.uint8),
        "output.resized": whole[0].permute(1, 2, 0)[::_EVERY, ::_EVERY],
    }


def _three(scores: SegmentationScores) -> Tensor:
    return _PERCENT * torch.tensor(
        [scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou], dtype=torch.float64
    )


def _rounded(shares: Sequence[float] | np.ndarray) -> Tensor:
    return torch.from_numpy(np.round(_PERCENT * np.asarray(shares), 2)).float()


RUNNERS = {
    "geminifusion/metrics_main": Runner(run=_main),
    "geminifusion/metrics_deliver": Runner(run=_deliver),
    "geminifusion/ohem_loss": Runner(run=_hard_pixels),
    "geminifusion/val_postprocess": Runner(run=_postprocessed),
    "tokenfusion/seg_metrics": Runner(run=_tokenfusion),
    "cen/fid_kid": Runner(run=_distances),
    "cen/fid_rank_deficient": Runner(run=_distances),
}
