import math
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.report.svg import element, figure, linear_axis, log_axis, marker, span, text, tooltip

VALUES = st.floats(-1e6, 1e6)


def test_names_and_values_of_attributes_are_made_safe() -> None:
    hostile = "\"><script>alert('1')</script>&\x00"
    parsed = fromstring(element("g", tooltip(hostile), text(hostile, 1, 2), aria_label=hostile))
    shown = hostile.replace("\x00", "\ufffd")
    assert parsed.attrib == {"aria-label": shown}
    assert [child.text for child in parsed] == [shown, shown]


def test_a_figure_says_what_it_shows() -> None:
    parsed = fromstring(figure("Scores", element("g"), width=100, height=50, class_="wide"))
    assert parsed.attrib["role"] == "img"
    assert parsed.attrib["aria-label"] == "Scores"
    assert parsed.attrib["viewBox"] == "0 0 100 50"
    assert parsed.attrib["class"] == "plot wide"


@given(VALUES, VALUES, st.integers(2, 9))
def test_a_linear_axis_has_round_ticks_inside_its_ends(one: float, other: float, most: int) -> None:
    low, high = min(one, other), max(one, other)
    axis = linear_axis(low, high, start=10, end=210, most=most)
    values = [value for value, _ in axis.ticks]
    assert 1 <= len(values) <= most + 1
    slack = 1e-6 * (axis.high - axis.low)
    assert axis.low - slack <= values[0] <= values[-1] <= axis.high + slack
    assert len({label for _, label in axis.ticks}) == len(values)


@given(VALUES)
def test_an_axis_of_one_value_has_room_around_it(value: float) -> None:
    axis = linear_axis(value, value, start=0, end=100)
    assert 20 < axis.place(value) < 80


def test_positions_are_linear_and_end_at_the_ends() -> None:
    axis = linear_axis(0, 10, start=100, end=0)
    assert [axis.place(value) for value in (0, 2.5, 10)] == [100, 75, 0]
    assert [axis.place(value) for value in (-5, 99)] == [100, 0]
    assert [axis.shows(value) for value in (-5, 0, 5, 99)] == [False, True, True, False]


@given(st.floats(1e-4, 1e9), st.floats(1, 1e9))
def test_a_log_axis_has_two_to_a_few_ticks_in_order(low: float, ratio: float) -> None:
    axis = log_axis(low, low * ratio, start=0, end=100)
    places = [axis.place(value) for value, _ in axis.ticks]
    assert 2 <= len(places) <= 8
    assert places == sorted(set(places))
    assert 0 <= places[0] < places[-1] <= 100


def test_equal_ratios_are_equally_far_apart() -> None:
    axis = log_axis(1, 10_000, start=0, end=100)
    assert [axis.place(10.0**k) for k in range(5)] == pytest.approx([0, 25, 50, 75, 100])


def test_span_leaves_out_what_is_not_finite() -> None:
    assert span([3, math.nan, -1, math.inf]) == (-1, 3)
    assert span([math.nan]) == (0, 1)


def test_each_role_has_its_own_shape_around_its_place() -> None:
    circle, square, diamond = (
        fromstring(marker(role, 50, 20, size=5)) for role in ("fusion", "unimodal", "baseline")
    )
    assert (circle.tag, circle.attrib["cx"], circle.attrib["cy"]) == ("circle", "50", "20")
    assert float(square.attrib["x"]) + float(square.attrib["width"]) / 2 == 50
    assert diamond.attrib["d"].startswith("M50.0 13.5")
    assert {mark.attrib["class"] for mark in (circle, square, diamond)} == {
        "mark fusion",
        "mark unimodal",
        "mark baseline",
    }
