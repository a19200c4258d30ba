"""Plain JSON values to frozen dataclasses, checked against their annotations."""

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fuseloom.errors import RunError

__all__ = ["decode"]


def decode(kind: Any, value: object, *, where: str) -> Any:
    """Build what the annotation ``kind`` describes: a dataclass, container, choice or plain value.

    ``null`` for a number means that it was not finite, and becomes NaN.

    Args:
        kind: An annotation as the dataclasses of a report use them.
        value: What ``json.loads`` made of the text.
        where: Path of the value, for messages.

    Raises:
        RunError: the value does not fit; the message says where.

    Example:
        >>> decode(tuple[float, ...], [1, 0.5], where="scores")
        (1.0, 0.5)
    """
    reader = _read_dataclass if dataclasses.is_dataclass(kind) else _READERS[get_origin(kind) or kind]
    return reader(kind, value, where)


def _read_dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise _unfit(where, "an object", value)
    hints = get_type_hints(kind)
    if missing := sorted(hints.keys() - value.keys()):
        raise RunError(f"{where} must have the key {missing[0]!r}, got {sorted(value)}.")
    if unknown := sorted(value.keys() - hints.keys()):
        raise RunError(f"{where} must have the keys {sorted(hints)} only, got {unknown[0]!r} too.")
    return kind(**{name: decode(hint, value[name], where=f"{where}.{name}") for name, hint in hints.items()})


def _read_tuple(kind: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _unfit(where, "an array", value)
    kinds = get_args(kind)
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _unfit(where, f"an array of {len(kinds)}", value)
    return tuple(
        decode(item_kind, item, where=f"{where}[{index}]")
        for index, (item_kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _read_sequence(kind: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _unfit(where, "an array", value)
    (item_kind,) = get_args(kind)
    return tuple(decode(item_kind, item, where=f"{where}[{index}]") for index, item in enumerate(value))


def _read_dict(kind: Any, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unfit(where, "an object", value)
    item_kind = get_args(kind)[1]
    return {name: decode(item_kind, item, where=f"{where}.{name}") for name, item in value.items()}


def _read_optional(kind: Any, value: object, where: str) -> Any:
    if value is None:
        return None
    return decode(next(arg for arg in get_args(kind) if arg is not type(None)), value, where=where)


def _read_choice(kind: Any, value: object, where: str) -> Any:
    if value not in get_args(kind):
        raise _unfit(where, f"one of {sorted(get_args(kind))}", value)
    return value


def _read_float(_kind: Any, value: object, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise _unfit(where, "a finite number or null", value)
    return float(value)


def _read_plain(kind: Any, value: object, where: str) -> Any:
    # An exact type: True is an int for isinstance.
    if type(value) is not kind:
        raise _unfit(where, f"of type {kind.__name__}", value)
    return value


def _read_anything(_kind: Any, value: object, _where: str) -> Any:
    return value


def _unfit(where: str, expected: str, value: object) -> RunError:
    shown = repr(value)
    return RunError(f"{where} must be {expected}, got {shown if len(shown) <= 80 else shown[:79] + '…'}.")


_READERS: dict[Any, Callable[[Any, object, str], Any]] = {
    tuple: _read_tuple,
    Sequence: _read_sequence,
    dict: _read_dict,
    Mapping: _read_dict,
    UnionType: _read_optional,
    Union: _read_optional,
    Literal: _read_choice,
    Any: _read_anything,
    float: _read_float,
    int: _read_plain,
    str: _read_plain,
    bool: _read_plain,
}
