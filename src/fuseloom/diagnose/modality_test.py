"""Whether a modality is needed: is what a model gains by it more than chance gives?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.diagnose.reliance import shuffle
from fuseloom.diagnose.resampling import known_target, resampled_scores
from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.metrics.correction import holm
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Metric
from fuseloom.types import Batch

__all__ = ["Gain", "ModalityTest", "modality_test"]

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

_NOTHING: Mapping[str, Floats] = {}
_NUM_RESAMPLED = 5
"""Permutations that are scored on resamples of the rows: that is the dear part, and more change little."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a score gains by something, in the units of the metric, positive where it gets better."""

    gain: Interval
    """Interval by paired bootstrap over rows."""
    p: float
    """One-sided, of no gain."""
    p_holm: float
    """Corrected for the number of modalities tested in the same way."""


@dataclass(frozen=True, kw_only=True)
class ModalityTest:
    """Two tests of each modality of one model on held-out rows."""

    model: str
    metric: str
    score: float
    over_without: dict[str, Gain]
    """Modality -> gain over a model that was trained without it. Not significant: these rows do not show that
    it is needed. p is the share of resamples without a gain."""
    over_permuted: dict[str, Gain]
    """Modality -> gain over the same model where the modality's rows are permuted. Not significant: these
    rows do not show that the model uses it. p is the share of permutations that score as well."""


def modality_test(
    predict: Callable[[Batch], Floats],
    rows: Batch,
    *,
    model: str,
    metric: tuple[str, Metric],
    without: Mapping[str, Floats] = _NOTHING,
    permutations: int = 200,
    seed: int = 0,
) -> ModalityTest:
    """Test whether a model gains by each modality, over a model without it and over permuted rows of it.

    The two may differ: a modality that says what another says too is used, and can be left out. Neither knows
    how much a model changes when it is trained again; `fuseloom compare` does.

    Args:
        predict: Rows to predictions as the metric takes them; changes nothing. It is called once for each
            permutation of each modality.
        rows: Held-out rows with their target.
        model: Name for the result.
        metric: Name and metric.
        without: Modality -> predictions on the same rows of a model that was trained without it.
        permutations: Of the rows of each modality. The smallest p-value is 1 / (1 + permutations).
        seed: Of the permutations and of the bootstrap.

    Raises:
        DataError: there is no target.
        ModalityError: ``without`` names a modality that the rows do not have.
        OptionError: no permutations.

    Example:
        >>> from fuseloom.tasks.regression import Regression
        >>> generator = torch.Generator().manual_seed(0)
        >>> used, idle = torch.randn(2, 100, 1, generator=generator, dtype=torch.float64)
        >>> rows = Batch(inputs={"used": used, "idle": idle}, target=used[:, 0])
        >>> predict = lambda batch: batch.inputs["used"][:, 0].numpy()
        >>> found = modality_test(predict, rows, model="copy", metric=("r2", Regression.metrics["r2"]))
        >>> {name: round(one.p_holm, 2) for name, one in found.over_permuted.items()}
        {'used': 0.01, 'idle': 1.0}
    """
    if permutations < 1:
        raise OptionError(f"permutations must be at least 1, got {permutations}.")
    target = known_target(rows)
    if unknown := sorted(without.keys() - rows.inputs.keys()):
        hint = did_you_mean(unknown[0], rows.inputs)
        raise ModalityError(f"without must name modalities of the rows, got {unknown[0]!r}.{hint}")
    name, score = metric
    test = _Test(full=predict(rows), target=target, metric=score, seed=seed)
    permuted = {}
    for modality in rows.inputs:
        generator = torch.Generator().manual_seed(seed)
        moved = (predict(shuffle(rows, modality, generator)) for _ in range(permutations))
        permuted[modality] = test.over_permuted(list(moved))
    return ModalityTest(
        model=model,
        metric=name,
        score=score.function(test.full, test.target),
        over_without=_corrected({modality: test.over(guess) for modality, guess in without.items()}),
        over_permuted=_corrected(permuted),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Test:
    """A model's predictions, and what they are tested against."""

    full: Floats
    target: NDArray[Any]
    metric: Metric
    seed: int

    def over(self, other: Floats) -> tuple[Interval, float]:
        """Gain over other predictions, and the share of resamples without one."""
        drawn = self._drawn([other])
        gain = self._score(self.full) - self._score(other)
        none = int((~(drawn > 0)).sum())  # an undefined one speaks for no gain
        return Interval.from_resamples(gain, drawn), (1 + none) / (1 + len(drawn))

    def over_permuted(self, permuted: list[Floats]) -> tuple[Interval, float]:
        """Mean gain over predictions of permuted rows, and the share of them that score as well."""
        gains = self._score(self.full) - np.array([self._score(one) for one in permuted])
        shift = gains.mean() - gains[:_NUM_RESAMPLED].mean()
        drawn = self._drawn(permuted[:_NUM_RESAMPLED]) + shift
        none = int((~(gains > 0)).sum())
        return Interval.from_resamples(float(gains.mean()), drawn), (1 + none) / (1 + len(gains))

    def _score(self, predictions: Floats) -> float:
        return self.metric.better(self.metric.function(predictions, self.target))

    def _drawn(self, others: list[Floats]) -> Doubles:
        """Mean gain over others on resamples of the rows ``[R]``."""
        scores = resampled_scores([self.full, *others], self.target, self.metric, seed=self.seed)
        gains: Doubles = (scores[0] - scores[1:]).mean(0)
        return gains


def _corrected(found: Mapping[str, tuple[Interval, float]]) -> dict[str, Gain]:
    adjusted = holm([p for _, p in found.values()])
    return {
        modality: Gain(gain=gain, p=p, p_holm=p_holm)
        for (modality, (gain, p)), p_holm in zip(found.items(), adjusted, strict=True)
    }
