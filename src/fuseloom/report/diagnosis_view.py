"""A diagnosis as the page shows it: panels with their figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.report.bars import bars
from fuseloom.report.decay import decay
from fuseloom.report.effects import effects
from fuseloom.report.estimates import estimates
from fuseloom.report.exchanged import ExchangeCard, exchange_cards
from fuseloom.report.gallery import Gallery, sample_gallery
from fuseloom.report.glance import glance
from fuseloom.report.gradients import gradient_figures, gradients_caption
from fuseloom.report.information import information
from fuseloom.report.looks import look_figures
from fuseloom.report.modality_maps import SceneCard, scene_cards
from fuseloom.report.panels import Panel, panels
from fuseloom.report.polar import polar
from fuseloom.report.quality import quality_figures
from fuseloom.report.tables import Table, samples_table

__all__ = ["View", "diagnosis_view"]

Figures = Sequence[tuple[str, str]]

_CAPTIONS = {
    "emap": ("Lines: 95 % intervals of each score; of the difference more is known than they suggest."),
    "shapley": ("Lines: 95 % intervals. On the upright line a modality brings nothing."),
    "complementarity": (
        "Lines: 95 % intervals. The oracle takes the best modality of each row, which no rule can know."
    ),
    "pid": ("Filled bars: the data. Hollow bars: the predictions of the model. Lines: 95 % intervals."),
    "reliance": (
        "How much worse the score gets. Filled: hidden. Hollow: shuffled between rows. Grey: noise."
    ),
    "attention": (
        "A dot for each head, in the first layers. Lines: 95 % intervals. Upright strokes: what the "
        "modality would get if attention did not choose. Half discs: the mean key of each modality as seen "
        "from the query, at its angle and with its length; attention is drawn to what is near 0° and long. "
        "Pictures: for each word the patches it looks at, mean over heads, darkest where it looks most."
    ),
    "exchanged": ("Lines: 95 % intervals of each score; of the difference more is known than they suggest."),
    "modality_maps": ("Lines: 95 % intervals of each score, of what the stream of each modality predicts."),
    "attention_quality": (
        "Lines: 95 % intervals. On the upright line attention does not notice; right of it a modality "
        "gets less weight the worse it is."
    ),
    "interaction_regression": (
        "Of the data, whatever a model predicts. Lines: what the regression expects, other modalities at "
        "their means. Shades: 95 % intervals of that, not of single rows."
    ),
    "robustness": (
        "Shades: 95 % intervals. Dashed level: the best constant answer. Rings: where the lead over "
        "it is no longer shown."
    ),
}


@dataclass(frozen=True, kw_only=True)
class View:
    """Of one model."""

    diagnosis: Diagnosis
    panels: Mapping[str, Panel]
    """Name -> panel, all of them."""
    sections: tuple[Panel, ...]
    """Those that are sections of their own."""
    elsewhere: tuple[str, ...]
    """Names of the others."""
    figures: Mapping[str, Figures]
    """Key of a part -> titles and drawings."""
    captions: Mapping[str, str]
    """What the figures of a diagnosis show."""
    samples: Table | None
    """Rows on which fusing helps or harms."""
    gallery: Gallery | None
    """Some of them with what they look like."""
    exchanges: tuple[ExchangeCard, ...]
    """Rows with what was exchanged on them."""
    scenes: tuple[SceneCard, ...]
    """Scenes with where each modality was used."""


def diagnosis_view(
    diagnosis: Diagnosis,
    decimals: int,
    *,
    placed: Sequence[str] = (),
    number: int = 0,
) -> View:
    """Draw what there is to draw.

    Args:
        diagnosis: Of one model.
        decimals: Of scores.
        placed: Panels that the page shows elsewhere, their bars included.
        number: Of the diagnosis on the page, from 0: the anchors of later ones bear it.
    """
    found = {panel.anchor: panel for panel in panels(diagnosis, decimals)}
    sections = [panel for name, panel in found.items() if name not in placed]
    if number:
        sections = [replace(one, anchor=f"{one.anchor}-{number + 1}") for one in sections]
    figures = dict(_figures(diagnosis, decimals))
    if "worth" in placed:
        figures.pop("reliance", None)
    rows = diagnosis.complementarity
    return View(
        diagnosis=diagnosis,
        panels=found,
        sections=tuple(sections),
        elsewhere=tuple(name for name in placed if name in found),
        figures=figures,
        captions=_captions(diagnosis),
        samples=samples_table(rows, decimals, diagnosis.classes)
        if rows is not None and rows.samples
        else None,
        gallery=None if rows is None else sample_gallery(rows, decimals, diagnosis.classes),
        exchanges=() if diagnosis.exchanged is None else exchange_cards(diagnosis.exchanged),
        scenes=() if diagnosis.modality_maps is None else scene_cards(diagnosis.modality_maps),
    )


def _captions(diagnosis: Diagnosis) -> dict[str, str]:
    if (course := diagnosis.gradients) is None:
        return _CAPTIONS
    return _CAPTIONS | {"gradients": gradients_caption(course)}


def _figures(diagnosis: Diagnosis, decimals: int) -> Iterator[tuple[str, Figures]]:
    yield from _of_interaction(diagnosis, decimals)
    yield from _of_worth(diagnosis, decimals)
    yield from _of_others(diagnosis, decimals)


def _of_interaction(diagnosis: Diagnosis, decimals: int) -> Iterator[tuple[str, Figures]]:
    if (one := diagnosis.emap) is not None:
        scores = {"with interactions": one.before, "without them": one.after}
        yield "emap", [("", estimates(scores, f"test {one.metric}", decimals))]
    for place, pair in enumerate(diagnosis.pid):
        yield f"pid {place}", [("", information(pair))]
    if (fitted := diagnosis.interaction_regression) is not None:
        yield "interaction_regression", effects(fitted)


def _of_worth(diagnosis: Diagnosis, decimals: int) -> Iterator[tuple[str, Figures]]:
    if diagnosis.reliance is not None:
        yield "reliance", [("", bars(diagnosis.reliance, decimals))]
    if (shared := diagnosis.shapley) is not None:
        title = f"{shared.metric} it brings (→ better)"
        yield "shapley", [("", estimates(shared.values, title, decimals, zero=True))]


def _of_others(diagnosis: Diagnosis, decimals: int) -> Iterator[tuple[str, Figures]]:
    if diagnosis.gradients is not None:
        yield "gradients", gradient_figures(diagnosis.gradients)
    if diagnosis.attention is not None:
        one = diagnosis.attention
        yield "attention", [*glance(one), *polar(one), *look_figures(one)]
    if diagnosis.attention_quality:
        yield "attention_quality", quality_figures(diagnosis.attention_quality)
    if (swapped := diagnosis.exchanged) is not None:
        scores = {"with exchange": swapped.score, "without it": swapped.without}
        yield "exchanged", [("", estimates(scores, f"test {swapped.metric}", decimals))]
    if (maps := diagnosis.modality_maps) is not None:
        scores = {stream.name: stream.score for stream in maps.streams}
        yield "modality_maps", [("", estimates(scores, f"test {maps.metric}", decimals))]
    if diagnosis.robustness is not None:
        yield "robustness", decay(diagnosis.robustness, decimals)
    if (rows := diagnosis.complementarity) is not None:
        scores = {**rows.alone, rows.model: rows.fused, "oracle of each row": rows.oracle}
        yield "complementarity", [("", estimates(scores, rows.measure, decimals))]
