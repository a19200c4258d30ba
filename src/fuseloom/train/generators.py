"""The states of all generators that training may draw from: of torch, NumPy and Python."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = [
    "DrawingState",
    "drawing_state",
    "generator_states",
    "replayed",
    "restore_generators",
    "undisturbed",
]

DrawingState = tuple[torch.device, torch.Tensor]
"""Where torch's global generator of a device stands."""


def generator_states() -> dict[str, Any]:
    """The states as tensors and plain values, which a checkpoint can hold without pickled objects.

    Example:
        >>> states = generator_states()
        >>> drawn = torch.rand(2), random.random()
        >>> restore_generators(states)
        >>> drawn[0].equal(torch.rand(2)), drawn[1] == random.random()
        (True, True)
    """
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - others may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Set all generators to what `generator_states` gave."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside, what comes behind draws as if nothing had been.

    Example:
        >>> state = torch.get_rng_state()
        >>> with undisturbed():
        ...     drawn = torch.rand(2), random.random()
        >>> torch.get_rng_state().equal(state)
        True
    """
    states = generator_states()
    try:
        yield
    finally:
        restore_generators(states)


def drawing_state(device: torch.device) -> DrawingState:
    """Where the generator stands that layers on a device draw from."""
    return device, torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def replayed(state: DrawingState, *, advance: bool = False) -> Iterator[None]:
    """Draw inside as from a state that was, and behind it as if nothing had been drawn.

    Args:
        state: From `drawing_state`.
        advance: Go on behind it from where the inside ended.

    Example:
        >>> state = drawing_state(torch.device("cpu"))
        >>> first = torch.rand(2)
        >>> with replayed(state):
        ...     again = torch.rand(2)
        >>> first.equal(again)
        True
    """
    before = drawing_state(state[0])
    _set_drawing_state(state)
    try:
        yield
    finally:
        if not advance:
            _set_drawing_state(before)


def _set_drawing_state(state: DrawingState) -> None:
    device, values = state
    if device.type == "cuda":
        torch.cuda.set_rng_state(values, device)
    else:
        torch.set_rng_state(values)
