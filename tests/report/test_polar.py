import math
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.attention import Attention, KeyPoint
from fuseloom.metrics.interval import Interval
from fuseloom.report.polar import polar


def looked(diagnosis: Diagnosis, *points: KeyPoint) -> Attention:
    assert diagnosis.attention is not None
    (layer,) = diagnosis.attention.layers
    return replace(diagnosis.attention, layers=(replace(layer, points=points),))


def point(modality: str, angle: float, norm: float, spread: float | None = None) -> KeyPoint:
    def interval(mean: float) -> Interval:
        return (
            Interval(mean=mean)
            if spread is None
            else Interval(mean=mean, low=mean - spread, high=mean + spread)
        )

    return KeyPoint(modality=modality, angle=interval(angle), norm=interval(norm))


def drawn(found: Attention) -> Element:
    ((name, plot),) = polar(found)
    assert name == "merge.attention: keys"
    return fromstring(plot)


def ends(drawing: Element) -> list[tuple[float, float]]:
    """Where the dots are, from where all lines start, upwards."""
    line = next(one for one in drawing.iter("line") if one.get("class") == "whisker")
    x, y = float(line.attrib["x1"]), float(line.attrib["y1"])
    return [(float(dot.attrib["cx"]) - x, y - float(dot.attrib["cy"])) for dot in drawing.iter("circle")]


def test_each_key_is_at_its_angle_and_as_long_as_the_others_say(diagnosis: Diagnosis) -> None:
    found = looked(diagnosis, point("top", 120, 1.0), point("bottom", 30, 2.0))
    (x, y), (other_x, other_y) = ends(drawn(found))
    assert math.degrees(math.atan2(y, x)) == pytest.approx(30, abs=0.2)
    assert math.degrees(math.atan2(other_y, other_x)) == pytest.approx(120, abs=0.2)
    assert math.hypot(x, y) == pytest.approx(2 * math.hypot(other_x, other_y), rel=0.01)


def test_it_is_told_in_words_too_in_order_of_the_angle(diagnosis: Diagnosis) -> None:
    drawing = drawn(looked(diagnosis, point("top", 120, 1.0), point("bottom", 30, 2.0)))
    assert "bottom at 30 degrees, 2.00 long; top at 120 degrees, 1.00 long." in drawing.attrib["aria-label"]
    said = [one.text for one in drawing.iter("text")]
    assert said[-4:] == ["1 bottom", "30°, 2.00 long", "2 top", "120°, 1.00 long"]


def test_intervals_are_drawn_where_there_are_any(diagnosis: Diagnosis) -> None:
    def count(spread: float | None) -> int:
        drawing = drawn(looked(diagnosis, point("top", 60, 2.0, spread)))
        return sum(one.get("class") == "whisker" for one in drawing.iter())

    assert (count(None), count(0.0), count(0.5)) == (1, 1, 3)


def test_what_no_row_has_and_layers_without_keys_are_left_out(diagnosis: Diagnosis) -> None:
    absent = point("sound", math.nan, math.nan)
    drawing = drawn(looked(diagnosis, point("top", 60, 2.0), absent))
    assert len(list(drawing.iter("circle"))) == 1
    assert polar(looked(diagnosis, absent)) == []
    assert polar(looked(diagnosis)) == []


def test_of_many_layers_the_first_are_drawn(diagnosis: Diagnosis) -> None:
    (layer,) = looked(diagnosis, point("top", 60, 2.0)).layers
    assert diagnosis.attention is not None
    many = replace(diagnosis.attention, layers=tuple(replace(layer, name=str(k)) for k in range(30)))
    assert [name for name, _ in polar(many)] == [f"{k}: keys" for k in range(12)]
