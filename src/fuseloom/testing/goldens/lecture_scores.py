"""Runners of the published scores of sentiment and emotion."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fuseloom.metrics.emotion import EMOTIONS, iemocap_scores, mmsa_class_scores
from fuseloom.metrics.sentiment import (
    Variant,
    acc2,
    lmf_scores,
    mag_scores,
    mmsa_scores,
    mmsa_sims_scores,
    mult_scores,
    multibench_scores,
    weighted_accuracy,
)
from fuseloom.testing.goldens._case import Given, Runner

__all__ = ["RUNNERS"]

_EXCLUDE_ZERO: Mapping[bool, Variant] = {False: "zero_negative", True: "nonzero"}


def _column(scores: Iterable[float]) -> Tensor:
    return torch.tensor(list(scores), dtype=torch.float64)


def _mosi(given: Given) -> dict[str, Tensor]:
    # Double precision, so that a share or a mean does not depend on the order of summation.
    p, y = (given.inputs[name].double().numpy() for name in ("preds", "truth"))
    scores: dict[str, Iterable[float]] = {
        "mmsa_mosi": mmsa_scores(p, y, faithful=True).values(),
        "mmsa_sims_on_third": mmsa_sims_scores(p / 3, y / 3, faithful=True).values(),
        "lmf_train_mosi": lmf_scores(p, y, faithful=True).values(),
        "multibench_eval_affect": [acc2(p, y), acc2(p, y, variant="zero_negative")],
        "mult_weighted_accuracy": [weighted_accuracy(p, y)],
    }
    for flag, variant in _EXCLUDE_ZERO.items():
        scores |= {
            f"mult_exclude_zero_{flag}": mult_scores(p, y, variant=variant, faithful=True).values(),
            f"multibench_return_exclude_zero_{flag}": multibench_scores(
                p, y, variant=variant, faithful=True
            ).values(),
            f"mag_use_zero_{flag}": mag_scores(p, y, use_zero=flag).values(),
        }
    return {f"output.{name}": _column(column) for name, column in scores.items()}


def _iemocap(given: Given) -> dict[str, Tensor]:
    scores = iemocap_scores(given.inputs["preds"].numpy(), given.inputs["truth"].numpy())
    return {"output.metrics": _column(scores[f"{e}_{what}"] for e in EMOTIONS for what in ("f1", "accuracy"))}


def _mmsa_classes(given: Given) -> dict[str, Tensor]:
    scores = mmsa_class_scores(given.inputs["logits"].numpy(), given.inputs["labels"].numpy(), faithful=True)
    return {"output.metrics": _column(scores.values())}


RUNNERS: Mapping[str, Runner] = {
    "lecture/iemocap_metrics": Runner(run=_iemocap),
    "lecture/mmsa_classification_metrics": Runner(run=_mmsa_classes),
    "lecture/mosi_metrics": Runner(run=_mosi),
}
