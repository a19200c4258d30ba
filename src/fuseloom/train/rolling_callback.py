"""RollingQ in Lightning: one callback."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from math import isinf
from typing import Any

import torch.distributed as dist

from fuseloom.errors import MissingExtraError, OptionError
from fuseloom.train.progressive_rolling import ProgressiveRolling
from fuseloom.train.remedies._processes import Group
from fuseloom.train.rolling_query import RollingQuery

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
except ImportError:
    raise MissingExtraError(
        "RollingQueryCallback needs Lightning. Run: pip install 'fuseloom[workbench]'"
    ) from None

__all__ = ["RollingQueryCallback", "all_processes"]


def all_processes(trainer: Trainer) -> Group | None:
    """The group of all processes of a run; None where there is one.

    Raises:
        OptionError: there are several, and they are in no group of ``torch.distributed``.
    """
    if trainer.world_size == 1:
        return None
    if not dist.is_initialized():
        raise OptionError(
            f"strategy must connect its {trainer.world_size} processes by torch.distributed, got "
            f"{type(trainer.strategy).__name__}. Use strategy='ddp'."
        )
    return dist.group.WORLD


class RollingQueryCallback(Callback):
    """Watches the last batches of each epoch, and turns the query behind its last step where it is time to.

    A checkpoint keeps what it has seen, and the rotations with the model's weights: a run that goes on, also
    in the middle of an epoch, ends as one that never stopped. Do not save behind an epoch's last step but at
    its end: Lightning does not make up for the end of an epoch. In validation then the query is not turned
    yet; in what is saved when the training epoch is over it is.

    Several processes turn the query alike, by the rows of all; where a sampler repeats rows, so that all have
    equally many, these count twice. Save between epochs then: what is kept of an unfinished epoch is what the
    first process has seen.

    Args:
        rolling: When and where to.
        forward: Runs a module on a batch of its training data, such as ``lambda module, batch:
            module(batch[0])``; what it returns is not used.

    Raises:
        OptionError: when training starts, processes that cannot talk to one another, or an epoch without an
            end.
    """

    def __init__(
        self, rolling: RollingQuery | ProgressiveRolling, *, forward: Callable[[Any, Any], object]
    ) -> None:
        self.rolling, self.forward = rolling, forward
        self._watching = ExitStack()

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Prepare the query before there is an optimiser and before weights are loaded."""
        self.rolling.attach(module)
        group = all_processes(trainer) if stage == "fit" else None
        several = self.rolling.layers if isinstance(self.rolling, ProgressiveRolling) else [self.rolling]
        for one in several:
            one.group = group

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Refuse an epoch without a last batch."""
        if isinf(trainer.num_training_batches):
            raise OptionError(
                "An epoch must have a last batch, got data without a length. Set limit_train_batches."
            )

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start to watch, if the batch is in the window."""
        self._watching.enter_context(
            self.rolling.watching(module, batch_idx, int(trainer.num_training_batches))
        )

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop to watch."""
        self._watching.close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Leave no hook."""
        self._watching.close()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Turn the query, if it is time to, and log the rates."""
        roll = self.rolling.end_epoch(module, self._passes(trainer, module))
        rates = {f"air.{head}" if head else "air": rate for head, rate in enumerate(roll.rates)}
        for logger in trainer.loggers:
            logger.log_metrics(rates, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """What has been seen."""
        return self.rolling.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.rolling.load_state_dict(state_dict)

    def _passes(self, trainer: Trainer, module: LightningModule) -> Iterator[object]:
        batches: Any = trainer.train_dataloader
        for batch in islice(batches, int(trainer.num_training_batches)):
            yield self.forward(module, trainer.strategy.batch_to_device(batch))
