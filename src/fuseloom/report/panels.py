"""A diagnosis as panels, of which page and terminal show the sentences, the limits and the numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.report import sayings, tables
from fuseloom.report.exchanged import exchanged_details, exchanged_saying, exchanged_table
from fuseloom.report.gradients import gradients_saying, gradients_table
from fuseloom.report.limits import LIMITS
from fuseloom.report.modality_maps import maps_details, maps_saying, maps_table
from fuseloom.report.quality import quality_saying, quality_table
from fuseloom.report.regression import regression_details, regression_saying, regression_table
from fuseloom.report.tables import Table
from fuseloom.report.words import decimals_for, listed

__all__ = ["Panel", "Part", "diagnosis_decimals", "panels"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One diagnosis."""

    name: str
    """The field of `Diagnosis`."""
    key: str
    """The name, with a number where there are several."""
    title: str
    sentence: str
    """What a person who reads nothing else should know."""
    table: Table
    limits: str
    """What it can and cannot show."""
    details: tuple[tuple[str, Table], ...] = ()
    """Titles and tables of more numbers."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Diagnoses that answer one question."""

    anchor: str
    title: str
    short: str
    """Of the list of sections."""
    parts: tuple[Part, ...]
    not_told: tuple[tuple[str, str], ...]
    """Title and reason of those that could not be made."""


_PANELS = {
    "interaction": (
        "Do the modalities interact?",
        "Interaction",
        ("emap", "interaction_orders", "pid", "interaction_regression"),
    ),
    "worth": ("What is each modality worth?", "Worth", ("reliance", "shapley", "modality_test")),
    "training": ("What does training work on?", "Training", ("gradients",)),
    "attention": ("Where does it look?", "Attention", ("attention", "attention_quality")),
    "exchange": ("What do the modalities exchange?", "Exchange", ("exchanged",)),
    "maps": ("Where was each modality used?", "Maps", ("modality_maps",)),
    "space": ("Do the modalities share a space?", "Shared space", ("shared_space",)),
    "robustness": ("What would break it?", "Robustness", ("robustness",)),
    "rescues": ("Where does fusing help, where does it harm?", "Rescues", ("complementarity",)),
}

_TITLES = {
    "emap": "With and without interactions (EMAP)",
    "interaction_orders": "How many modalities act together",
    "pid": "What the modalities tell of the target (PID)",
    "interaction_regression": "In the data themselves: a regression with products",
    "reliance": "Without each modality",
    "shapley": "Shared fairly (Shapley values)",
    "modality_test": "More than chance? (modality test)",
    "gradients": "Gradients per modality",
    "attention": "Attention per modality",
    "attention_quality": "Does attention follow quality?",
    "exchanged": "What is exchanged, layer by layer",
    "modality_maps": "Streams, and what they took from one another",
    "shared_space": "Streams compared",
    "robustness": "Score against severity",
    "complementarity": "Rows rescued and harmed",
}


def panels(diagnosis: Diagnosis, decimals: int) -> tuple[Panel, ...]:
    """What there is to show, in reading order; a panel of which nothing was asked is left out.

    Args:
        diagnosis: Of one model.
        decimals: Of scores.
    """
    found = [
        Panel(
            anchor=anchor,
            title=title,
            short=short,
            parts=tuple(part for part in _parts(diagnosis, decimals) if part.name in names),
            not_told=tuple(
                (_TITLES[name], diagnosis.not_told[name]) for name in names if name in diagnosis.not_told
            ),
        )
        for anchor, (title, short, names) in _PANELS.items()
    ]
    return tuple(panel for panel in found if panel.parts or panel.not_told)


def diagnosis_decimals(diagnosis: Diagnosis) -> int:
    """Decimals that give the score of the model three or four digits."""
    scored = (diagnosis.reliance, diagnosis.shapley, diagnosis.robustness)
    scores = [one.score for one in scored if one is not None]
    scores += [diagnosis.emap.before] if diagnosis.emap is not None else []
    means = [abs(score.mean) for score in scores if math.isfinite(score.mean)]
    return decimals_for(means[0] if means else 0.0)


def _parts(diagnosis: Diagnosis, decimals: int) -> Iterator[Part]:
    yield from _interaction(diagnosis, decimals)
    yield from _worth(diagnosis, decimals)
    yield from _others(diagnosis, decimals)


def _interaction(diagnosis: Diagnosis, decimals: int) -> Iterator[Part]:
    if one := diagnosis.emap:
        yield _part("emap", sayings.emap_saying(one, decimals), tables.emap_table(one, decimals))
    if orders := diagnosis.interaction_orders:
        sentence = sayings.orders_saying(orders, decimals)
        yield _part("interaction_orders", sentence, tables.orders_table(orders, decimals))
    for place, pair in enumerate(diagnosis.pid):
        part = _part("pid", sayings.pid_saying(pair), tables.pid_table(pair))
        of = f": {listed(pair.sources)}" if len(diagnosis.pid) > 1 else ""
        yield replace(part, key=f"pid {place}", title=part.title + of)
    if fitted := diagnosis.interaction_regression:
        part = _part("interaction_regression", regression_saying(fitted), regression_table(fitted))
        yield replace(part, details=tuple(regression_details(fitted)))


def _worth(diagnosis: Diagnosis, decimals: int) -> Iterator[Part]:
    if one := diagnosis.reliance:
        yield _part("reliance", sayings.reliance_saying(one, decimals), tables.reliance_table(one, decimals))
    if values := diagnosis.shapley:
        sentence = sayings.shapley_saying(values, decimals)
        yield _part("shapley", sentence, tables.shapley_table(values, decimals))
    if test := diagnosis.modality_test:
        sentence = sayings.modality_test_saying(test)
        yield _part("modality_test", sentence, tables.modality_test_table(test, decimals))


def _others(diagnosis: Diagnosis, decimals: int) -> Iterator[Part]:
    if course := diagnosis.gradients:
        yield _part("gradients", gradients_saying(course), gradients_table(course))
    if one := diagnosis.attention:
        part = _part("attention", sayings.attention_saying(one), tables.attention_table(one))
        yield replace(part, details=tuple(tables.attention_details(one)))
    if quality := diagnosis.attention_quality:
        yield _part("attention_quality", quality_saying(quality), quality_table(quality))
    yield from _exchange(diagnosis, decimals)
    if space := diagnosis.shared_space:
        yield _part("shared_space", sayings.shared_space_saying(space), tables.shared_space_table(space))
    if curves := diagnosis.robustness:
        sentence = sayings.robustness_saying(curves, decimals)
        yield _part("robustness", sentence, tables.robustness_table(curves, decimals))
    if rows := diagnosis.complementarity:
        sentence = sayings.complementarity_saying(rows)
        yield _part("complementarity", sentence, tables.complementarity_table(rows, decimals))


def _exchange(diagnosis: Diagnosis, decimals: int) -> Iterator[Part]:
    if swapped := diagnosis.exchanged:
        part = _part("exchanged", exchanged_saying(swapped, decimals), exchanged_table(swapped))
        yield replace(part, details=tuple(exchanged_details(swapped, decimals)))
    if maps := diagnosis.modality_maps:
        part = _part("modality_maps", maps_saying(maps, decimals), maps_table(maps, decimals))
        yield replace(part, details=tuple(maps_details(maps)))


def _part(name: str, sentence: str, table: Table) -> Part:
    title, limits = _TITLES[name], LIMITS[name]
    return Part(name=name, key=name, title=title, sentence=sentence, table=table, limits=limits)
