"""What a run costs beside its time: memory, operations, and where the time goes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from contest import Contender
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom.comparison.measure import PeakMemory

__all__ = ["Operations", "busiest", "peak_mb", "saved_bytes"]

_READS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


def saved_bytes(entrant: Contender, streams: Mapping[str, Tensor]) -> int:
    """Bytes that a forward keeps for its backward, inputs that it keeps included, weights excluded."""
    leaves = {name: value.clone().requires_grad_() for name, value in streams.items()}
    weights = {weight.untyped_storage().data_ptr() for weight in entrant.parameters}
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        out = entrant.forward(leaves)
    total = sum(size for place, size in kept.items() if place not in weights)
    del out  # not before: what the graph holds must not leave its place to another
    return total


def peak_mb(model: nn.Module, learn: Callable[[], Any]) -> float:
    """Megabytes of the tensors that forward and backward of a model make and that are alive at once."""
    model.train().zero_grad()
    with PeakMemory() as memory:
        learn()
    model.zero_grad()
    return memory.peak / 1e6


class Operations(TorchDispatchMode):
    """Counts operations that are no views, and names those that read a value back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.reads: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and run one operation."""
        self.count += not func.is_view
        if any(tag in func.tags for tag in _READS):
            self.reads.add(str(func))
        return func(*args, **(kwargs or {}))


def busiest(run: Callable[[], Any], device: torch.device, *, most: int = 6) -> list[dict[str, Any]]:
    """The operations that take most of the time of one run, and their shares of it."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as seen:
        run()
    taken = {
        event.key: event.self_device_time_total if cuda else event.self_cpu_time_total
        for event in seen.key_averages()
    }
    total = sum(taken.values())
    first = sorted(taken, key=lambda key: -taken[key])[:most]
    return [{"operation": key, "share": taken[key] / total} for key in first]
