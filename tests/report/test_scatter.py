import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.report.scatter import LATENCY, PARAMETERS, Cost, scatter, undrawn

MakeEntry = Callable[..., Entry]


def points(drawing: Element) -> dict[str, Element]:
    titled = {(group.findtext("title") or "").split(":")[0]: group for group in drawing.iter("g")}
    return {name: group[-1] for name, group in titled.items()}


def front(drawing: Element) -> list[str]:
    return drawing.attrib["aria-label"].removesuffix(".").split("cheaper than: ")[1].split(", ")


def with_costs(
    comparison: Comparison, make_entry: MakeEntry, pairs: dict[str, tuple[int, float]]
) -> Comparison:
    entries = tuple(make_entry(name, [score], parameters=cost) for name, (cost, score) in pairs.items())
    return replace(comparison, entries=entries)


@pytest.mark.parametrize("cost", [PARAMETERS, LATENCY])
def test_cheaper_stands_left_and_better_stands_high(comparison: Comparison, cost: Cost) -> None:
    marks = points(fromstring(scatter(comparison, cost)))
    assert float(marks["concat"].attrib["cx"]) < float(marks["cross_attention+concat"].attrib["cx"])
    assert float(marks["low_rank"].attrib["cy"]) < float(marks["cross_attention+concat"].attrib["cy"])


def test_tenfold_costs_are_equally_far_apart(comparison: Comparison, make_entry: MakeEntry) -> None:
    pairs = {"a": (100, 0.7), "b": (1000, 0.8), "c": (10_000, 0.9)}
    marks = points(fromstring(scatter(with_costs(comparison, make_entry, pairs), PARAMETERS)))
    left, middle, right = (float(marks[name].attrib["cx"]) for name in "abc")
    assert middle - left == pytest.approx(right - middle, abs=0.2)


@pytest.mark.parametrize(
    ("higher", "expected"), [(True, ["cheap", "fair", "best"]), (False, ["cheap", "fair_low"])]
)
def test_the_front_holds_those_that_no_other_beats(
    comparison: Comparison, make_entry: MakeEntry, higher: bool, expected: list[str]
) -> None:
    pairs = {
        "best": (9000, 0.9),
        "beaten": (5000, 0.75),
        "fair": (1000, 0.8),
        "fair_low": (1000, 0.65),
        "cheap": (100, 0.7),
    }
    board = replace(with_costs(comparison, make_entry, pairs), higher_is_better=higher)
    assert front(fromstring(scatter(board, PARAMETERS))) == expected


def test_what_has_no_place_is_named(comparison: Comparison, make_entry: MakeEntry) -> None:
    free = make_entry("free", [0.95], parameters=0)
    board = replace(comparison, entries=(*comparison.entries, free))
    assert [entry.name for entry in undrawn(board, PARAMETERS)] == ["majority class", "free"]
    assert [entry.name for entry in undrawn(board, LATENCY)] == ["majority class"]
    assert "free" not in points(fromstring(scatter(board, PARAMETERS)))


def test_the_recommended_model_has_a_ring_and_a_label(comparison: Comparison) -> None:
    drawing = fromstring(scatter(comparison, PARAMETERS))
    (ring,) = (mark for mark in drawing.iter("circle") if mark.attrib["class"] == "ring")
    assert ring.attrib["cx"] == points(drawing)["concat"].attrib["cx"]
    assert "concat" in [label.text for label in drawing.iter("text") if label.attrib["class"] == "label"]


def test_labels_of_many_models_do_not_cover_one_another(
    comparison: Comparison, make_entry: MakeEntry
) -> None:
    pairs = {f"model_{k}": (1000 + 37 * (k % 7), 0.8 + 0.001 * (k % 11)) for k in range(40)}
    drawing = fromstring(scatter(with_costs(comparison, make_entry, pairs), PARAMETERS))
    spots = [
        (float(label.attrib["x"]), float(label.attrib["y"]))
        for label in drawing.iter("text")
        if label.attrib["class"] == "label"
    ]
    assert 3 <= len(spots) <= 14
    assert all(
        abs(one[1] - other[1]) >= 12 or abs(one[0] - other[0]) >= 40
        for index, one in enumerate(spots)
        for other in spots[:index]
    )


def test_nothing_to_draw_gives_empty_axes(comparison: Comparison) -> None:
    drawing = fromstring(scatter(replace(comparison, entries=()), LATENCY))
    assert points(drawing) == {}
    assert re.search(r"of 0 models", drawing.attrib["aria-label"])


def test_the_side_that_is_better_is_said(comparison: Comparison) -> None:
    assert "↑ better" in scatter(comparison, LATENCY)
    assert "↓ better" in scatter(replace(comparison, higher_is_better=False), LATENCY)
