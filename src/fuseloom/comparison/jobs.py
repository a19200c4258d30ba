"""One training run as a job: plain values in, a weights file and plain values out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from fuseloom.comparison.imbalance import ImbalanceRecorder
from fuseloom.comparison.measure import training_memory_mb
from fuseloom.data.mapping import mapped
from fuseloom.errors import RunError
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.models.dense_systems import GridPredictor
from fuseloom.registry import lookup
from fuseloom.tasks import Task
from fuseloom.train.files import write_whole
from fuseloom.train.fit import FitConfig, fit, seeded
from fuseloom.train.remedies import Remedied, build_trained, named_remedy, teachers_of
from fuseloom.train.state import FitState
from fuseloom.types import Batch, Selection

__all__ = [
    "Job",
    "Rows",
    "fold_key",
    "load_weights",
    "run_job",
    "start_model",
    "task_from_state",
    "task_state",
]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Encoded rows of all splits, and which is which."""

    all: Batch
    split: dict[str, torch.Tensor]
    """``train``, ``valid``, ``test`` -> row numbers."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Modality -> the NumPy file that its inputs are mapped from, where they are too large for the memory."""

    def take(self, split: str, modalities: tuple[str, ...]) -> Selection:
        """Rows of one split with some of the modalities; a mask without a hole is left out, to be fast."""
        rows = self.split[split]
        masks = {name: self.all.masks[name] for name in modalities}
        batch = Batch(
            inputs={name: self.all.inputs[name] for name in modalities},
            masks={name: mask for name, mask in masks.items() if not mask[rows].all()},
            target=self.all.target,
            extras=self.all.extras,
        )
        return Selection(batch=batch, rows=rows)

    def parts(self) -> dict[str, torch.Tensor]:
        """All tensors, under names that say what they are."""
        assert self.all.target is not None
        parts = {f"input.{name}": value for name, value in self.all.inputs.items()}
        extras = self.all.extras.items()
        parts |= {f"extra.{name}": value for name, value in extras if isinstance(value, torch.Tensor)}
        parts |= {f"mask.{name}": value for name, value in self.all.masks.items()}
        parts |= {f"split.{name}": value for name, value in self.split.items()}
        return parts | {"target": self.all.target}

    def save(self, path: Path) -> None:
        """Write the rows for the worker processes; of mapped ones only where their file is."""
        files = {f"input.{name}": str(file.resolve()) for name, file in self.files.items()}
        parts = {name: value.contiguous() for name, value in self.parts().items() if name not in files}
        save_file(parts, path, files)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Map what `save` wrote."""
        parts = load_file(path)
        with safe_open(path, "pt") as held:
            files = {
                name.removeprefix("input."): Path(file) for name, file in (held.metadata() or {}).items()
            }
        parts |= {f"input.{name}": torch.from_numpy(mapped(file)) for name, file in files.items()}

        def group(prefix: str) -> dict[str, torch.Tensor]:
            return {n.removeprefix(prefix): v for n, v in parts.items() if n.startswith(prefix)}

        rows = Batch(
            inputs=group("input."),
            masks=group("mask."),
            target=parts["target"],
            extras={**group("extra.")},
        )
        return cls(all=rows, split=group("split."), files=files)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    key: str
    model: ModelConfig
    fit: FitConfig
    weights: str
    """Path of the file to write."""
    fold: int = 0
    """Which fold's rows to train on."""
    measured: bool = False
    """Whether to measure the memory of one training step."""
    state_file: str | None = None
    """Where the run's state is kept, which another job of the same run goes on from."""
    start: Mapping[str, str] = field(default_factory=dict)
    """Modality -> weights of a finished model whose encoder of it this one starts with."""
    teachers: Mapping[str, str] = field(default_factory=dict)
    """Modality -> weights of a finished model whose encoder of it a remedy learns from."""
    watched: bool = False
    """Whether to note how attention divides between modalities, epoch by epoch."""

    def state(self) -> dict[str, Any]:
        """Plain JSON values that `from_state` takes."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore from `state`."""
        model, fit_config = ModelConfig.from_state(state["model"]), FitConfig(**state["fit"])
        return cls(**{**state, "model": model, "fit": fit_config})


def run_job(job: Job, rows: Rows, task: Task) -> dict[str, Any]:
    """Train, write the weights, and say how it went; the same numbers in any process."""
    modalities = tuple(job.model.encoders)
    train = rows.take("train", modalities)
    valid = rows.take("valid", modalities)
    watch = ImbalanceRecorder(valid) if job.watched else None
    model, result = fit(
        lambda: start_model(job, task),
        train,
        valid,
        task,
        job.fit,
        remedy=named_remedy(job.model, _teachers(job, task)),
        state=_usable_state(job),
        after_epoch=watch,
    )
    step = train.take(slice(0, job.fit.rows_per_step(len(train))))
    memory_mb = training_memory_mb(model, step, task) if job.measured else None
    path = Path(job.weights)
    write_whole(path, save({name: value.contiguous().cpu() for name, value in model.state_dict().items()}))
    return asdict(result) | {
        "valid_loss": _known(result.valid_loss),
        "curve": [[_known(loss) for loss in losses] for losses in result.curve],
        "memory_mb": memory_mb,
        "weights": path.name,
        "imbalance": [] if watch is None else [_known(rate) for rate in watch.rates],
    }


def start_model(job: Job, task: Task) -> FusionModel:
    """The model before its first step; with encoders of finished models, where the job says so."""
    model = build_model(job.model, task)
    for name, path in job.start.items():
        _load_encoder(model, name, path)
    return model


def _load_encoder(model: FusionModel, name: str, path: str) -> None:
    inside = f"encoders.{name}."
    weights = {k.removeprefix(inside): v for k, v in load_file(path).items() if k.startswith(inside)}
    model.encoders[name].load_state_dict(weights)


def _teachers(job: Job, task: Task) -> dict[str, nn.Module]:
    if not job.teachers:
        return {}
    with seeded(0):  # the weights that are drawn are all replaced
        model = build_model(job.model, task)
    for name, path in job.teachers.items():
        _load_encoder(model, name, path)
    return teachers_of(model)


def _usable_state(job: Job) -> Path | None:
    """The file of the run's state; one that is damaged, or beyond the job's end, is removed."""
    if job.state_file is None:
        return None
    path = Path(job.state_file)
    try:
        if path.is_file() and FitState.load(path).progress.epoch > job.fit.max_epochs:
            path.unlink()
    except RunError:
        path.unlink()
    return path


def _known(loss: float) -> float | None:
    return float(f"{loss:.9g}") if np.isfinite(loss) else None


def fold_key(key: str, fold: int) -> str:
    """What a piece of work is called in the journal; the first fold may be the only one."""
    return key if fold == 0 else f"{key}, fold {fold}"


def load_weights(config: ModelConfig, path: Path, task: Task) -> FusionModel | Remedied:
    """The model of a finished job, in evaluation mode; with its remedy, where that predicts too."""
    model = build_trained(config, task)
    assert not isinstance(model, GridPredictor), "no comparison is of tasks on a grid"
    model.load_state_dict(load_file(path))
    return model.eval()


def task_state(task: Task) -> dict[str, Any]:
    """A task as plain JSON values."""
    return {"name": task.name, **task.state()}


def task_from_state(state: Mapping[str, Any]) -> Task:
    """Restore from `task_state`."""
    task: Task = lookup(state["name"], kind="task").from_state(state)
    return task
