"""A comparison as one HTML page that loads nothing: style, script and plots stand in the file."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.errors import MissingExtraError
from fuseloom.report import words
from fuseloom.report.bars import bars
from fuseloom.report.scatter import LATENCY, PARAMETERS, scatter, undrawn
from fuseloom.report.svg import element, marker
from fuseloom.report.whiskers import NARROW, WIDE, whiskers

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["to_html"]

_SHOWN_ROWS = 50


def to_html(comparison: Comparison) -> str:
    """The report as a page: one file, no request to anywhere, readable without its script.

    Args:
        comparison: A finished comparison.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    decimals = words.score_decimals(comparison)
    environment = _environment(decimals)
    script = _resource("sort.js")
    page = environment.from_string(_resource("template.html")).render(
        comparison=comparison,
        recommended=_recommended(comparison),
        style=_resource("style.css"),
        script=script,
        # The page may run this one script and nothing else, whatever a name in the data says.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        plots=_plots(comparison, decimals),
        marks={role: _legend_mark(role) for role in ("fusion", "unimodal", "baseline")},
        config=_flat(comparison.config),
        spread=words.spread(comparison),
        total_rows=sum(comparison.data.rows.values()),
        shown_rows=_SHOWN_ROWS,
    )
    return f"{page}\n"


def _environment(decimals: int) -> "Environment":
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError(
            "The HTML report needs jinja2. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Markup is a subclass of str: our own plots pass, what came with the data is cleaned.
        finalize=lambda value: words.printable(value) if type(value) is str else value,
    )
    environment.filters |= {
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
    return environment


def _breakable(name: str) -> "Markup":
    """A name that may be broken after its separators, and elsewhere only where it must."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[_+./-])(?=[^_+./-])", words.printable(name))
    return Markup("<wbr>").join(map(escape, parts))


def _resource(name: str) -> str:
    return files("fuseloom.report").joinpath(name).read_text(encoding="utf-8")


def _recommended(comparison: Comparison) -> Entry | None:
    name = comparison.recommendation.name
    return next((entry for entry in comparison.entries if entry.name == name), None)


def _plots(comparison: Comparison, decimals: int) -> dict[str, Any]:
    return {
        "scores": [
            whiskers(comparison, WIDE, class_="wide"),
            whiskers(comparison, NARROW, class_="narrow"),
        ],
        "costs": [(cost.title, scatter(comparison, cost), undrawn(comparison, cost)) for cost in _COSTS],
        "reliance": [(reliance, bars(reliance, decimals)) for reliance in comparison.reliance],
    }


_COSTS = (PARAMETERS, LATENCY)


def _legend_mark(role: Any) -> str:
    return element("svg", marker(role, 8, 8), viewBox="0 0 16 16", class_="legend-mark", aria_hidden="true")


def _sort_key(value: float | None) -> str:
    """What the script sorts by: nothing measured comes last."""
    return "" if value is None or value != value else repr(float(value))


def _flat(config: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """Dotted keys with their values as JSON."""
    lines: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            lines.extend(_flat(value, f"{prefix}{key}."))
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            lines.append((f"{prefix}{key}", shown))
    return lines
