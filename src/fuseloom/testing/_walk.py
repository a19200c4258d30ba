"""What a module holds beside its registered tensors: a walk over attributes and containers."""

import functools
from collections.abc import Iterator, Mapping
from types import CellType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fingerprint", "loose_tensors", "same_fingerprint"]

_REGISTERED = ("_parameters", "_buffers", "_modules")
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, type(None))


def loose_tensors(part: nn.Module) -> list[str]:
    """Paths of tensors that no ``state_dict``, ``to`` or optimiser of the part would see.

    They are looked for in attributes, containers, functions' closures and modules kept in plain lists.
    """
    known = {id(module) for module in part.modules()}
    registered = {id(t) for t in [*part.parameters(), *part.buffers()]}
    leaves = _leaves(part, known)
    return sorted(path for path, leaf in leaves if isinstance(leaf, Tensor) and id(leaf) not in registered)


def fingerprint(part: nn.Module) -> dict[str, Any]:
    """Every tensor's value and every attribute of a part, by path."""
    held: dict[str, Any] = {name: tensor.detach().clone() for name, tensor in part.state_dict().items()}
    held |= {name: tensor.detach().clone() for name, tensor in part.named_buffers()}
    for path, leaf in _leaves(part, {id(module) for module in part.modules()}):
        value = leaf.detach().clone() if isinstance(leaf, Tensor) else leaf
        held[path] = value if isinstance(value, (Tensor, *_PLAIN)) else id(leaf)
    return held


def same_fingerprint(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Paths whose content differs."""
    return sorted(
        path
        for path in before.keys() | after.keys()
        if path not in before or path not in after or not _same(before[path], after[path])
    )


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return torch.equal(before.nan_to_num(7e7), after.nan_to_num(7e7))
    return type(before) is type(after) and bool(before == after)


def _leaves(part: nn.Module, known: set[int]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for prefix, module in part.named_modules():
        for name, value in vars(module).items():
            if name not in _REGISTERED:
                yield from _descend(f"{prefix}.{name}".lstrip("."), value, known, seen)


def _descend(path: str, value: Any, known: set[int], seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Tensor, *_PLAIN)):
        yield path, value
        return
    if id(value) in known or id(value) in seen:
        return
    seen.add(id(value))
    yield path, value
    for name, inner in _inside(value):
        yield from _descend(f"{path}.{name}", inner, known, seen)


def _inside(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(enumerate(value))
    return [] if isinstance(value, (type, ModuleType)) else _inside_object(value)


def _inside_object(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, nn.Module):
        return [*value.named_parameters(), *value.named_buffers()]
    if isinstance(value, functools.partial):
        return [("function", value.func), ("args", value.args), ("keywords", value.keywords)]
    cells = getattr(value, "__closure__", None) or ()
    held = [(f"closure{i}", cell.cell_contents) for i, cell in enumerate(cells) if _filled(cell)]
    if (owner := getattr(value, "__self__", None)) is not None:
        held.append(("self", owner))
    return held + list(getattr(value, "__dict__", {}).items())


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is the only way to know
    except ValueError:
        return False
    return True
