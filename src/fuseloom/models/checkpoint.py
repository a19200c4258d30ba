"""Weights of an official checkpoint, read without executing anything that is in it."""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fuseloom.errors import RunError

__all__ = ["read_checkpoint"]

_HOLDERS = ("state_dict", "model_state_dict", "model", "net", "segmenter", "weights")
"""Entries under which training programs keep the weights beside their other state."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism and compilation put before every name."""
_UNREADABLE = (BadZipFile, EOFError, KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Official name -> weight, of ``.safetensors``, ``.npz`` or what ``torch.save`` wrote.

    Of a whole training state, the entry with the weights is taken; a wrapper's ``module.`` before every name
    is left out.

    Raises:
        RunError: the file cannot be read, holds Python objects or no weights.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "model.pth")
        >>> torch.save({"epoch": 3, "state_dict": {"module.fc.bias": torch.zeros(2)}}, path)
        >>> read_checkpoint(path)
        {'fc.bias': tensor([0., 0.])}
    """
    read = _READERS.get(path.suffix.lower(), _read_torch)
    try:
        found = read(path)
    except FileNotFoundError:
        raise RunError(f"checkpoint must be a file, got {str(path)!r}. No such file.") from None
    except RunError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path.name} must be a checkpoint that can be read, got: {reason}") from None
    return _unwrapped(_weights(found, path.name))


def _read_npz(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("one array instead of several with names")
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # Of a pickle protocol: what it does not admit is refused all the same.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = (
            f"an object of {named[1]}" if named else "what cannot be read without running it, or is damaged"
        )
        raise RunError(
            f"{path.name} must hold weights only, got {what}; objects are never loaded, because that could "
            "run any program. Where the official code runs, save its weights alone and convert that file: "
            "torch.save(model.state_dict(), 'weights.pt')"
        ) from None


_READERS: Mapping[str, Callable[[Path], Any]] = {".safetensors": load_file, ".npz": _read_npz}


def _weights(found: Any, name: str) -> dict[str, Tensor]:
    """The mapping of names to tensors, wherever it lies."""
    if isinstance(found, Mapping):
        inner = [key for key in _HOLDERS if isinstance(found.get(key), Mapping)]
        if len(inner) == 1:
            found = found[inner[0]]
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return {str(key): value for key, value in found.items()}
    entries = sorted(map(str, found))[:8] if isinstance(found, Mapping) else type(found).__name__
    raise RunError(
        f"{name} must hold a state dict, names with a tensor each, itself or as one of {list(_HOLDERS)}, "
        f"got {entries}."
    )


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): value for name, value in weights.items()}
    return weights
