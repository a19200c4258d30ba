import math
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.robustness import Robustness
from fuseloom.metrics.interval import Interval
from fuseloom.report.decay import decay


@pytest.fixture
def robustness(diagnosis: Diagnosis) -> Robustness:
    assert diagnosis.robustness is not None
    return diagnosis.robustness


def drawn(robustness: Robustness) -> dict[str, Element]:
    return {name: fromstring(plot) for name, plot in decay(robustness, 3)}


def curves(drawing: Element) -> list[Element]:
    groups = [group for group in drawing.iter("g") if group.attrib.get("class", "").startswith("decay")]
    return [group for group in groups if group.find("circle") is not None]


def points(shape: Element | None) -> list[tuple[float, float]]:
    assert shape is not None
    pairs = (pair.split(",") for pair in shape.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_figure_per_modality_and_a_line_per_corruption(robustness: Robustness) -> None:
    found = drawn(robustness)
    assert {name: len(curves(one)) for name, one in found.items()} == {
        "top": 2,
        "bottom": 2,
        "top and bottom at once": 1,
    }


def test_scores_of_all_figures_stand_on_one_scale(robustness: Robustness) -> None:
    heights = {}
    for drawing in drawn(robustness).values():
        for curve in curves(drawing):
            for circle in curve.iter("circle"):
                said = circle.findtext("title") or ""
                heights[float(said.split()[2])] = float(circle.attrib["cy"])
    scores = sorted(heights)
    unit = (heights[scores[-1]] - heights[scores[0]]) / (scores[-1] - scores[0])
    assert unit < 0
    for score in scores:
        assert heights[score] == pytest.approx(heights[scores[0]] + unit * (score - scores[0]), abs=0.2)


def test_the_band_holds_the_line(robustness: Robustness) -> None:
    for curve in curves(drawn(robustness)["top"]):
        line, band = points(curve.find("polyline")), points(curve.find("polygon"))
        upper, lower = band[: len(line)], band[: len(line) - 1 : -1]
        for (x, y), (x_high, high), (x_low, low) in zip(line, upper, lower, strict=True):
            assert x == x_high == x_low
            assert high < y < low


def test_the_collapse_is_ringed_and_said(robustness: Robustness) -> None:
    drawing = drawn(robustness)["bottom"]
    rings = [circle for circle in drawing.iter("circle") if circle.attrib["class"] == "collapsed"]
    assert [ring.findtext("title") for ring in rings] == ["severity 0.8: 0.110 [0.090, 0.130]"]
    names = [text.text for text in drawing.iter("text") if text.attrib["class"] == "name"]
    assert names == ["gaussian noise: holds", "missing: breaks at 0.8"]
    assert "missing 0.110 at severity 0.8, breaks at 0.8." in drawing.attrib["aria-label"]


def test_scores_that_are_not_numbers_leave_a_gap(robustness: Robustness) -> None:
    first = robustness.curves[0]
    gap = replace(first, scores=(first.scores[0], Interval(mean=math.nan), first.scores[2]))
    drawing = drawn(replace(robustness, constant=None, curves=(gap,)))["top"]
    (curve,) = curves(drawing)
    assert len(points(curve.find("polyline"))) == 2
    assert [line for line in drawing.iter("line") if line.attrib["class"] == "diagonal"] == []


def test_without_intervals_there_is_no_band(robustness: Robustness) -> None:
    first = robustness.curves[0]
    bare = replace(first, scores=tuple(Interval(mean=one.mean) for one in first.scores))
    (curve,) = curves(drawn(replace(robustness, curves=(bare,)))["top"])
    assert curve.find("polygon") is None
