"""One pass of a batch through a model, of which each part is computed when a remedy asks for it, once."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from fuseloom.tasks import Task
from fuseloom.train.generators import drawing_state, replayed
from fuseloom.train.outcome import outcome_loss
from fuseloom.train.remedies._view import Encoded, ModalityView
from fuseloom.types import Batch, Trace

__all__ = ["Moment", "Passage"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in training a batch is met; all numbers are from 0."""

    epoch: int = 0
    step: int = 0
    """Of the epoch."""
    num_steps: int = 1
    """How many the epoch has."""
    phase: str = ""
    """One of the remedy's phases."""
    scale: float = 1.0
    """What the loss will be multiplied by, and its gradients divided by again, as with float16."""


class Passage:
    """A batch on its way through a model, and its losses.

    Args:
        view: Of the model.
        batch: Rows with their target.
        task: Gives the loss.
        moment: When.
    """

    def __init__(self, view: ModalityView, batch: Batch, task: Task, moment: Moment | None = None) -> None:
        self.view, self.batch, self.task = view, batch, task
        self.moment = moment if moment is not None else Moment()
        self.encoded: Encoded = view.encode(batch)
        self._state = drawing_state(batch.device)
        self._outputs: dict[tuple[frozenset[str], bool], Tensor] = {}
        self._trace = Trace(keep_records=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in order."""
        return self.view.modalities

    @property
    def target(self) -> Tensor:
        """Encoded targets."""
        assert self.batch.target is not None
        return self.batch.target

    @property
    def weight(self) -> Tensor | None:
        """Of the rows ``[B]``, where they have one."""
        weight = self.batch.extras.get("weight")
        return weight if isinstance(weight, Tensor) else None

    @property
    def outputs(self) -> Tensor:
        """Of the whole model, ``[B, K]``."""
        return self.outputs_of(self.modalities)

    @property
    def loss(self) -> Tensor:
        """What the model is trained with without a remedy."""
        return outcome_loss(self.outputs, self.batch, self.task, self._trace)

    def loss_of(self, outputs: Tensor) -> Tensor:
        """The task's loss of other outputs ``[B, K]`` of the same rows."""
        return self.task.loss(outputs, self.target, self.weight)

    def features(self, modality: str) -> Tensor:
        """One vector per row, ``[B, D]``."""
        return self.encoded.features(modality)

    def present(self, modality: str) -> Tensor:
        """Which rows have the modality, ``[B]``."""
        return self.encoded.present(modality)

    def outputs_of(self, modalities: Collection[str]) -> Tensor:
        """Outputs ``[B, K]`` with these modalities only, none of which is encoded again.

        Dropout behind the encoders draws the same for all of them, so that they differ by modalities alone.
        """
        key = frozenset(modalities), torch.is_grad_enabled()
        if key not in self._outputs:
            left_out = [name for name in self.modalities if name not in key[0]]
            given = self.view.without(self.encoded, left_out) if left_out else self.encoded
            if left_out:
                with replayed(self._state):
                    self._outputs[key] = self.view.fuse(given, Trace(keep_records=False))
            else:
                self._outputs[key] = self._whole()
        return self._outputs[key]

    def split(self) -> dict[str, Tensor]:
        """Modality -> its own outputs ``[B, K]``: what it gives alone, and its share of what nothing gives.

        Where outputs are affine in the features, as behind ``concat``, they add up to those of the model:
        ``W_m f_m + b / M``.
        """
        nothing = self.outputs_of(()) * (1 - 1 / len(self.modalities))
        return {name: self.outputs_of([name]) - nothing for name in self.modalities}

    def _whole(self) -> Tensor:
        known = self._outputs.get((frozenset(self.modalities), True))
        if known is not None:  # asked for without gradients: what is there serves
            return known.detach()
        self._trace = Trace(keep_records=False)
        # Its draws are those of a step without a remedy, unless the remedy drew something before.
        unmoved = drawing_state(self._state[0])[1].equal(self._state[1])
        with replayed(self._state, advance=unmoved):
            return self.view.fuse(self.encoded, self._trace)
