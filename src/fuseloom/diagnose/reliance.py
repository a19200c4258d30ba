"""How much a model leans on each modality: what is lost when one is hidden or shuffled."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from numpy.typing import NDArray

from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["Reliance", "hide", "reliance", "shuffle"]


@dataclass(frozen=True, kw_only=True)
class Reliance:
    """Loss of one model's score on held-out rows, per modality.

    A drop is in the units of the metric, positive where the score gets worse.
    """

    model: str
    metric: str
    score: float
    hidden: dict[str, float]
    """Drop where the modality is masked in every row."""
    shuffled: dict[str, float]
    """Mean drop where its rows are permuted, over several permutations."""


def reliance(
    predict: Callable[[Batch], NDArray],  # type: ignore[type-arg]
    rows: Batch,
    *,
    model: str,
    metric: tuple[str, Metric],
    num_shuffles: int = 5,
    seed: int = 0,
) -> Reliance:
    """Measure the drop of a score when each modality is hidden, and when its rows are shuffled.

    Hiding asks what the model can do without the modality; shuffling keeps its values plausible and
    breaks only their tie to the row, so it also counts what the model loses by trusting it.

    Args:
        predict: Rows to predictions as the metric takes them; changes nothing.
        rows: Held-out rows with their target.
        model: Name for the result.
        metric: Name and metric.
        num_shuffles: Permutations to average over.
        seed: Of the permutations.
    """
    name, score = metric
    assert rows.target is not None
    target = rows.target.cpu().numpy()
    full = score.function(predict(rows), target)
    hidden, shuffled = {}, {}
    for modality in rows.inputs:
        generator = torch.Generator().manual_seed(seed)
        hidden[modality] = score.better(full) - score.better(
            score.function(predict(hide(rows, modality)), target)
        )
        scores = [
            score.function(predict(shuffle(rows, modality, generator)), target) for _ in range(num_shuffles)
        ]
        shuffled[modality] = score.better(full) - sum(map(score.better, scores)) / num_shuffles
    return Reliance(model=model, metric=name, score=full, hidden=hidden, shuffled=shuffled)


def hide(rows: Batch, modality: str) -> Batch:
    """The rows with one modality masked everywhere."""
    return replace(rows, masks={**rows.masks, modality: torch.zeros_like(rows.mask_of(modality))})


def shuffle(rows: Batch, modality: str, generator: torch.Generator) -> Batch:
    """The rows with one modality's values, and their mask, permuted between rows."""
    order = torch.randperm(len(rows), generator=generator).to(rows.inputs[modality].device)
    inputs = {**rows.inputs, modality: rows.inputs[modality][order]}
    masks = {name: mask[order] if name == modality else mask for name, mask in rows.masks.items()}
    return replace(rows, inputs=inputs, masks=masks)
