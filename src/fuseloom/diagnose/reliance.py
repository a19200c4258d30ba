"""How much a model leans on each modality: what is lost when one is hidden, shuffled or made noise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.diagnose.corruptions import (
    feature_draws,
    feature_moments,
    in_numbers,
    piece_noise,
    stream_kind,
    symbol_noise,
    whole_features,
)
from fuseloom.diagnose.resampling import interval_of, known_target, scored
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["Reliance", "hide", "reliance", "shuffle", "to_noise"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Reliance:
    """Loss of one model's score on held-out rows, per modality.

    A drop is in the units of the metric, positive where the score gets worse. Its interval is that of the
    paired bootstrap over rows, so it holds 0 where these rows do not tell that the modality is used.
    """

    model: str
    metric: str
    score: Interval
    hidden: dict[str, Interval]
    """Drop where the modality is masked in every row."""
    shuffled: dict[str, Interval]
    """Mean drop where its rows are permuted, over several permutations."""
    noise: dict[str, Interval]
    """Mean drop where its values are noise of the same mean and spread, over several draws."""


def reliance(
    predict: Callable[[Batch], Floats],
    rows: Batch,
    *,
    model: str,
    metric: tuple[str, Metric],
    num_draws: int = 5,
    resamples: int = 2000,
    seed: int = 0,
) -> Reliance:
    """Measure the drop of a score when each modality is hidden, shuffled between rows, or made noise.

    Hiding asks what the model can do without the modality; shuffling keeps its values plausible and
    breaks only their tie to the row, so it also counts what the model loses by trusting it. Noise breaks what
    holds within a row as well; where it costs more than shuffling, the model is misled by the implausible.

    Args:
        predict: Rows to predictions as the metric takes them; changes nothing.
        rows: Held-out rows with their target.
        model: Name for the result.
        metric: Name and metric.
        num_draws: Permutations, and draws of the noise, to average over.
        resamples: Of the bootstrap.
        seed: Of permutations, noise and bootstrap.

    Raises:
        DataError: the rows have no target.
    """
    name, score = metric
    guesses = (predict(one) for one in _changed(rows, num_draws, seed))
    drawn = scored(guesses, known_target(rows), score, resamples=resamples, seed=seed)
    lost = (drawn[0] - drawn[1:]).reshape(len(rows.inputs), 1 + 2 * num_draws, -1)
    ways = {
        "hidden": lost[:, 0],
        "shuffled": lost[:, 1 : 1 + num_draws].mean(1),
        "noise": lost[:, 1 + num_draws :].mean(1),
    }
    drops = {
        way: dict(zip(rows.inputs, map(interval_of, of_modalities), strict=True))
        for way, of_modalities in ways.items()
    }
    return Reliance(model=model, metric=name, score=interval_of(score.better(1.0) * drawn[0]), **drops)


def _changed(rows: Batch, num_draws: int, seed: int) -> Iterator[Batch]:
    """The rows, then for each modality: hidden, shuffled several times, made noise several times."""
    yield rows
    for modality in rows.inputs:
        generator = torch.Generator().manual_seed(seed)
        yield hide(rows, modality)
        for change in (shuffle, to_noise):
            for _ in range(num_draws):
                yield change(rows, modality, generator)


def hide(rows: Batch, modality: str) -> Batch:
    """The rows with one modality masked everywhere."""
    return replace(rows, masks={**rows.masks, modality: torch.zeros_like(rows.mask_of(modality))})


def shuffle(rows: Batch, modality: str, generator: torch.Generator) -> Batch:
    """The rows with one modality's values, and their mask, permuted between rows."""
    order = torch.randperm(len(rows), generator=generator).to(rows.inputs[modality].device)
    inputs = {**rows.inputs, modality: rows.inputs[modality][order]}
    masks = {name: mask[order] if name == modality else mask for name, mask in rows.masks.items()}
    return replace(rows, inputs=inputs, masks=masks)


def to_noise(rows: Batch, modality: str, generator: torch.Generator) -> Batch:
    """The rows with one modality's values replaced by noise; its mask stays.

    Numbers become normal with the mean and deviation of their feature (of a picture: of their channel) over
    all that is real; a feature of whole numbers alone is drawn from its own; symbols, such as bytes of text,
    are drawn from all real ones. A cell that a row of a table lacks, NaN, stays so.
    """
    mask = rows.mask_of(modality)
    value, back = in_numbers(rows.inputs[modality])
    if value.is_floating_point():
        mean, deviation = feature_moments(value, mask)
        noise = torch.randn(value.shape, generator=generator).to(value) * deviation + mean
        if (whole := whole_features(value, mask)).any():
            noise = torch.where(whole, feature_draws(value, mask, generator), noise)
        noise = noise.masked_fill(value.isnan(), torch.nan)
    else:
        everywhere = torch.ones(len(rows), device=value.device)
        drawn = piece_noise if stream_kind(value, mask) == "pieces" else symbol_noise
        noise, _ = drawn(value, mask, everywhere, generator)
    return replace(rows, inputs={**rows.inputs, modality: back(noise)})
