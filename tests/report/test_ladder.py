import math
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.result import Comparison
from fuseloom.diagnose.subsets import Subsets, SubsetScore
from fuseloom.metrics.interval import Interval
from fuseloom.report.ladder import ladder, subset_name


def parts(line: Element, tag: str, class_: str) -> list[Element]:
    return [part for part in line.iter(tag) if class_ in part.attrib.get("class", "").split()]


def lines(drawing: Element) -> list[Element]:
    return [group for group in drawing.iter("g") if "entry" in group.attrib.get("class", "")]


def zero(drawing: Element) -> float:
    (line,) = (line for line in drawing.iter("line") if line.attrib["class"] == "zero")
    return float(line.attrib["x1"])


def dot(line: Element) -> float:
    return float(parts(line, "circle", "mark")[0].attrib["cx"])


def errors() -> Subsets:
    """Of a metric where lower is better."""
    return Subsets(
        model="sum",
        metric="rmse",
        scores=(
            SubsetScore(modalities=("a", "b"), score=Interval(mean=1.0), drop=Interval(mean=0.0)),
            SubsetScore(
                modalities=("a",),
                score=Interval(mean=1.5),
                drop=Interval(mean=0.5, low=0.25, high=0.75),
                alone=Interval(mean=1.25),
            ),
        ),
    )


def test_a_score_stands_at_its_place_and_its_interval_around_it(comparison: Comparison) -> None:
    drawing = fromstring(ladder(comparison.findings.subsets[0], 3, higher_is_better=True))
    whole, top, bottom = lines(drawing)
    assert dot(whole) == zero(drawing)
    assert parts(whole, "line", "whisker") == []
    unit = (dot(bottom) - dot(top)) / 0.05
    (whisker,) = parts(top, "line", "whisker")
    left, right = float(whisker.attrib["x1"]), float(whisker.attrib["x2"])
    assert zero(drawing) - left == pytest.approx(0.21 * unit, abs=0.5)
    assert zero(drawing) - right == pytest.approx(0.12 * unit, abs=0.5)


def test_where_lower_is_better_the_interval_lies_on_the_other_side() -> None:
    drawing = fromstring(ladder(errors(), 2, higher_is_better=False))
    _, part = lines(drawing)
    (whisker,) = parts(part, "line", "whisker")
    left, right = float(whisker.attrib["x1"]), float(whisker.attrib["x2"])
    assert zero(drawing) < left < dot(part) < right
    (square,) = parts(part, "rect", "unimodal")
    alone = float(square.attrib["x"]) + float(square.attrib["width"]) / 2
    assert alone == pytest.approx((zero(drawing) + dot(part)) / 2, abs=0.3)
    assert "← better" in [
        text.text.split("(")[1].rstrip(")") for text in drawing.iter("text") if "(" in (text.text or "")
    ]


def test_scores_that_are_not_finite_are_said_and_not_drawn() -> None:
    unknown = Interval(mean=math.nan)
    scores = tuple(replace(one, score=unknown, alone=unknown, drop=unknown) for one in errors().scores)
    drawing = fromstring(ladder(replace(errors(), scores=scores), 2, higher_is_better=True))
    numbers = [text.text for text in drawing.iter("text") if text.attrib["class"] == "number"]
    assert numbers == ["n/a", "n/a"]
    assert list(drawing.iter("circle")) == []


def test_names_say_what_is_given_and_fit() -> None:
    assert subset_name(errors().scores[0], 2) == "all modalities"
    assert subset_name(errors().scores[0], 3) == "a + b"
    assert subset_name(errors().scores[1], 1) == "a"
    long = replace(errors().scores[1], modalities=("x" * 50, "y" * 50))
    drawing = fromstring(
        ladder(replace(errors(), scores=(errors().scores[0], long)), 2, higher_is_better=True)
    )
    assert max(len(text.text or "") for text in drawing.iter("text")) < 40
    assert "all modalities 1.00; " in drawing.attrib["aria-label"]
