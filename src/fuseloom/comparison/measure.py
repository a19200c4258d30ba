"""What a model costs: parameters, latency and memory."""

import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fuseloom.tasks import Task
from fuseloom.train.step import apply_model, training_loss
from fuseloom.types import Batch, Selection

__all__ = ["PeakMemory", "count_parameters", "latency_ms", "median_ms", "training_memory_mb"]


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def latency_ms(model: nn.Module, rows: Batch | Selection) -> float:
    """Median milliseconds of predicting the first row."""
    one = rows.take(slice(0, 1))

    def predict() -> None:
        with torch.inference_mode():
            apply_model(model, one)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return median_ms(predict)


def median_ms(call: Callable[[], Any], *, repeats: int = 30) -> float:
    """Median milliseconds of a call, after three to warm up."""
    times = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]) * 1000)


def training_memory_mb(model: nn.Module, rows: Batch, task: Task) -> float:
    """Peak megabytes of tensors made in one forward and backward, parameters included; changes no weight."""
    parameters = sum(p.untyped_storage().nbytes() for p in model.parameters())
    was_training = model.training
    model.train()
    with torch.random.fork_rng(), PeakMemory() as memory:
        training_loss(model, rows, task).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    return float(memory.peak + parameters) / 1e6


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors made inside it that are alive at once, on any device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count the storages it makes."""
        out = func(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in given | self._known:
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
