import math
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.diagnose.reliance import Reliance
from fuseloom.metrics.interval import Interval
from fuseloom.report.bars import bars


def drawn(hidden: dict[str, float], shuffled: dict[str, float]) -> Element:
    found = Reliance(
        model="concat",
        metric="accuracy",
        score=Interval(mean=0.9),
        hidden={name: Interval(mean=drop) for name, drop in hidden.items()},
        shuffled={name: Interval(mean=drop) for name, drop in shuffled.items()},
        noise={},
    )
    return fromstring(bars(found, 3))


def test_intervals_are_drawn_around_the_ends_and_noise_is_a_third_bar() -> None:
    found = Reliance(
        model="concat",
        metric="accuracy",
        score=Interval(mean=0.9),
        hidden={"text": Interval(mean=0.2, low=0.1, high=0.4)},
        shuffled={"text": Interval(mean=0.3)},
        noise={"text": Interval(mean=0.4, low=0.35, high=0.45)},
    )
    drawing = fromstring(bars(found, 3))
    drawn_ends, start = ends(drawing), zero(drawing)
    assert list(drawn_ends) == ["text hidden", "text shuffled", "text noise"]
    unit = (drawn_ends["text hidden"][1] - start) / 0.2
    reaches = [line.attrib for line in drawing.iter("line") if line.attrib["class"] == "reach"]
    places = [(float(one["x1"]) - start, float(one["x2"]) - start) for one in reaches]
    assert places == [
        pytest.approx((0.1 * unit, 0.4 * unit), abs=0.3),
        pytest.approx((0.35 * unit, 0.45 * unit), abs=0.3),
    ]
    numbers = [text for text in drawing.iter("text") if text.attrib["class"] == "number"]
    assert float(numbers[0].attrib["x"]) > start + 0.4 * unit


def ends(drawing: Element) -> dict[str, tuple[float, float]]:
    """Title of each bar -> its left and right end."""
    found = {}
    for group in drawing.iter("g"):
        title, bar = group.findtext("title"), group.find("rect")
        assert title is not None
        assert bar is not None
        left = float(bar.attrib["x"])
        found[title.split(":")[0]] = (left, left + float(bar.attrib["width"]))
    return found


def zero(drawing: Element) -> float:
    (line,) = (line for line in drawing.iter("line") if line.attrib["class"] == "zero")
    return float(line.attrib["x1"])


def test_bars_are_as_long_as_the_drops() -> None:
    drawing = drawn({"text": 0.4, "image": 0.1}, {"text": 0.2, "image": 0.3})
    lengths = {name: right - left for name, (left, right) in ends(drawing).items()}
    unit = lengths["text hidden"] / 4
    assert lengths == pytest.approx(
        {
            "text hidden": 4 * unit,
            "text shuffled": 2 * unit,
            "image hidden": unit,
            "image shuffled": 3 * unit,
        },
        abs=0.2,
    )
    assert {left for left, _ in ends(drawing).values()} == {zero(drawing)}


def test_a_gain_goes_to_the_left() -> None:
    drawing = drawn({"text": 0.4, "noise": -0.1}, {"text": 0.2, "noise": 0.0})
    assert ends(drawing)["noise hidden"][1] == pytest.approx(zero(drawing), abs=0.2)
    assert ends(drawing)["noise hidden"][0] < zero(drawing) - 10
    numbers = {text.text: text.attrib["text-anchor"] for text in drawing.iter("text")}
    assert (numbers["-0.100"], numbers["+0.400"]) == ("end", "start")


def test_numbers_stay_inside_the_drawing() -> None:
    drawing = drawn({"text": -0.5, "image": 1.0}, {"text": -0.4, "image": 0.9})
    width = float(drawing.attrib["viewBox"].split()[2])
    for text in drawing.iter("text"):
        x, reach = float(text.attrib["x"]), 8 * len(text.text or "")
        spread = {"start": (0, reach), "end": (reach, 0), "middle": (reach / 2, reach / 2)}
        before, after = spread[text.attrib["text-anchor"]]
        assert x - before >= -1, text.text
        assert x + after <= width + 1, text.text


def test_what_was_not_measured_is_said() -> None:
    drawing = drawn({"text": math.nan}, {})
    assert [text.text for text in drawing.iter("text") if text.attrib["class"] == "number"] == ["n/a", "n/a"]


def test_no_modality_and_no_drop_can_be_drawn() -> None:
    assert ends(drawn({}, {})) == {}
    left, right = ends(drawn({"text": 0.0}, {"text": 0.0}))["text hidden"]
    assert right - left == 1


def test_the_label_says_the_drops() -> None:
    label = drawn({"text": 0.25}, {"text": -0.5}).attrib["aria-label"]
    assert label == "Loss of accuracy of concat per modality: text +0.250 hidden, -0.500 shuffled."
