"""Variants as one HTML page that loads nothing and runs nothing: gains on the reference, and the tables."""

from dataclasses import dataclass

from fuseloom.comparison.variants import Variants, VariantTable
from fuseloom.report.estimates import estimates
from fuseloom.report.experiments.conditions import conditions_table
from fuseloom.report.experiments.costs import costs_table
from fuseloom.report.experiments.tables import data_names, variants_decimals, variants_table
from fuseloom.report.experiments.watched import watched_table
from fuseloom.report.page import environment, resource
from fuseloom.report.tables import Table

__all__ = ["to_variants_html"]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A table below the first, which not every experiment has."""

    key: str
    title: str
    table: Table


def to_variants_html(variants: Variants) -> str:
    """What variants found, as a page: one file, no request to anywhere, no script.

    What each gains on the reference is drawn for each data set. Below stand the tables that the terminal
    shows: scores, and where there are such, scores under conditions, costs, and what training showed.

    Args:
        variants: Finished ones.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    names = data_names(table.data for table in variants.tables)
    drawn = zip(names, (_gains(table, variants.reference) for table in variants.tables), strict=True)
    page = (
        environment(variants_decimals(variants.tables[0]))
        .get_template("variants_page.html")
        .render(
            variants=variants,
            data=names,
            figures=[(name, figure) for name, figure in drawn if figure],
            table=variants_table(variants),
            parts=_parts(variants),
            style=resource("style.css"),
        )
    )
    return f"{page}\n"


def _gains(table: VariantTable, reference: str) -> str:
    """Inline SVG; empty where there is nothing but the reference."""
    gains = {one.name: one.gain for one in table.variants if one.gain is not None}
    if not gains:
        return ""
    return estimates(gains, f"{table.metric} against {reference}", variants_decimals(table), zero=True)


def _parts(variants: Variants) -> list[_Part]:
    found = (
        ("conditions", "Under which conditions?", conditions_table(variants)),
        ("costs", "What does it cost?", costs_table(variants)),
        ("watched", "What did training show?", watched_table(variants)),
    )
    return [_Part(key=key, title=title, table=table) for key, title, table in found if table is not None]
