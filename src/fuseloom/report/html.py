"""A comparison as one HTML page that loads nothing: style, script and plots stand in the file."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.report import words
from fuseloom.report.bars import bars
from fuseloom.report.cooperation import (
    cooperation_figures,
    cooperation_tables,
    gains_table,
    treated_fusions,
)
from fuseloom.report.curves import curves
from fuseloom.report.diagnosis_view import View, diagnosis_view
from fuseloom.report.gallery import disagreement_gallery
from fuseloom.report.ladder import ladder
from fuseloom.report.page import environment, resource
from fuseloom.report.scatter import LATENCY, PARAMETERS, scatter, undrawn
from fuseloom.report.squares import against_true, reliability
from fuseloom.report.svg import element, marker
from fuseloom.report.whiskers import NARROW, WIDE, whiskers

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
    template = environment(decimals).get_template("template.html")
    script = resource("sort.js")
    views = _views(comparison, decimals)
    page = template.render(
        comparison=comparison,
        findings=comparison.findings,
        sections=_sections(comparison, views),
        views=views,
        disagreement=disagreement_gallery(comparison.findings.disagreements),
        remedies=_remedies(comparison, decimals),
        recommended=_recommended(comparison),
        style=resource("style.css"),
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


def _recommended(comparison: Comparison) -> Entry | None:
    name = comparison.recommendation.name
    return next((entry for entry in comparison.entries if entry.name == name), None)


def _sections(comparison: Comparison, views: Sequence[View]) -> list[tuple[str, str]]:
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
        ("cooperation", "Remedies", found.cooperation),
        *((panel.anchor, panel.short, True) for view in views for panel in view.sections),
        ("data", "Data", True),
        ("aside", "Set aside", True),
        ("measured", "Method", True),
        ("repeat", "Repeat", True),
    ]
    return [(anchor, title) for anchor, title, there in every if there]


def _views(comparison: Comparison, decimals: int) -> list[View]:
    """What the diagnoses show; a model whose reliance has a section has its modalities' worth there."""
    placed = {reliance.model for reliance in comparison.reliance}
    return [
        diagnosis_view(one, decimals, placed=("worth",) if one.model in placed else (), number=number)
        for number, one in enumerate(comparison.findings.diagnosis)
    ]


def _remedies(comparison: Comparison, decimals: int) -> list[dict[str, Any]]:
    """For each fusion that remedies trained: its name, tables and figures."""
    found = comparison.findings.cooperation
    if found is None:
        return []
    return [
        {
            "fusion": fusion,
            "gains": gains_table(group, comparison.metric, decimals),
            "tables": cooperation_tables(group, comparison.metric, decimals),
            "figures": cooperation_figures(group),
        }
        for fusion, group in treated_fusions(found).items()
    ]


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
