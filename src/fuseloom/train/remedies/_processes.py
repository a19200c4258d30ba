"""Sums, means, rows and draws of the processes that train one model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Group", "average_gradients", "drawing_alike", "rows_of_all", "share_state", "sum_over"]

Group = dist.ProcessGroup
"""Processes that train one model, each on rows of its own."""


def sum_over(values: Tensor, group: Group | None) -> Tensor:
    """The sum of a tensor over all processes; without a group, the tensor."""
    if group is None:
        return values
    total = values.detach().clone()
    dist.all_reduce(total, group=group)
    return total


def rows_of_all(values: Tensor, group: Group | None) -> Tensor:
    """Rows ``[B, ...]`` of all processes, one behind the other; without a group, the rows.

    Where processes have different numbers of rows, rows of NaN stand behind those that have fewer.
    """
    if group is None:
        return values
    longest = torch.tensor(len(values), device=values.device)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX, group=group)
    own = values.new_full((int(longest), *values.shape[1:]), torch.nan)
    own[: len(values)] = values.detach()
    every = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, own, group=group)
    return torch.cat(every)


def average_gradients(parameters: Iterable[nn.Parameter], group: Group) -> None:
    """Make every gradient the mean over all processes, in place; all in one message per dtype.

    A parameter that has a gradient nowhere is left without one, as in a single process.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for parameter, used in zip(trained, _used(trained, group), strict=True):
        if used:
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            parameter.grad = gradient
            kinds.setdefault(gradient.dtype, []).append(gradient)
    for gradients in kinds.values():
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(whole, group=group)
        pieces = torch.split(whole / dist.get_world_size(group), [g.numel() for g in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))


def _used(parameters: list[nn.Parameter], group: Group) -> list[bool]:
    """Which parameters have a gradient in any process."""
    own = [parameter.grad is not None for parameter in parameters]
    if not own:
        return []
    flags = torch.tensor(own, dtype=torch.int32, device=parameters[0].device)
    return sum_over(flags, group).bool().tolist()


@torch.no_grad()
def share_state(module: nn.Module, group: Group) -> None:
    """Give all processes the first one's parameters and buffers."""
    for value in [*module.parameters(), *module.buffers()]:
        first = value.detach().contiguous()
        dist.broadcast(first, group=group, group_src=0)
        value.copy_(first)


@contextmanager
def drawing_alike(group: Group | None, device: torch.device) -> Iterator[None]:
    """Inside, all processes draw the same, and behind it go on with draws of their own.

    Without a group nothing is different.
    """
    if group is None:
        yield
        return
    seed = torch.randint(2**62, (), device=device)
    dist.broadcast(seed, group=group, group_src=0)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(seed))
        yield
