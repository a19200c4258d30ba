"""A finished run of a comparison once more, to look at its gradients after its epochs."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from torch import nn

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.insight import best_epoch
from fuseloom.comparison.jobs import Job, load_weights, start_model
from fuseloom.comparison.prepare import Prepared
from fuseloom.comparison.standing import PART_SIZE, drawn_rows, gradients_as_it_stands
from fuseloom.comparison.training import Trained
from fuseloom.diagnose.gradients import GradientCourse, GradientRecorder
from fuseloom.tasks import Task
from fuseloom.train.fit import AfterEpoch, fit, weighted_task
from fuseloom.types import Selection

__all__ = ["LONGEST_S", "gradients_over_training"]

LONGEST_S = 120.0
"""Seconds that a run may have taken to be repeated."""
_MOST_EPOCHS = 12


def gradients_over_training(
    name: str, trained: Mapping[str, Trained], ready: Prepared, config: CompareConfig
) -> GradientCourse:
    """Gradients on training rows after about 12 epochs of a model's best run on the first fold.

    The run is repeated with the same settings and seed, which gives the same weights but for rounding (a
    matrix product may round differently where its operands lie elsewhere in memory); where it does not, as
    on another machine than that of the run, the note says so. A run that took longer than two minutes is not
    repeated: then its end is looked at.

    Args:
        name: Of the model.
        trained: Model name -> its runs, also those of each modality alone.
        ready: The first fold.
        config: The comparison's settings.

    Raises:
        OptionError: the model has no encoders by modality.
    """
    run = trained[name]
    seed = int(np.argmin(run.valid_loss[0]))
    job = _repeated(run, seed, trained, config)
    rows = ready.rows.take("train", run.candidate.modalities)
    if (took := run.train_s[seed]) > LONGEST_S:
        return _end_of(job, rows, ready, took_s=took)
    return _course(job, rows, ready, losses=[valid for _, valid in run.curves[0][seed]])


def _repeated(run: Trained, seed: int, trained: Mapping[str, Trained], config: CompareConfig) -> Job:
    """The job of a run on the first fold; with the encoders that it started from, if it did."""
    starts = {}
    if run.candidate.encoders != "joint":
        alone = [one for one in trained.values() if one.candidate.role == "unimodal"]
        starts = {one.candidate.name: str(one.weights[0][seed]) for one in alone}
    return Job(
        key=run.candidate.name,
        model=run.candidate.model,
        fit=config.fit(run.learning_rate, seed),
        weights=str(run.weights[0][seed]),
        start=starts,
    )


def _end_of(job: Job, rows: Selection, ready: Prepared, *, took_s: float) -> GradientCourse:
    return gradients_as_it_stands(
        load_weights(job.model, Path(job.weights), ready.task),
        drawn_rows(rows),
        _task(job, rows, ready),
        name=job.key,
        learnt_from=True,
        note=f"The training took {took_s:.0f} s, more than the {LONGEST_S:.0f} s for which it is repeated to "
        "see its epochs: this is its end.",
    )


def _course(job: Job, rows: Selection, ready: Prepared, *, losses: Sequence[float]) -> GradientCourse:
    recorder = GradientRecorder(drawn_rows(rows), _task(job, rows, ready), model=job.key, part_size=PART_SIZE)
    kept = best_epoch(losses)
    epochs = _spread(len(losses), kept)
    model, result = fit(
        partial(start_model, job, ready.task),
        rows,
        ready.rows.take("valid", tuple(job.model.encoders)),
        ready.task,
        job.fit,
        after_epoch=_at(epochs, recorder),
    )
    return GradientCourse(
        model=job.key,
        learnt_from=True,
        epochs=tuple(epoch for epoch in epochs if epoch <= result.epochs),
        kept=kept or None,
        gradients=tuple(recorder.history),
        note="" if _same(model, load_weights(job.model, Path(job.weights), ready.task)) else _ANOTHER,
    )


_ANOTHER = (
    "Repeated here, the training gave other weights than the saved ones, as it may on another machine: these "
    "are the gradients of the repeated one."
)


def _task(job: Job, rows: Selection, ready: Prepared) -> Task:
    assert rows.target is not None
    return weighted_task(ready.task, rows.target, job.fit.class_weight)


def _spread(last: int, kept: int) -> list[int]:
    """Epochs to look after: the first, the last, the one that was kept, and evenly between them."""
    even = np.linspace(1, last, min(last, _MOST_EPOCHS)).round().astype(int).tolist()
    return sorted({*even, kept} - {0})


def _at(epochs: Sequence[int], look: AfterEpoch) -> AfterEpoch:
    """The same look, after some epochs only."""
    number = count(1)
    return lambda model: look(model) if next(number) in epochs else None


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether the weights are the same but for rounding."""
    values = other.state_dict()
    return all(value.allclose(values[name], rtol=1e-3, atol=1e-4) for name, value in one.state_dict().items())
