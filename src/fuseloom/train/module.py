"""The training step as Lightning's Trainer runs it."""

from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from fuseloom.tasks import Task
from fuseloom.train.augmentation import Augmentation
from fuseloom.train.feed import Feed, Piece
from fuseloom.train.fit import FitConfig, make_optimizer, make_schedule, weighted_task
from fuseloom.train.flat import flat_parameters
from fuseloom.train.step import clip_gradients, training_loss
from fuseloom.types import Batch, Selection

__all__ = ["FitModule"]


class FitModule(LightningModule):
    """A model that learns from rows in memory, by the step of `fit`.

    The losses of a trace leave in the step, so that none of them crosses a border between processes.

    Args:
        model: In training mode.
        train: All training rows.
        task: Gives the loss.
        config: The run's settings.
        pieces: Into how many pieces each process divides its rows of a step.
        fused: Whether the optimiser may be the fused one, which cannot undo a scaled loss before clipping.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Batch | Selection,
        task: Task,
        config: FitConfig,
        *,
        pieces: int = 1,
        fused: bool = True,
    ) -> None:
        super().__init__()
        assert train.target is not None
        self.model, self.config = model, config
        self.task = weighted_task(task, train.target, config.class_weight)
        self.augment = Augmentation(config.augment)
        self.train_rows, self.pieces, self.fused = train, pieces, fused
        self.piece_losses: list[Tensor] = []
        """Of the epoch so far, of this process."""
        self._flat = ExitStack()

    def train_dataloader(self) -> Feed:
        """Rows of an epoch, each process its own."""
        return Feed(
            self.train_rows,
            self.config.rows_per_step(len(self.train_rows)),
            mass=self._mass,
            pieces=self.pieces,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            agree=self.trainer.strategy.broadcast,
        )

    def transfer_batch_to_device(self, batch: Piece, device: torch.device, dataloader_idx: int) -> Piece:
        """The same piece on the device."""
        return Piece(rows=batch.rows.to(device), share=batch.share)

    def training_step(self, piece: Piece, batch_idx: int) -> Tensor:
        """Loss of one piece, as it counts."""
        dropped = self.config.modality_dropout
        rows = self.augment(piece.rows)
        loss = training_loss(self.model, rows, self.task, modality_dropout=dropped) * piece.share
        self.piece_losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """The optimiser of `fit`, over parameters laid end to end until the run ends, and its schedule."""
        config = self.config
        flat = flat_parameters(self.model, config.rates, config.no_decay)
        parameters = self._flat.enter_context(flat)
        optimizer = make_optimizer(parameters, self.config, fused=self.fused)
        schedule = make_schedule(optimizer, self.config, len(self.train_rows))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Zero in place: gradients are views, see `flat_parameters`."""
        super().zero_grad(set_to_none=False)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Zero in place, too."""
        optimizer.zero_grad(set_to_none=False)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *args: Any, **options: Any
    ) -> None:
        """Clip as the step of `fit` does."""
        clip_gradients(optimizer, clip_norm=self.config.clip_norm)

    def _mass(self, rows: Batch) -> float:
        """The weights of all errors of some rows; they are the same whatever the outputs."""
        assert rows.target is not None
        target = rows.target.cpu()
        errors, weights = self.task.errors(self.task.blank_outputs(target), target)
        of_errors = torch.ones_like(errors) if weights is None else weights
        of_rows = rows.extras.get("weight")
        if isinstance(of_rows, Tensor):
            of_errors = of_errors * of_rows.cpu().reshape(-1, *[1] * (errors.dim() - 1))
        return float(of_errors.double().sum())

    def teardown(self, stage: str) -> None:
        """Give every parameter its own storage back."""
        self._flat.close()
