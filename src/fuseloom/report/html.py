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
from fuseloom.report.curves import curves
from fuseloom.report.ladder import ladder
from fuseloom.report.scatter import LATENCY, PARAMETERS, scatter, undrawn
from fuseloom.report.squares import against_true, reliability
from fuseloom.report.svg import element, marker
from fuseloom.report.whiskers import NARROW, WIDE, whiskers

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["to_html"]

_ROWS_PER_PAGE = 50
_MOST_PAGES = 20
_MOST_CLASSES = 20


def to_html(comparison: Comparison) -> str:
    """The report as a page: one file, no request to anywhere, readable without its script.

    Args:
        comparison: A finished comparison.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    decimals = words.score_decimals(comparison)
    environment = _environment(decimals)
    template = environment.get_template("template.html")
    script = _resource("sort.js")
    page = template.render(
        comparison=comparison,
        findings=comparison.findings,
        sections=_sections(comparison),
        recommended=_recommended(comparison),
        style=_resource("style.css"),
        script=script,
        # The page may run this one script and nothing else, whatever a name in the data says.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        plots=_plots(comparison, decimals),
        marks={role: _legend_mark(role) for role in ("fusion", "unimodal", "baseline")},
        config=_flat(comparison.config),
        total_rows=sum(comparison.data.rows.values()),
        pages=_pages(comparison.data.set_aside),
        balance=list(comparison.findings.health.balance.items())[:_MOST_CLASSES],
    )
    return f"{page}\n"


def _environment(decimals: int) -> "Environment":
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError(
            "The HTML report needs jinja2. Install it with: pip install 'fuseloom[workbench]'"
        ) from None
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_resource),
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


def _sections(comparison: Comparison) -> list[tuple[str, str]]:
    """Where each section stands and what it is called, for those that the page has."""
    found = comparison.findings
    every = [
        ("leaderboard", "Leaderboard", True),
        ("scores", "Scores", True),
        ("contenders", "As good as the best", comparison.recommendation.contenders),
        ("costs", "Costs", True),
        ("reliance", "Reliance", comparison.reliance),
        ("subsets", "Subsets", found.subsets),
        ("curves", "Learning curves", found.curves),
        ("confusion", "Confusion", found.confusion),
        ("fitted", "Predicted and true", found.fitted),
        ("calibration", "Calibration", found.calibration),
        ("disagreements", "Disagreement", found.disagreements),
        ("data", "Data", True),
        ("aside", "Set aside", True),
        ("measured", "Method", True),
        ("repeat", "Repeat", True),
    ]
    return [(anchor, title) for anchor, title, there in every if there]


def _pages(set_aside: Sequence[tuple[str, str]]) -> list[list[tuple[int, str, str, str]]]:
    """Number, file, row and reason of the rows set aside, page by page."""
    rows = [
        (number, *_place(where), reason)
        for number, (where, reason) in enumerate(set_aside[: _MOST_PAGES * _ROWS_PER_PAGE], start=1)
    ]
    return [rows[start : start + _ROWS_PER_PAGE] for start in range(0, len(rows), _ROWS_PER_PAGE)]


def _place(where: str) -> tuple[str, str]:
    """File and row of a place such as ``reviews.csv:17``; what is not of that form is all file."""
    file, _, row = where.rpartition(":")
    return (file, row) if file and row.isdecimal() else (where, "")


def _plots(comparison: Comparison, decimals: int) -> dict[str, Any]:
    found, higher = comparison.findings, comparison.higher_is_better
    models = dict.fromkeys(curve.model for curve in found.curves)
    return {
        "scores": [
            whiskers(comparison, WIDE, class_="wide"),
            whiskers(comparison, NARROW, class_="narrow"),
        ],
        "costs": [(cost.title, scatter(comparison, cost), undrawn(comparison, cost)) for cost in _COSTS],
        "reliance": [(reliance, bars(reliance, decimals)) for reliance in comparison.reliance],
        "subsets": [(one, ladder(one, decimals, higher_is_better=higher)) for one in found.subsets],
        "curves": [(name, curves([c for c in found.curves if c.model == name])) for name in models],
        "calibration": [(one, reliability(one)) for one in found.calibration],
        "fitted": [(one, against_true(one)) for one in found.fitted],
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
