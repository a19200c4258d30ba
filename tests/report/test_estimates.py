import math
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.metrics.interval import Interval
from fuseloom.report.estimates import estimates

FOUND = {"a": Interval(mean=0.2, low=0.1, high=0.3), "b": Interval(mean=0.4), "c": Interval(mean=math.nan)}


def values(drawing: Element, tag: str, class_: str, key: str) -> list[float]:
    found = [one for one in drawing.iter(tag) if class_ in one.attrib.get("class", "").split()]
    return [float(one.attrib[key]) for one in found]


def test_dots_and_whiskers_stand_at_their_values() -> None:
    drawing = fromstring(estimates(FOUND, "worth", 2, zero=True))
    (zero,) = values(drawing, "line", "zero", "x1")
    assert [one.text for one in drawing.iter("text") if one.attrib["class"] == "number"] == [
        "+0.20",
        "+0.40",
        "n/a",
    ]
    first, second = values(drawing, "circle", "mark", "cx")
    unit = (first - zero) / 0.2
    assert second == pytest.approx(zero + 0.4 * unit, abs=0.3)
    (low,), (high,) = values(drawing, "line", "whisker", "x1"), values(drawing, "line", "whisker", "x2")
    assert (low, high) == pytest.approx((zero + 0.1 * unit, zero + 0.3 * unit), abs=0.3)


def test_scores_have_no_zero_line_and_fill_the_axis() -> None:
    near = {"a": Interval(mean=0.91), "b": Interval(mean=0.92)}
    drawing = fromstring(estimates(near, "score", 2))
    assert values(drawing, "line", "zero", "x1") == []
    first, second = values(drawing, "circle", "mark", "cx")
    assert second - first > 200


def test_the_label_says_the_numbers() -> None:
    label = fromstring(estimates(FOUND, "worth", 2)).attrib["aria-label"]
    assert label == "worth, with 95 % intervals: a 0.20 [0.10, 0.30]; b 0.40; c n/a."
