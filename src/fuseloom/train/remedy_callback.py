"""Remedies in Lightning: one callback."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from math import isinf
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import MissingExtraError, OptionError
from fuseloom.tasks import Task
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies import Course, ModalityView, Remedied, Remedy, view_of
from fuseloom.train.remedies._processes import average_gradients
from fuseloom.types import Batch

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
except ImportError:
    raise MissingExtraError(
        "RemedyCallback needs Lightning. Run: pip install 'fuseloom[workbench]'"
    ) from None

from fuseloom.train.rolling_callback import all_processes

__all__ = ["RemedyCallback"]

_NAME = "remedy_in_care"
"""Of the remedy among the module's parts, and in its checkpoints."""


class RemedyCallback(Callback):
    """Trains a module in the care of a remedy, without a change to the module.

    While a run lasts, the remedy's loss stands in for ``training_step`` and the remedy is part of the module:
    ``configure_optimizers`` meets its parameters, and checkpoints hold them. So a checkpoint is loaded by a
    trainer with this callback. Behind a run or an error the module is as it was, but for its weights; of
    ``rolling_query`` it keeps the rotation, until ``remedied.released()``.

    Several processes (``strategy="ddp"``) work as in Lightning. Validation stands before the end of a
    training epoch, and so before what the remedy does there. Gradients are changed before they are clipped.

    Args:
        remedy: Of one module only.
        task: Gives the loss.
        batch: From the module and a batch of its training or validation data to rows with their target.
        view: How the remedy sees the module; by default the `FusionModel` in it.

    Raises:
        ModalityError: the remedy cannot take so many modalities.
        OptionError: the module or the task lacks what the remedy needs; when training starts, an epoch
            without an end, or a way of training that the remedy cannot be part of.

    Example:
        >>> from fuseloom import create_remedy
        >>> from fuseloom.tasks.classification import Classification
        >>> callback = RemedyCallback(
        ...     create_remedy("ogm"),
        ...     Classification(["no", "yes"]),
        ...     batch=lambda module, batch: Batch(inputs={"a": batch[0], "b": batch[1]}, target=batch[2]),
        ... )
        >>> callback.remedy.name
        'ogm'
    """

    def __init__(
        self,
        remedy: Remedy,
        task: Task,
        *,
        batch: Callable[[Any, Any], Batch],
        view: Callable[[Any], ModalityView] = view_of,
    ) -> None:
        self.remedy, self.task, self.batch, self.view = remedy, task, batch, view
        self._remedied: Remedied | None = None
        self._own_step: Any = None

    @property
    def remedied(self) -> Remedied:
        """The module in the remedy's care; ``released()`` of it is what predicts once training is over.

        Raises:
            OptionError: no trainer has begun yet.
        """
        if self._remedied is None:
            raise OptionError("A trainer must have begun, got none. Read it behind trainer.fit.")
        return self._remedied

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Make the remedy a part of the module before there is an optimiser and before weights are loaded."""
        if self._remedied is None:
            self._remedied = Remedied(module, self.remedy, self.task, view=self.view(module))
        if self._remedied.model is not module:
            raise OptionError(
                "module must be the one that the remedy was prepared for, got another. Make a callback and a "
                "remedy for each."
            )
        if module._modules.get(_NAME, self.remedy) is not self.remedy:
            raise OptionError("callbacks must hold one RemedyCallback, got two. One remedy trains a model.")
        module.add_module(_NAME, self.remedy)
        self.remedy.group = all_processes(trainer) if stage == "fit" else None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the remedy's loss in the place of the module's."""
        _check(trainer, module, self.remedied)
        self._own_step = vars(module).get("training_step")

        def training_step(batch: Any, batch_idx: int) -> Tensor:
            scaler = _scaler(trainer)
            scale = scaler.get_scale() if scaler is not None else 1.0
            return self.remedied.loss(self.batch(module, batch), self.remedied.phases[-1], scale=scale)

        vars(module)["training_step"] = training_step

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch."""
        self.remedied.start_epoch(self._course(trainer, module))

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Step on all phases but the last, which is the trainer's."""
        self.remedied.resume_epoch(self._course(trainer, module), batch_idx)
        if first := self.remedied.phases[:-1]:
            rows = self.batch(module, batch)
            for phase in first:
                self._step(trainer, module, rows, phase)

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Change gradients; they are those of all processes and unscaled."""
        self.remedied.before_step()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """End an epoch."""
        self.remedied.end_epoch()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Leave the module as it was."""
        self._leave(module)

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        self._leave(module)

    def _leave(self, module: LightningModule) -> None:
        module._modules.pop(_NAME, None)
        own = vars(module)
        own.pop("training_step", None)
        if self._own_step is not None:
            own["training_step"] = self._own_step
        self.remedy.group = None

    def _step(self, trainer: Trainer, module: LightningModule, rows: Batch, phase: str) -> None:
        (optimizer,) = trainer.optimizers
        with trainer.precision_plugin.train_step_context():
            loss = self.remedied.loss(rows, phase)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.remedy.group is not None:
            average_gradients(module.parameters(), self.remedy.group)
        self.remedied.before_step()
        module.configure_gradient_clipping(
            optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        )
        optimizer.step()

    def _course(self, trainer: Trainer, module: LightningModule) -> Course:
        train, counts = trainer.train_dataloader, [trainer.num_training_batches]
        valid = trainer.val_dataloaders
        rows = partial(self._rows, trainer, module)
        return Course(
            epoch=trainer.current_epoch,
            num_steps=int(trainer.num_training_batches),
            num_epochs=trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None,
            train=partial(rows, [train], counts),
            valid=partial(rows, _several(valid), trainer.num_val_batches) if valid is not None else None,
            optimizer=partial(_like, trainer.optimizers[0]),
        )

    def _rows(
        self, trainer: Trainer, module: LightningModule, loaders: list[Any], counts: list[float]
    ) -> Iterator[Batch]:
        """All rows once; what loaders draw for it, such as an order, is not missed by training."""
        with undisturbed():
            for loader, count in zip(loaders, counts, strict=True):
                for batch in islice(loader, int(count)):
                    yield self.batch(module, trainer.strategy.batch_to_device(batch))


def _several(loaders: Any) -> list[Any]:
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _like(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimiser with the settings of another."""
    known = inspect.signature(type(optimizer)).parameters.keys() - {"params"}
    settings = {name: value for name, value in optimizer.param_groups[0].items() if name in known}
    return type(optimizer)(parameters, **settings)


def _scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)


def _check(trainer: Trainer, module: LightningModule, remedied: Remedied) -> None:
    """Refuse a way of training that the remedy cannot be part of."""
    if isinf(trainer.num_training_batches):
        raise OptionError(
            "An epoch must have a last batch, got data without a length. Set limit_train_batches."
        )
    if not module.automatic_optimization or len(trainer.optimizers) != 1:
        raise OptionError(
            f"module must be optimised automatically by one optimiser, got {len(trainer.optimizers)} with "
            f"automatic_optimization={module.automatic_optimization}. Use Remedied in a loop of your own."
        )
    scaled = _scaler(trainer) is not None
    if scaled and getattr(trainer.optimizers[0], "_step_supports_amp_scaling", False):
        raise OptionError(
            "optimizer must not be fused with precision '16-mixed', got one whose gradients stay scaled. Use "
            "fused=False or precision='bf16-mixed'."
        )
    if len(remedied.phases) > 1:
        _check_phases(trainer, remedied, scaled=scaled)


def _check_phases(trainer: Trainer, remedied: Remedied, *, scaled: bool) -> None:
    who = f"{type(remedied.remedy).__name__}, which steps {len(remedied.phases)} times on a batch"
    if scaled:
        raise OptionError(f"precision must not be '16-mixed' with {who}, got it. Use precision='bf16-mixed'.")
    if trainer.accumulate_grad_batches > 1:
        raise OptionError(
            f"accumulate_grad_batches must be 1 with {who}, got {trainer.accumulate_grad_batches}. Use "
            "larger batches."
        )
