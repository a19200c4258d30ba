from xml.etree.ElementTree import Element, fromstring

import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.interaction_regression import InteractionRegression, interaction_regression
from fuseloom.report.effects import effects


def regression(names: str = "ab", *, family: str = "linear", groups: bool = False) -> InteractionRegression:
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(300, generator=generator).double() for name in names}
    if groups:
        inputs["a"] = (inputs["a"] > 0).double()
    target = 2 * inputs["a"] * inputs["b"] + torch.randn(300, generator=generator).double()
    target = target if family == "linear" else (target > 0).double()
    return interaction_regression(Batch(inputs=inputs, target=target), target="y", family=family)


def groups_of(plot: str) -> list[Element]:
    found = fromstring(plot).iter("g")
    return [group for group in found if group.attrib.get("class", "").startswith("decay")]


def points(shape: Element | None) -> list[tuple[float, float]]:
    assert shape is not None
    pairs = (pair.split(",") for pair in shape.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_line_for_each_value_of_the_moderator_within_its_shade() -> None:
    ((title, plot),) = effects(regression())
    assert title == "a by b"
    names = [t.text or "" for t in fromstring(plot).iter("text") if t.attrib["class"] == "name"]
    assert [name.rpartition(" ")[2] for name in names] == ["(low)", "(middle)", "(high)"]
    lines = [group for group in groups_of(plot) if group.find("polygon") is not None]
    assert [one.attrib["class"] for one in lines] == [f"decay series-{k}" for k in range(3)]
    for group in lines:
        line, shade = points(group.find("polyline")), points(group.find("polygon"))
        upper, lower = shade[: len(line)], shade[: len(line) - 1 : -1]
        for (x, y), (left, high), (right, low) in zip(line, upper, lower, strict=True):
            assert left == x == right
            assert high < y < low  # a picture's y grows downwards
    falls, _, rises = (points(group.find("polyline")) for group in lines)
    assert falls[0][1] < falls[-1][1]
    assert rises[0][1] > rises[-1][1]


def test_the_lines_are_where_the_numbers_say() -> None:
    one = regression()
    ((_, plot),) = effects(one)
    drawing = fromstring(plot)
    ticks = [
        t for t in drawing.iter("text") if t.attrib["class"] == "tick" and t.attrib["text-anchor"] == "end"
    ]
    (low, low_y), (high, high_y) = (
        (float(t.text or ""), float(t.attrib["y"]) - 5) for t in (ticks[0], ticks[-1])
    )
    line = next(effect for effect in one.effects if (effect.modality, effect.moderator) == ("a", "b"))
    drawn = points(groups_of(plot)[0].find("polyline"))
    for (_, y), expected in zip(drawn, line.expected, strict=True):
        assert low + (y - low_y) / (high_y - low_y) * (high - low) == pytest.approx(expected, abs=0.05)


def test_of_a_modality_with_two_values_the_other_ones_slope_is_drawn() -> None:
    ((title, plot),) = effects(regression(groups=True))
    assert title == "b by a"
    names = [t.text for t in fromstring(plot).iter("text") if t.attrib["class"] == "name"]
    assert names == ["a = 0", "a = 1"]


def test_a_probability_is_drawn_between_nought_and_one() -> None:
    ((_, plot),) = effects(regression(family="logistic"))
    texts = [t.text for t in fromstring(plot).iter("text") if t.attrib["class"] == "axis"]
    assert texts == ["probability of y", "a"]
    assert fromstring(plot).attrib["aria-label"].startswith("Expected probability of y as a goes from ")


def test_of_many_pairs_the_first_six_are_drawn() -> None:
    found = effects(regression("abcd"))
    assert len(found) == 6
    assert found[0][0] == "a by b"
    assert len(effects(regression("abcde"))) == 6
