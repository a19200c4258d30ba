"""Where a training run stands, so that it can go on as if it had never stopped."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fuseloom.errors import RunError
from fuseloom.train.files import write_whole

__all__ = ["FitState", "Progress", "joined"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Epochs finished."""
    waited: int = 0
    """Of these, how many since the best one."""
    best: float = float("inf")
    """Validation loss of the best epoch."""
    train_s: float = 0.0
    """Seconds so far."""
    curve: tuple[tuple[float, float], ...] = ()
    """Loss on training rows (while they were learnt from) and on validation rows, of each epoch."""
    scores: tuple[float, ...] = ()
    """Metric of validation rows of each epoch, where it says which epoch is the best."""

    def after(
        self,
        losses: tuple[float, float],
        train_s: float,
        *,
        score: float | None = None,
        higher_is_better: bool = True,
    ) -> Self:
        """One epoch on, with its two losses.

        Args:
            losses: As in the curve.
            train_s: Seconds so far.
            score: The metric that says whether the epoch is the best, of two that are equal the one of the
                lower validation loss; that loss alone by default. What is no number is never better.
            higher_is_better: Of that metric.
        """
        if score is None:
            better = losses[1] < self.best
        else:
            sign = 1 if higher_is_better else -1
            before = [(sign * old, -loss) for old, (_, loss) in zip(self.scores, self.curve, strict=True)]
            own = sign * score, -losses[1]
            better = not math.isnan(score) and all(own > old for old in before if not math.isnan(old[0]))
        return type(self)(
            epoch=self.epoch + 1,
            waited=0 if better else self.waited + 1,
            best=losses[1] if better else self.best,
            train_s=train_s,
            curve=(*self.curve, losses),
            scores=self.scores if score is None else (*self.scores, score),
        )


def joined(runs: Sequence[Progress]) -> Progress:
    """The runs of one model, one behind the other, as one; the best loss is that of the last.

    Example:
        >>> both = joined([Progress().after((0.5, 0.75), 1.0), Progress().after((0.25, 0.5), 2.0)])
        >>> both.epoch, both.best, both.train_s, both.curve
        (2, 0.5, 3.0, ((0.5, 0.75), (0.25, 0.5)))
    """
    return Progress(
        epoch=sum(run.epoch for run in runs),
        waited=runs[-1].waited,
        best=runs[-1].best,
        train_s=sum(run.train_s for run in runs),
        curve=tuple(losses for run in runs for losses in run.curve),
        scores=tuple(score for run in runs for score in run.scores),
    )


@dataclass(frozen=True, kw_only=True)
class FitState:
    """A run between two epochs: its weights, the optimiser's averages, the generator and its progress."""

    progress: Progress
    weights: Mapping[str, Tensor]
    best_weights: Mapping[str, Tensor]
    averages: Mapping[str, Tensor]
    """Of the optimiser, by group and name."""
    generator: Tensor
    """State of torch's global generator."""

    def save(self, path: Path) -> None:
        """Write one file; it is either whole or not there."""
        parts = {
            f"{group}/{name}": value.detach().contiguous().cpu()
            for group in ("weights", "best_weights", "averages")
            for name, value in getattr(self, group).items()
        }
        about = {"progress": json.dumps(asdict(self.progress))}
        write_whole(path, save(parts | {"generator": self.generator}, metadata=about))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RunError: the file is damaged or of another kind.
        """
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "best_weights": {}, "averages": {}}
        try:
            with safe_open(path, framework="pt") as file:
                told: dict[str, Any] = json.loads(file.metadata()["progress"])
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    group, _, name = key.partition("/")
                    if name:
                        parts[group][name] = file.get_tensor(key)
                generator = file.get_tensor("generator")
            told["curve"] = tuple((train, valid) for train, valid in told["curve"])
            told["scores"] = tuple(told.get("scores", ()))  # older states have none
            progress = Progress(**{field.name: told[field.name] for field in fields(Progress)})
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path.name} must be the state of a training run, got {error}.") from error
        return cls(progress=progress, generator=generator, **parts)
