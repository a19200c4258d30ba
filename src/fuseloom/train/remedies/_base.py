"""The contract of a remedy, and a model in its care."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.tasks import Task
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies._passage import Moment, Passage
from fuseloom.train.remedies._processes import (
    Group,
    average_gradients,
    drawing_alike,
    share_state,
    sum_over,
)
from fuseloom.train.remedies._view import ModalityView, view_of
from fuseloom.types import Batch, Trace

__all__ = ["Course", "Need", "Remedied", "Remedy", "RemedyCard"]

Need = Literal["classes", "encoders", "equal widths", "training rows", "validation rows", "teachers"]
"""``classes``: a classification; ``encoders``: trained ones; ``equal widths``: of all modalities' features;
rows: to pass over between epochs; ``teachers``: encoders that were trained alone."""


@dataclass(frozen=True, kw_only=True)
class RemedyCard:
    """What a remedy claims about itself."""

    summary: str
    """One line, as in a table of methods."""
    touches: tuple[Literal["gradients", "loss", "features", "order", "outputs"], ...]
    """What it changes; ``order``: that of the updates; ``outputs``: also those of the trained model."""
    cost: str
    """What it adds to a training step."""
    needs: tuple[Need, ...] = ()
    """What it cannot do without."""
    arity: tuple[int, int | None] = (2, None)
    """Fewest and most modalities; ``None`` is no limit."""
    paper: str = ""
    """Source paper."""
    code: str = ""
    """Official code."""
    differs: str = ""
    """What our default does differently from the official code."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a remedy may use between epochs."""

    epoch: int
    """That begins, from 0."""
    num_steps: int
    """Batches of the epoch."""
    num_epochs: int | None = None
    """How many are planned."""
    train: Callable[[], Iterable[Batch]] | None = None
    """The training rows once, in batches."""
    valid: Callable[[], Iterable[Batch]] | None = None
    """The validation rows once, in batches."""
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None
    """An optimiser as the run's, for trials whose weights are put back."""


class Remedy(nn.Module, ABC):
    """A rule that changes how a model learns from its modalities.

    A subclass is final and registered under its file's name. What it learns are its parameters, what it
    keeps between steps its buffers, so that a checkpoint holds them. The model is given with each call.
    """

    kind: ClassVar[str] = "remedy"
    name: ClassVar[str] = ""
    card: ClassVar[RemedyCard]
    phases: tuple[str, ...] = ("",)
    """Each batch is stepped on once per phase."""
    group: Group | None = None
    """Processes that train the model together."""

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes that train together."""
        return sum_over(values, self.group)

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Build what depends on the model, once."""

    @abstractmethod
    def loss(self, seen: Passage) -> Tensor:
        """What to descend on for a batch, in one of the phases."""

    def before_step(self, view: ModalityView) -> None:
        """Change the encoders' gradients; they are those of the step, of all processes and unscaled."""

    def plan(self, course: Course) -> None:
        """Learn how long the run is, at the start of an epoch and where a run goes on in one."""

    def start_epoch(self, view: ModalityView, course: Course) -> None:
        """Look at rows, or try something out."""

    def end_epoch(self, view: ModalityView, course: Course) -> None:
        """Behind the last step of an epoch."""

    def release(self, view: ModalityView) -> None:
        """Take out of the trained model what only training needed, if anything was put there."""

    def predict(self, seen: Passage) -> Tensor:
        """Outputs ``[B, K]`` of the trained model; its own, unless the card says otherwise."""
        return seen.outputs


class Remedied(nn.Module):
    """A model in the care of a remedy.

    In a loop of one's own::

        remedied = Remedied(model, OGM(alpha=0.5), task)
        optimizer = torch.optim.AdamW(remedied.parameters())
        for epoch in range(epochs):
            remedied.start_epoch(Course(epoch=epoch, num_steps=len(loader)))
            for batch in loader:
                for phase in remedied.phases:  # one, unless the remedy changes the order of updates
                    remedied.loss(batch, phase).backward()
                    remedied.before_step()
                    optimizer.step()
                    optimizer.zero_grad()
            remedied.end_epoch()
        model = remedied.released()

    Gradients of several batches may accumulate before ``before_step``. Under automatic mixed precision call
    ``loss`` inside ``autocast``, tell it the scale of its gradients (``scale=scaler.get_scale()``, which
    ``mmpareto`` needs) and unscale them before ``before_step``. Nothing is hooked into the
    model; `finished` gives what predicts meanwhile: the model itself, wherever the remedy lets it be.

    Args:
        model: To train.
        remedy: Of one model only.
        task: Gives the loss.
        view: How the remedy sees the model; by default that of the `FusionModel` in it.
        group: Processes that train the model together, each on rows of its own: they begin with the first
            one's weights, and `before_step` averages the gradients over them, so do not wrap the model in
            ``DistributedDataParallel`` besides. Dropout is each process's own.

    Raises:
        ModalityError: the remedy cannot take so many modalities.
        OptionError: the model or the task lacks what the remedy needs.
    """

    def __init__(
        self,
        model: nn.Module,
        remedy: Remedy,
        task: Task,
        *,
        view: ModalityView | None = None,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        if any(isinstance(part, Remedied) for part in model.modules()):
            raise OptionError("model must have no remedy yet, got one that has. One remedy trains a model.")
        self.model, self.remedy, self.task, self.group = model, remedy, task, group
        self.view = view if view is not None else view_of(model)
        _check(remedy, self.view, task)
        with torch.random.fork_rng(devices=[]):
            remedy.prepare(self.view, task)
        _follow(remedy, next(model.parameters()))
        remedy.group = group
        if group is not None:
            share_state(self, group)
        self._course = Course(epoch=0, num_steps=1)
        self._step = 0

    @property
    def phases(self) -> tuple[str, ...]:
        """What to step on for each batch, in order."""
        return self.remedy.phases

    @property
    def reads(self) -> tuple[str, ...]:
        """What the model reads besides inputs and masks."""
        return tuple(getattr(self.model, "reads", ()))

    def loss(self, batch: Batch, phase: str = "", *, scale: float = 1.0) -> Tensor:
        """What to descend on; the next step of the epoch begins with the first phase.

        Args:
            batch: Rows with their target.
            phase: One of `phases`.
            scale: What the loss will be multiplied by before it is differentiated, and its gradients divided
                by again before `before_step`, as a gradient scaler does.
        """
        phase = phase or self.phases[0]
        moment = Moment(
            epoch=self._course.epoch,
            step=self._step,
            num_steps=self._course.num_steps,
            phase=phase,
            scale=scale,
        )
        loss = self.remedy.loss(Passage(self.view, batch, self.task, moment))
        self._step += phase == self.phases[-1]
        return loss

    def before_step(self) -> None:
        """What is to be done to gradients before each step of the optimiser."""
        if self.group is not None:
            average_gradients(self.parameters(), self.group)
        with self._agreed():
            self.remedy.before_step(self.view)

    def start_epoch(self, course: Course) -> None:
        """Begin an epoch."""
        self.resume_epoch(course, step=0)
        with self._agreed():
            self.remedy.start_epoch(self.view, course)

    def resume_epoch(self, course: Course, step: int) -> None:
        """Go on with an epoch that has begun in a run before; ``step`` is the next, from 0."""
        self._course, self._step = course, step
        self.remedy.plan(course)

    def end_epoch(self) -> None:
        """End the epoch that has begun."""
        with self._agreed():
            self.remedy.end_epoch(self.view, self._course)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
        **reads: Any,
    ) -> Tensor:
        """Outputs ``[B, K]`` as the remedy predicts."""
        if "outputs" not in self.remedy.card.touches:
            outputs: Tensor = self.model(inputs, masks, trace=trace, **reads)
            return outputs
        kept = {name: mask for name, mask in (masks or {}).items() if mask is not None}
        batch = Batch(inputs=dict(inputs), masks=kept, extras=_flat(reads))
        return self.remedy.predict(Passage(self.view, batch, self.task))

    def finished(self) -> nn.Module:
        """What predicts from now on: the model, or this where the remedy has a part in predictions."""
        return self if "outputs" in self.remedy.card.touches else self.model

    def released(self) -> nn.Module:
        """What `finished` gives, once training is over: without what only training needed."""
        self.remedy.release(self.view)
        return self.finished()

    def _agreed(self) -> AbstractContextManager[None]:
        """What is drawn inside changes weights, so that all processes must draw the same."""
        return drawing_alike(self.remedy.group, next(self.model.parameters()).device)


def _follow(remedy: Remedy, like: Tensor) -> None:
    """Parameters in the model's dtype, as heads on its features must be; buffers keep their precision."""
    remedy.to(like.device)
    for parameter in remedy.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(like.dtype)


def _flat(reads: Mapping[str, Any]) -> dict[str, Any]:
    """Extras of a batch that `Batch.reads` gives back so."""
    found: dict[str, Any] = {}
    for name, value in reads.items():
        parts = value if isinstance(value, Mapping) else {"": value}
        found |= {f"{name}.{key}" if key else name: part for key, part in parts.items()}
    return found


def _check(remedy: Remedy, view: ModalityView, task: Task) -> None:
    card, names, who = remedy.card, view.modalities, type(remedy).__name__
    least, most = card.arity
    if not least <= len(names) <= (most if most is not None else len(names)):
        wanted = f"{least} or more" if most is None else f"{least}" if least == most else f"{least} to {most}"
        raise ModalityError(f"{who} must have {wanted} modalities, got {list(names)}.")
    if "classes" in card.needs and not isinstance(task, Classification):
        raise OptionError(
            f"{who} must have one class per row to rate modalities by, got the task {task.name!r}. Remedies "
            "for any task: uniform_loss, gblend, mmpareto."
        )
    if "encoders" in card.needs and (idle := [name for name in names if not view.parameters(name)]):
        raise OptionError(
            f"{who} must have encoders to train, got none for {idle}. Give these modalities an encoder that "
            "is not frozen."
        )
