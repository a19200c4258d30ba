"""What every page is made with: the template language, its filters, and the files beside this one."""

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from fuseloom.errors import MissingExtraError
from fuseloom.report import words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["environment", "resource"]


def environment(decimals: int) -> "Environment":
    """Templates that escape whatever is put into them.

    Args:
        decimals: Of scores.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError(
            "The HTML report needs jinja2. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    found = Environment(
        autoescape=True,
        loader=FunctionLoader(resource),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Markup is a subclass of str: our own plots pass, what came with the data is cleaned.
        finalize=lambda value: words.printable(value) if type(value) is str else value,
    )
    found.filters |= {
        "breakable": _breakable,
        "compact": words.compact,
        "interval": lambda interval: words.interval_text(interval, decimals),
        "megabytes": words.megabytes,
        "milliseconds": words.milliseconds,
        "score": lambda value: words.score(value, decimals),
        "seconds": words.seconds,
        "signed": lambda value: words.signed(value, decimals),
        "sort_key": _sort_key,
        "thousands": "{:,}".format,
    }
    return found


def _breakable(name: str) -> "Markup":
    """A name that may be broken after its separators, and elsewhere only where it must."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[_+./-])(?=[^_+./-])", words.printable(name))
    return Markup("<wbr>").join(map(escape, parts))


def resource(name: str) -> str:
    """A file that stands beside this one."""
    return files("fuseloom.report").joinpath(name).read_text(encoding="utf-8")


def _sort_key(value: float | None) -> str:
    """What the script sorts by: nothing measured comes last."""
    return "" if value is None or value != value else repr(float(value))
