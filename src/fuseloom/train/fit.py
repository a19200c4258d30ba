"""A small, plain training loop for data that fit in memory: AdamW or SGD, early stopping, nothing hidden."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from fuseloom.errors import OptionError
from fuseloom.models.dense_systems import GridPredictor
from fuseloom.part import Staged
from fuseloom.tasks import Task
from fuseloom.train.augmentation import Augmentation
from fuseloom.train.flat import NoDecay, Share, flat_parameters
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies import Course, Remedied, Remedy
from fuseloom.train.schedule import FallFrom, Schedule, scheduled
from fuseloom.train.state import FitState, Progress, joined
from fuseloom.train.step import apply_model, training_step
from fuseloom.types import Batch, Selection

__all__ = [
    "AfterEpoch",
    "ClassWeight",
    "FitConfig",
    "FitResult",
    "Optimizer",
    "Select",
    "exact_outputs",
    "fit",
    "fitted_stages",
    "make_optimizer",
    "make_schedule",
    "one_thread",
    "predict_outputs",
    "seeded",
    "validated",
    "weighted_task",
]

Optimizer = Literal["adamw", "sgd"]
ClassWeight = Literal["none", "balanced"]
"""``balanced``: the loss weighs each class alike, whatever its share of the training rows."""
Select = Literal["loss", "metric"]
"""What says which epoch is the best, both of validation rows. ``loss``: the lowest. ``metric``: the best of
the task's default one, and of equal ones that of the lower loss."""
AfterEpoch = Callable[[nn.Module], object]
"""Looks at a model between two epochs; it must leave weights, gradients and modes as they are."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What a training run depends on besides model and data."""

    optimizer: Optimizer = "adamw"
    """What changes the weights: AdamW, or gradient descent with a momentum of 0.9."""
    lr: float = 1e-3
    """Learning rate, at its peak."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW: how much of the mean gradient, and of its mean square, stays from step to step."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Part of the model, such as ``head`` or ``encoders.image`` -> by what the rate is multiplied there."""
    schedule: Schedule = "constant"
    """What the learning rate does after the warm-up, step by step to the last epoch: stays, or falls to 0."""
    power: float = 0.9
    """Of the schedule ``poly``: with 1 it is a line, with less the rate stays high for longer."""
    fall_from: FallFrom = "peak"
    """Where a fall is counted from: the end of the warm-up, or the first step."""
    warmup: float = 0.0
    """Share of the planned steps over which the learning rate rises to its peak."""
    warmup_from: float | None = None
    """Share of the peak that the warm-up begins with; by default it rises by even steps from 0, which is no
    step's rate."""
    planned_epochs: int | None = None
    """Passes that the schedule is planned over, where a longer run is to go on from this one; by default
    ``max_epochs``."""
    clip_norm: float = 1.0
    """Norm that the gradients of a step are scaled down to; 0 leaves them as they are."""
    weight_decay: float = 0.01
    """Of AdamW; of gradient descent it is the classical one, added to the gradient."""
    no_decay: Mapping[str, NoDecay] = field(default_factory=dict)
    """Part of the model, where ``*`` stands for anything -> what in it weight decay leaves alone: ``norms``,
    ``vectors`` (norms, biases and whatever else has one axis), ``all`` or ``none``; the innermost part that
    is named says it."""
    batch_size: int | None = None
    """Rows per step; by default a sixth of the training rows, at least 32 and at most 512."""
    max_epochs: int = 100
    """Passes over the training rows at most."""
    select: Select = "loss"
    """What says which epoch is the best, whose weights are kept."""
    patience: int = 10
    """Epochs without a better one before the run stops."""
    sequential: bool = False
    """Whether the stages of a model (those of ``mro``, ``linear_logits``) are fitted one after another, each
    until patience ends, with a schedule of its own."""
    class_weight: ClassWeight = "none"
    """How the loss weighs classes."""
    modality_dropout: float = 0.0
    """Probability that training leaves a modality of a row out, as `drop_modalities` does."""
    augment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Modality of pictures or maps, or several that change together (``photo+depth``) -> transform of
    torchvision -> its options: how they change, row by row, while they are learnt from, as `Augmentation`
    does."""
    seed: int = 0
    """Of the weights, the order of rows and dropout."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                choices = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
                raise OptionError(f"{name} must be {choices}, got {value!r}.")
        _check_numbers(self)
        if wrong := [beta for beta in self.betas if not 0 <= beta < 1]:
            raise OptionError(f"betas must be in [0, 1), got {wrong[0]}.")
        if low := [f"{rate} for {part!r}" for part, rate in self.rates.items() if not rate > 0]:
            raise OptionError(f"rates must be positive, got {low[0]}.")
        for part, what in self.no_decay.items():
            if what not in get_args(NoDecay):
                raise OptionError(
                    f"no_decay must be one of {sorted(get_args(NoDecay))}, got {what!r} for {part!r}."
                )
        if self.planned_epochs is not None and self.planned_epochs < self.max_epochs:
            raise OptionError(
                f"planned_epochs must be max_epochs, {self.max_epochs}, or more, got {self.planned_epochs}."
            )

    def rows_per_step(self, num_rows: int) -> int:
        """The batch size for a number of training rows."""
        return self.batch_size if self.batch_size is not None else min(max(32, -(-num_rows // 6)), 512)


_AT_ONCE = 2**23
"""Numbers of inputs of the rows that are predicted at once: pictures of 1024 x 1024 pixels two by two."""
_MOMENTUM = 0.9
_CHOICES = {
    "class_weight": get_args(ClassWeight),
    "fall_from": get_args(FallFrom),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "select": get_args(Select),
}


def _check_numbers(config: FitConfig) -> None:
    if not 0 <= config.modality_dropout < 1:
        raise OptionError(f"modality_dropout must be in [0, 1), got {config.modality_dropout}.")
    for name in ("warmup", "warmup_from"):
        if (value := getattr(config, name)) is not None and not 0 <= value <= 1:
            raise OptionError(f"{name} must be in [0, 1], got {value}.")
    for name in ("weight_decay", "clip_norm"):
        if not (value := getattr(config, name)) >= 0:
            raise OptionError(f"{name} must not be negative, got {value}.")
    for name in ("lr", "max_epochs", "patience", "batch_size", "power"):
        if (value := getattr(config, name)) is not None and not value > 0:
            raise OptionError(f"{name} must be positive, got {value}.")


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A finished run; the model holds the weights of its best epoch."""

    valid_loss: float
    """Of the best epoch."""
    epochs: int
    train_s: float
    curve: tuple[tuple[float, float], ...]
    """Loss on training rows (while they were learnt from) and on validation rows, of each epoch."""
    scores: tuple[float, ...] = ()
    """Metric of validation rows of each epoch, where it says which epoch is the best."""

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """That of a run that ended so."""
        return cls(
            valid_loss=progress.best,
            epochs=progress.epoch,
            train_s=progress.train_s,
            curve=progress.curve,
            scores=progress.scores,
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with torch's global generator seeded, and give it back as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the worker processes do, so that numbers do not depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fit(  # noqa: PLR0913  a run, and what looks after it
    build: Callable[[], nn.Module],
    train: Batch | Selection,
    valid: Batch | Selection,
    task: Task,
    config: FitConfig,
    *,
    remedy: Remedy | None = None,
    state: Path | None = None,
    after_epoch: AfterEpoch | None = None,
) -> tuple[nn.Module, FitResult]:
    """Build and train a model; keep the weights of the epoch that is the best on validation rows.

    Args:
        build: Makes the model, with weights drawn from torch's global generator.
        train: All training rows; of a selection only those of a step are read at a time.
        valid: All validation rows.
        task: Gives the loss, and the metric where it says which epoch is the best.
        config: The run's settings; equal settings and data give equal weights.
        remedy: For a model that neglects modalities; it is that of one model.
        state: File that keeps where the run stands after its last epoch. One that is there is gone on from,
            which ends as a run that never stopped: so a search's short run is the beginning of a longer one.
        after_epoch: Called with the model as it stands after each epoch's validation, such as a
            `GradientRecorder`; of a run that goes on, after the epochs that it still has. The run's numbers
            are the same with and without it, but its time is the run's.

    Raises:
        OptionError: the model is to be fitted in stages and has none, or is to leave a state besides; or
            classes are to be balanced and the task has none.
        RunError: the state is damaged.
    """
    if config.sequential and state is not None:
        raise OptionError(
            "state must be None where sequential is True, got a file. Fit again from the start."
        )
    assert train.target is not None
    task = weighted_task(task, train.target, config.class_weight)
    with seeded(config.seed):
        model = build().to(train.device)
        learner = model if remedy is None else Remedied(model, remedy, task)
        stages = fitted_stages(model, config)
        runs = [
            _descend(learner, train, valid, task, config, state=state, after_epoch=after_epoch)
            for _ in stages
        ]
    model = learner.released() if isinstance(learner, Remedied) else model
    return model.eval(), FitResult.of(joined(runs))


def weighted_task(task: Task, target: Tensor, class_weight: ClassWeight) -> Task:
    """The task whose loss weighs classes so; by the encoded targets of training rows.

    Raises:
        OptionError: classes are to be balanced and the task has none.
    """
    return task.balanced(target.cpu().numpy()) if class_weight == "balanced" else task


def fitted_stages(model: nn.Module, config: FitConfig) -> Iterator[int]:
    """Focus the model on one stage after another, if the run is to; what has none is trained with the first.

    Raises:
        OptionError: the model is to be fitted in stages and has none.
    """
    if not config.sequential:
        yield 0
        return
    staged = next((part for part in model.modules() if isinstance(part, Staged)), None)
    if staged is None:
        raise OptionError("sequential must be False for a model without stages, got True. Fit mro so.")
    own = {id(parameter) for parameter in staged.parameters()}
    others = [value for value in model.parameters() if id(value) not in own and value.requires_grad]
    for stage in range(staged.num_stages):
        staged.focus(stage)
        for parameter in others:
            parameter.requires_grad_(stage == 0)
        yield stage
    staged.focus(None)
    for parameter in others:
        parameter.requires_grad_(True)


def _descend(
    model: nn.Module,
    train: Batch | Selection,
    valid: Batch | Selection,
    task: Task,
    config: FitConfig,
    *,
    state: Path | None,
    after_epoch: AfterEpoch | None,
) -> Progress:
    """Train what requires a gradient until patience ends."""
    progress, best_weights = Progress(), _copy(model)
    with flat_parameters(model, config.rates, config.no_decay) as parameters:
        optimizer = make_optimizer(parameters, config)
        if state is not None and state.is_file():
            progress, best_weights = _restore(FitState.load(state), model, optimizer)
        schedule = make_schedule(optimizer, config, len(train), epochs_done=progress.epoch)
        start = time.perf_counter() - progress.train_s
        while progress.epoch < config.max_epochs and progress.waited < config.patience:
            with _in_care(model, train, valid, config, epoch=progress.epoch):
                model.train()
                learnt = _run_epoch(model, train, task, schedule, config)
            outputs = torch.from_numpy(predict_outputs(model, valid)).to(valid.device)
            progress = validated(progress, learnt, outputs, valid, task, config, start=start)
            if progress.waited == 0:
                best_weights = _copy(model)
            if after_epoch is not None:
                with undisturbed():
                    after_epoch(model.finished() if isinstance(model, Remedied) else model)
        if state is not None:
            _standing(progress, model, best_weights, optimizer).save(state)
    model.load_state_dict(best_weights)
    return progress


@contextmanager
def _in_care(
    model: nn.Module, train: Batch | Selection, valid: Batch | Selection, config: FitConfig, *, epoch: int
) -> Iterator[None]:
    """An epoch of training, with what a remedy does before and behind it."""
    if not isinstance(model, Remedied):
        yield
        return
    size = config.rows_per_step(len(train))
    model.start_epoch(
        Course(
            epoch=epoch,
            num_steps=-(-len(train) // size),
            num_epochs=config.planned_epochs or config.max_epochs,
            train=partial(_mixed_parts, train, size, seed=(config.seed, epoch)),
            valid=partial(_parts, valid, size),
            optimizer=partial(make_optimizer, config=config),
        )
    )
    yield
    model.end_epoch()


def make_optimizer(
    parameters: Iterable[nn.Parameter] | Mapping[nn.Parameter, Share],
    config: FitConfig,
    *,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """AdamW, or gradient descent with momentum, as the run's settings say.

    Args:
        parameters: What it changes; or that -> what it has of learning rate and weight decay.
        config: The run's settings.
        fused: Whether it may be torch's fused one.
    """
    shares = parameters if isinstance(parameters, Mapping) else dict.fromkeys(parameters, Share())
    groups = [
        {
            "params": [one for one, own in shares.items() if own == share],
            "lr": share.rate * config.lr,
            "weight_decay": config.weight_decay if share.decays else 0.0,
        }
        for share in dict.fromkeys(shares.values())
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=_MOMENTUM, fused=fused)
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=fused
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, config: FitConfig, num_rows: int, *, epochs_done: int = 0
) -> LambdaLR:
    """Its learning rate over the steps of a run on so many training rows, as the run's settings say."""
    steps = -(-num_rows // config.rows_per_step(num_rows))
    planned = config.planned_epochs if config.planned_epochs is not None else config.max_epochs
    return scheduled(
        optimizer,
        steps=steps * planned,
        schedule=config.schedule,
        power=config.power,
        fall_from=config.fall_from,
        warmup=config.warmup,
        warmup_from=config.warmup_from,
        done=steps * epochs_done,
    )


def _standing(
    progress: Progress, model: nn.Module, best_weights: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> FitState:
    return FitState(
        progress=progress,
        weights=_copy(model),
        best_weights=best_weights,
        averages={
            f"{place}.{name}": value
            for place, parameter in enumerate(_optimized(optimizer))
            for name, value in optimizer.state[parameter].items()
        },
        generator=torch.get_rng_state(),
    )


def _restore(
    state: FitState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    model.load_state_dict(state.weights)
    for place, parameter in enumerate(_optimized(optimizer)):
        own = {name: value for name, value in state.averages.items() if name.startswith(f"{place}.")}
        optimizer.state[parameter] = {name.partition(".")[2]: value for name, value in own.items()}
    torch.set_rng_state(state.generator)
    return state.progress, dict(state.best_weights)


def _optimized(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _run_epoch(
    model: nn.Module,
    train: Batch | Selection,
    task: Task,
    schedule: LambdaLR,
    config: FitConfig,
) -> float:
    """Learn from every row once; gives the mean loss of the steps."""
    augment = Augmentation(config.augment)
    order = torch.randperm(len(train)).to(train.device)
    size, steps = config.rows_per_step(len(train)), []
    for start in range(0, len(order), size):
        loss = training_step(
            model,
            augment(train.take(order[start : start + size])),
            task,
            schedule.optimizer,
            clip_norm=config.clip_norm,
            modality_dropout=config.modality_dropout,
        )
        steps.append(loss)
        schedule.step()
    return float(torch.stack(steps).mean())


def validated(
    progress: Progress,
    learnt: float,
    outputs: Tensor,
    valid: Batch | Selection,
    task: Task,
    config: FitConfig,
    *,
    start: float,
) -> Progress:
    """How far a run has come with one more epoch.

    Args:
        progress: How far it had come.
        learnt: Loss of the epoch on training rows.
        outputs: Of the validation rows, ``[N, K]``, on any device.
        valid: All validation rows.
        task: Gives loss and metric.
        config: Says which of them counts.
        start: When the run would have begun had it never stopped, by `time.perf_counter`.
    """
    target = valid.target
    assert target is not None
    losses = learnt, float(task.loss(outputs, target.to(outputs.device)))
    if config.select == "loss":
        return progress.after(losses, time.perf_counter() - start)
    _, metric = task.metric(None)
    score = float("nan")
    if not np.isnan(losses[1]):  # or the model has diverged, and what it predicts says nothing
        score = float(metric.function(task.predict(outputs.cpu().numpy()), target.cpu().numpy()))
    seconds = time.perf_counter() - start
    return progress.after(losses, seconds, score=score, higher_is_better=metric.higher_is_better)


def predict_outputs(model: nn.Module, rows: Batch | Selection, *, batch_size: int = 512) -> NDArray[Any]:
    """Outputs ``[N, K]`` in evaluation mode, in the model's dtype; leaves the model as it was."""
    return _outputs(model, _parts(rows, batch_size))


def exact_outputs(model: nn.Module, rows: Batch | Selection, *, batch_size: int = 512) -> NDArray[Any]:
    """Outputs ``[N, K]`` computed in float64, for predictions that are kept or shown.

    In float32 the last digits of a row depend on which rows it is computed with, in what order and on how
    many threads; in float64 that is far below any digit that is stored. Of dense prediction labels are kept
    and no digits, so that its own dtype will do.
    """
    if isinstance(model, GridPredictor):
        return predict_outputs(model, rows, batch_size=batch_size)
    parts = (
        replace(part, inputs={n: v.double() if v.is_floating_point() else v for n, v in part.inputs.items()})
        for part in _parts(rows, batch_size)
    )
    return _outputs(copy.deepcopy(model).double(), parts)


def _parts(rows: Batch | Selection, size: int) -> Iterator[Batch]:
    """All rows in their order, so many at a time, or fewer of large ones."""
    one = rows.take(slice(0, 1))
    size = max(1, min(size, _AT_ONCE // max(1, sum(value[0].numel() for value in one.inputs.values()))))
    return (rows.take(slice(start, start + size)) for start in range(0, len(rows), size))


def _mixed_parts(rows: Batch | Selection, size: int, *, seed: tuple[int, int]) -> Iterator[Batch]:
    """All rows once in an order of their own, the same for the same seed; no other draw is disturbed."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows))).to(rows.device)
    return (rows.take(order[start : start + size]) for start in range(0, len(rows), size))


def _outputs(model: nn.Module, parts: Iterable[Batch]) -> NDArray[Any]:
    training = model.training
    model.eval()
    with torch.inference_mode():
        outputs = torch.cat([apply_model(model, part).cpu() for part in parts])
    model.train(training)
    return outputs.numpy()


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
