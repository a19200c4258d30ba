from collections.abc import Callable, Mapping
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.sweep import Course
from fuseloom.report.experiments.curve import sweep_curve
from fuseloom.report.frame import LEFT, RIGHT

AROUND = {"0.05": 0.80, "0.1": 0.84, "0.15": 0.86, "0.2": 0.82}


Draw = Callable[..., Element]


@pytest.fixture
def draw(make_course: Callable[..., Course]) -> Draw:
    def drawn(scores: Mapping[str, float], **changes: object) -> Element:
        course = make_course({(value,): score for value, score in scores.items()}, **changes)
        return fromstring(sweep_curve(course, "theta"))

    return drawn


def labelled(figure: Element) -> dict[str, float]:
    return {
        label.text or "": float(label.attrib["x"])
        for label in figure.iter("text")
        if label.attrib.get("class") == "tick" and label.attrib["text-anchor"] == "middle"
    }


def test_the_optimum_by_validation_has_the_ring_and_what_is_not_worse_a_stripe(draw: Draw) -> None:
    figure = draw(AROUND, contenders=(("0.15",), ("0.1",)))
    places = labelled(figure)
    (ring,) = (one for one in figure.iter("circle") if one.attrib["class"] == "best")
    assert float(ring.attrib["cx"]) == pytest.approx(places["0.15"], abs=0.1)
    stripes = [float(one.attrib["x"]) + 7 for one in figure.iter("rect")]
    assert sorted(stripes) == pytest.approx(sorted([places["0.1"], places["0.15"]]), abs=0.1)
    assert figure.attrib["aria-label"].startswith(
        "accuracy on digits against theta: best by validation at 0.15"
    )


def test_values_stand_in_their_order_whatever_that_of_the_cells(draw: Draw) -> None:
    line = next(iter(draw(AROUND).iter("polyline")))
    across = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    assert across == sorted(across)
    assert len(across) == 4
    assert LEFT < across[0] < across[-1] < RIGHT


@pytest.mark.parametrize(
    ("values", "even"),
    [
        (("1", "2", "4"), False),
        (("1e-4", "1e-3", "1e-2"), True),
        (("0", "0.1", "10"), True),  # no logarithm of zero: by rank
        (("-1", "0", "1"), True),
    ],
)
def test_powers_of_ten_stand_evenly_and_other_numbers_by_their_size(
    draw: Draw, values: tuple[str, ...], even: bool
) -> None:
    first, second, third = (labelled(draw(dict.fromkeys(values, 0.5)))[value] for value in values)
    assert (second - first == pytest.approx(third - second, abs=0.3)) is even


def test_an_interval_that_is_far_wider_than_the_curve_does_not_flatten_it(draw: Draw) -> None:
    figure = draw({"1": 0.80, "2": 0.82}, reach=5.0)
    lines = [line for line in figure.iter("polyline") if len(line.attrib["points"].split()) == 2]
    heights = [float(point.split(",")[1]) for point in lines[0].attrib["points"].split()]
    assert abs(heights[0] - heights[1]) > 20


def test_one_seed_has_neither_shade_nor_stripes(draw: Draw) -> None:
    figure = draw(AROUND, seeds=1)
    assert not list(figure.iter("polygon"))
    assert not list(figure.iter("rect"))
    assert "interval" not in "".join(text.text or "" for text in figure.iter("text"))
