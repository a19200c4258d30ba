"""A small, plain training loop for data that fit in memory: AdamW, early stopping, nothing hidden."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.part import Staged
from fuseloom.tasks import Task
from fuseloom.train.flat import flat_parameters
from fuseloom.train.step import training_step
from fuseloom.types import Batch

__all__ = ["FitConfig", "FitResult", "exact_outputs", "fit", "one_thread", "predict_outputs", "seeded"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What a training run depends on besides model and data."""

    lr: float = 1e-3
    """Learning rate of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW."""
    batch_size: int | None = None
    """Rows per step; by default a sixth of the training rows, at least 32 and at most 512."""
    max_epochs: int = 100
    """Passes over the training rows at most."""
    patience: int = 10
    """Epochs without a better validation loss before the run stops."""
    sequential: bool = False
    """Whether the stages of a model (those of ``mro``, ``linear_logits``) are fitted one after another."""
    seed: int = 0
    """Of the weights, the order of rows and dropout."""

    def __post_init__(self) -> None:
        if not self.weight_decay >= 0:
            raise OptionError(f"weight_decay must not be negative, got {self.weight_decay}.")
        for name in ("lr", "max_epochs", "patience", "batch_size"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise OptionError(f"{name} must be positive, got {value}.")

    def rows_per_step(self, num_rows: int) -> int:
        """The batch size for a number of training rows."""
        return self.batch_size if self.batch_size is not None else min(max(32, -(-num_rows // 6)), 512)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A finished run; the model holds the weights of its best epoch."""

    valid_loss: float
    epochs: int
    train_s: float


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


def fit(
    build: Callable[[], nn.Module], train: Batch, valid: Batch, task: Task, config: FitConfig
) -> tuple[nn.Module, FitResult]:
    """Build and train a model; keep the weights with the lowest validation loss.

    Args:
        build: Makes the model, with weights drawn from torch's global generator.
        train: All training rows.
        valid: All validation rows.
        task: Gives the loss.
        config: The run's settings; equal settings and data give equal weights.

    Raises:
        OptionError: the model is to be fitted in stages and has none.
    """
    start, epochs, best = time.perf_counter(), 0, float("inf")
    with seeded(config.seed):
        model = build()
        if (first := next(iter(train.inputs.values()), None)) is not None:
            model.to(first.device)
        for _ in _stages(model) if config.sequential else range(1):
            best, more = _descend(model, train, valid, task, config)
            epochs += more
    model.eval()
    return model, FitResult(valid_loss=best, epochs=epochs, train_s=time.perf_counter() - start)


def _stages(model: nn.Module) -> Iterator[int]:
    """Focus the model on one stage after another; what has none is trained with the first."""
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
    model: nn.Module, train: Batch, valid: Batch, task: Task, config: FitConfig
) -> tuple[float, int]:
    """Train what requires a gradient until patience ends; gives the lowest validation loss and the epochs."""
    best, best_weights, waited, epoch = float("inf"), _copy(model), 0, 0
    with flat_parameters(model) as parameters:
        optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        while epoch < config.max_epochs and waited < config.patience:
            _run_epoch(model, train, task, optimizer, config.rows_per_step(len(train)))
            epoch, waited = epoch + 1, waited + 1
            loss = _mean_loss(model, valid, task)
            if loss < best:
                best, best_weights, waited = loss, _copy(model), 0
    model.load_state_dict(best_weights)
    return best, epoch


def _run_epoch(
    model: nn.Module, train: Batch, task: Task, optimizer: torch.optim.Optimizer, batch_size: int
) -> None:
    model.train()
    shuffled = train.take(torch.randperm(len(train)).to(_device(train)))
    for start in range(0, len(train), batch_size):
        training_step(model, shuffled.take(slice(start, start + batch_size)), task, optimizer)


def _mean_loss(model: nn.Module, rows: Batch, task: Task) -> float:
    outputs = torch.from_numpy(predict_outputs(model, rows)).to(_device(rows))
    assert rows.target is not None
    return float(task.loss(outputs, rows.target))


def predict_outputs(model: nn.Module, rows: Batch, *, batch_size: int = 512) -> NDArray[Any]:
    """Outputs ``[N, K]`` in evaluation mode, in the model's dtype; leaves the model as it was."""
    training = model.training
    model.eval()
    with torch.inference_mode():
        chunks = [rows.take(slice(start, start + batch_size)) for start in range(0, len(rows), batch_size)]
        outputs = torch.cat([model(chunk.inputs, chunk.masks) for chunk in chunks]).cpu()
    model.train(training)
    return outputs.numpy()


def exact_outputs(model: nn.Module, rows: Batch) -> NDArray[Any]:
    """Outputs ``[N, K]`` computed in float64, for predictions that are kept or shown.

    In float32 the last digits of a row depend on which rows it is computed with, in what order and on how
    many threads; in float64 that is far below any digit that is stored.
    """
    inputs = {n: v.double() if v.is_floating_point() else v for n, v in rows.inputs.items()}
    return predict_outputs(copy.deepcopy(model).double(), replace(rows, inputs=inputs))


def _device(rows: Batch) -> torch.device:
    return next(iter(rows.inputs.values())).device


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
