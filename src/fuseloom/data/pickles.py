"""Pickles as published sets have them: arrays in plain containers, read without running anything in them.

A pickle is a program. `pickle.Unpickler` looks every function and class that it calls up in `find_class`, and
ours finds nothing of any library there, only what stands in this file: notes of what was asked for, of which
arrays are made afterwards, once dtype, shape and size have been checked.
"""

import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.media import reason_of
from fuseloom.errors import DataError

__all__ = ["read_pickle"]

_DTYPE = re.compile(r"[<>|=]?(?:[biufcSU]\d+|O\d*)")
_SCALARS = (str, bytes, int, float, bool, type(None))
_DEEPEST = 100
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    ImportError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnicodeError,
    ValueError,
)
"""What `pickle.Unpickler` raises on damaged or strange files; it promises no list."""


def read_pickle(path: Path) -> Any:
    """What a pickle holds: dicts, lists, tuples, strings, numbers, and numpy's arrays of them.

    Nothing in the file is executed, and no class or function of another module is reached. Pickles of Python
    2 and those of numpy 1 and 2 are read; bytes of Python 2 become strings.

    Raises:
        DataError: the file is damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            found = _Reader(file, encoding="latin1").load()
        return _plain(found, {}, 0)
    except DataError as error:
        raise DataError(f"{path.name} must hold arrays in plain containers, got {error}.") from None
    except OSError as error:
        raise DataError(f"{path.name} must be a file that can be read, got: {reason_of(error)}.") from None
    except _BROKEN as error:
        raise DataError(
            f"{path.name} must be a whole pickle of arrays in plain containers, got one that cannot be read: "
            f"{reason_of(error)}. Download it again."
        ) from None


class _Reader(pickle.Unpickler):
    """Finds the names that arrays are pickled under, and nothing else."""

    def __init__(self, file: BinaryIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        found = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise DataError(f"{module}.{name}, which is never loaded")
        return found


@dataclass
class _Note:
    """Something of numpy's that the file asks for: how, and what it is then set to."""

    kind: Literal["array", "buffer", "dtype", "scalar"]
    made_with: tuple[Any, ...]
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _array(note: _Note, plain: Callable[[Any], Any]) -> Any:
    """The array, or single value, that a note is of."""
    if note.kind == "buffer" and len(note.made_with) == 4:
        content, dtype, shape, order = note.made_with
        return _filled(shape, dtype, content, order=order, plain=plain)
    if note.kind == "scalar" and len(note.made_with) == 2:
        return _filled((), *note.made_with, order="C", plain=plain)[()]
    if note.kind != "array" or not isinstance(note.state, tuple) or len(note.state) != 5:
        raise DataError(f"a numpy {note.kind} in an unknown form")
    _, shape, dtype, fortran, content = note.state
    return _filled(shape, dtype, content, order="F" if fortran else "C", plain=plain)


def _dtype(note: _Note) -> np.dtype[Any]:
    """The dtype that a note is of: its name is what it was made with, its byte order is in the state."""
    name = note.made_with[0] if note.made_with else None
    name = name.decode("latin1") if isinstance(name, bytes) else name
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise DataError(f"an array of {name!r}, not of numbers or strings")
    order = note.state[1] if isinstance(note.state, tuple) and len(note.state) > 1 else "|"
    found = np.dtype(name)
    if order == ">":
        return found.newbyteorder(">")
    return found.newbyteorder("<") if order == "<" else found


def _filled(shape: Any, dtype: Any, content: Any, *, order: Any, plain: Callable[[Any], Any]) -> NDArray[Any]:
    """The array of that shape, once all parts fit together."""
    noted = isinstance(dtype, _Note) and dtype.kind == "dtype"
    if not noted or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise DataError("a numpy array in an unknown form")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise DataError(f"an array of shape {shape}")
    kind = _dtype(dtype)
    if kind.kind == "O":
        return _of_objects(shape, content, order=order, plain=plain)
    held = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(held, bytes | bytearray) or len(held) != math.prod(shape) * kind.itemsize:
        raise DataError(f"an array of shape {shape} whose content has another size")
    values: NDArray[Any] = np.frombuffer(held, dtype=kind) if held else np.empty(0, dtype=kind)
    return values.reshape(shape, order=order)


def _of_objects(
    shape: tuple[int, ...], content: Any, *, order: Any, plain: Callable[[Any], Any]
) -> NDArray[Any]:
    if not isinstance(content, list) or len(content) != math.prod(shape):
        raise DataError(f"an array of shape {shape} whose content has another size")
    items = np.empty(len(content), dtype=object)
    for place, item in enumerate(content):
        items[place] = plain(item)
    return items.reshape(shape, order=order)


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes as protocols below 3 have them: spelled as a string, or none."""
    if not isinstance(text, str) or encoding != "latin1":
        raise DataError(f"text in {encoding!r}")
    return text.encode("latin1")


def _refused(*_: Any) -> None:
    raise DataError("numpy.ndarray called by name")


@dataclass(frozen=True)
class _Callable:
    """What a file may call; it can not be changed by it, as a function could."""

    make: Callable[..., Any]

    def __call__(self, *made_with: Any) -> Any:
        return self.make(*made_with)

    def __setstate__(self, state: Any) -> None:
        raise DataError("a state for what has none")


_KNOWN: Mapping[tuple[str, str], _Callable] = {
    ("numpy.core.multiarray", "_reconstruct"): _Callable(lambda *made_with: _Note("array", made_with)),
    ("numpy.core.multiarray", "scalar"): _Callable(lambda *made_with: _Note("scalar", made_with)),
    ("numpy.core.numeric", "_frombuffer"): _Callable(lambda *made_with: _Note("buffer", made_with)),
    ("numpy", "dtype"): _Callable(lambda *made_with: _Note("dtype", made_with)),
    ("numpy", "ndarray"): _Callable(_refused),
    ("_codecs", "encode"): _Callable(_bytes),
    ("__builtin__", "bytes"): _Callable(_bytes),
}
"""Name in a pickle -> what we have for it, none of it numpy's own."""


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    """The same with arrays for the notes of them.

    Args:
        value: What the unpickler built.
        done: Identity of a container -> what became of it, as one may stand in many places.
        depth: Of containers around it.
    """
    if isinstance(value, _SCALARS):
        return value
    if depth > _DEEPEST:
        raise DataError(f"containers nested deeper than {_DEEPEST}")
    if id(value) not in done:
        done[id(value)] = _converted(value, lambda inner: _plain(inner, done, depth + 1))
    return done[id(value)]


def _converted(value: Any, plain: Callable[[Any], Any]) -> Any:
    if isinstance(value, _Note):
        return _array(value, plain)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([plain(item) for item in value])
    raise DataError(f"an object of type {type(value).__name__.lstrip('_').lower()}")
