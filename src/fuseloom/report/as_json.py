"""What was found as JSON, a comparison also back; `schema.json` beside this file says how that is."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from numbers import Integral, Real
from typing import Any, NoReturn

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.comparison.result import FORMAT_VERSION, Comparison
from fuseloom.comparison.sweep import Sweep
from fuseloom.comparison.variants import Variants
from fuseloom.errors import OptionError, RunError
from fuseloom.report.decode import decode

__all__ = ["from_json", "to_json"]


def to_json(found: Comparison | Diagnosis | Sweep | Variants) -> str:
    """What was found as indented JSON, UTF-8 text that ends with a newline.

    A number that is not finite is written as ``null``, because JSON has no NaN.

    Args:
        found: A finished comparison, sweep or table of variants, or a diagnosis.

    Raises:
        OptionError: ``config`` holds something that JSON has no word for.
    """
    what = type(found).__name__.lower()
    text = json.dumps(_plain(asdict(found), what), indent=2, ensure_ascii=False, allow_nan=False)
    # A file name that is not valid UTF-8 carries lone surrogates; their escape is JSON's own.
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def _plain(value: object, where: str) -> Any:
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return value if value is None or isinstance(value, str | bool) else _number(value, where)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise OptionError(f"Keys of {where} must be strings, got {key!r}.")
    return key


def _number(value: object, where: str) -> int | float | None:
    """A number of Python or NumPy as JSON can hold it."""
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real):
        raise OptionError(f"{where} must be a plain value, got {type(value).__name__}. Convert it first.")
    number = float(value)
    return number if math.isfinite(number) else None


def from_json(text: str) -> Comparison:
    """Read what `to_json` wrote; every value is checked.

    Args:
        text: Content of a ``report.json``.

    Raises:
        RunError: not JSON, another format version, or a value that does not fit; the message says where.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RunError(f"report must be valid JSON, got an error: {error}.") from None
    version = found.get("format_version") if isinstance(found, dict) else None
    if version != FORMAT_VERSION:
        raise RunError(
            f"format_version must be {FORMAT_VERSION}, got {version!r}. "
            "Read it with the release of fuseloom that wrote it."
        )
    comparison: Comparison = decode(Comparison, found, where="report")
    return comparison


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
