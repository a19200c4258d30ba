"""What happens around the steps of Lightning's Trainer: validation, generators and checkpoints."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor

from fuseloom.train.fit import AfterEpoch, predict_outputs, validated
from fuseloom.train.generators import generator_states, restore_generators, undisturbed
from fuseloom.train.module import FitModule
from fuseloom.train.state import Progress, joined
from fuseloom.types import Batch, Selection

__all__ = ["BestWeights", "Checkpoints", "Generators", "Looks"]

_ROWS_AT_ONCE = 512


class BestWeights(Callback):
    """Validates at the end of each epoch, keeps the best weights and stops when patience ends, like `fit`.

    Args:
        valid: All validation rows; each process predicts its share of them.
        tell: Called by the first process after each epoch.
        before: The run of the stages before this one, where there are several.
    """

    def __init__(
        self,
        valid: Batch | Selection,
        *,
        tell: Callable[[Progress], None],
        before: Progress | None = None,
    ) -> None:
        self.valid, self.tell = valid, tell
        self.before = before if before is not None else Progress()
        self.progress = Progress()
        self.weights: dict[str, Tensor] = {}
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock; a run that was over is not gone on with."""
        assert isinstance(module, FitModule)
        self._start = time.perf_counter() - self.progress.train_s
        self.weights = self.weights if self.progress.epoch else _copy(module)
        trainer.should_stop = self._is_over(module)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Validate, remember, and see whether to stop."""
        assert isinstance(module, FitModule)
        learnt = trainer.strategy.reduce(torch.stack(module.piece_losses).mean(), reduce_op="mean")
        assert isinstance(learnt, Tensor)
        module.piece_losses.clear()
        self.progress = validated(
            self.progress,
            float(learnt),
            self._outputs(trainer, module),
            self.valid,
            module.task,
            module.config,
            start=self._start,
        )
        if self.progress.waited == 0:
            self.weights = _copy(module)
        whole = joined([self.before, self.progress])
        names = ("train_loss", "valid_loss", *(("valid_score",) if self.progress.scores else ()))
        numbers = dict(zip(names, (*self.progress.curve[-1], *self.progress.scores[-1:]), strict=True))
        for logger in trainer.loggers:
            logger.log_metrics(numbers, whole.epoch)
        trainer.should_stop = trainer.should_stop or self._is_over(module)
        if trainer.is_global_zero:
            self.tell(whole)

    def state_dict(self) -> dict[str, Any]:
        """How far the run has come, and its best weights."""
        return {"progress": asdict(self.progress), "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.progress, self.weights = Progress(**state_dict["progress"]), state_dict["weights"]

    def _is_over(self, module: FitModule) -> bool:
        return self.progress.waited >= module.config.patience

    def _outputs(self, trainer: Trainer, module: FitModule) -> Tensor:
        places = range(0, len(self.valid), _ROWS_AT_ONCE)
        own = places[trainer.global_rank :: trainer.world_size]
        found = {start: self._predicted(module, slice(start, start + _ROWS_AT_ONCE)) for start in own}
        like = next(iter(found.values())) if found else self._predicted(module, slice(0, 1))
        outputs = like.new_zeros(len(self.valid), *like.shape[1:])
        for start, part in found.items():
            outputs[start : start + _ROWS_AT_ONCE] = part
        whole = trainer.strategy.reduce(outputs, reduce_op="sum")  # each row is zero in all processes but one
        assert isinstance(whole, Tensor)
        return whole

    def _predicted(self, module: FitModule, rows: slice) -> Tensor:
        outputs = predict_outputs(module.model, self.valid.take(rows).to(module.device))
        return torch.from_numpy(outputs).to(module.device)


class Looks(Callback):
    """Shows the model as it stands after each epoch; stands behind what validates.

    Args:
        after_epoch: Called by the first process.
    """

    def __init__(self, after_epoch: AfterEpoch) -> None:
        self.after_epoch = after_epoch

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Show the model itself, around which no process waits for another."""
        assert isinstance(module, FitModule)
        if trainer.is_global_zero:
            with undisturbed():
                self.after_epoch(module.model)


class Generators(Callback):
    """Keeps every process's generators, and the losses of the epoch so far, with a checkpoint."""

    def __init__(self) -> None:
        self._held: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note the states; all processes meet here."""
        assert isinstance(module, FitModule)
        own = {"generators": generator_states(), "piece_losses": [loss.cpu() for loss in module.piece_losses]}
        every = [own] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(every, own)
        checkpoint["processes"] = every

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take this process's states."""
        self._held = checkpoint["processes"][trainer.global_rank]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set them, now that nothing but training draws any more; a new run's processes drop other units."""
        assert isinstance(module, FitModule)
        if self._held is not None:
            restore_generators(self._held["generators"])
            module.piece_losses = [loss.to(module.device) for loss in self._held["piece_losses"]]
            self._held = None
        elif trainer.global_rank > 0:
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Set them where the run was over already, so that what comes behind it draws as if it had run."""
        if self._held is not None:
            restore_generators(self._held["generators"])


class Checkpoints(Checkpoint):
    """Writes one file from which the run goes on: after so many steps, and after each epoch.

    Args:
        path: The file; it is replaced as a whole.
        every: Steps between two checkpoints.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save between two steps; the last step of an epoch is saved with its validation."""
        done, pieces = batch_idx + 1, trainer.accumulate_grad_batches
        if done % (self.every * pieces) == 0 and done < trainer.num_training_batches:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save after validation."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        unfinished = self.path.with_suffix(".part")
        trainer.save_checkpoint(unfinished)
        if trainer.is_global_zero:
            unfinished.replace(self.path)


def _copy(module: FitModule) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.model.state_dict().items()}
