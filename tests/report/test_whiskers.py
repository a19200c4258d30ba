import math
from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.metrics.interval import Interval
from fuseloom.report.whiskers import NARROW, WIDE, Layout, whiskers

MakeEntry = Callable[..., Entry]


def lines(comparison: Comparison, layout: Layout = WIDE) -> dict[str, Element]:
    drawing = fromstring(whiskers(comparison, layout, class_="wide"))
    groups = [group for group in drawing.iter("g") if "entry" in group.attrib["class"].split()]
    return {entry.name: group for entry, group in zip(comparison.entries, groups, strict=True)}


def dot(line: Element) -> float:
    """Where the mean is drawn, from left."""
    (mark,) = (part for part in line if "mark" in part.attrib.get("class", "").split())
    if mark.tag == "rect":
        return float(mark.attrib["x"]) + float(mark.attrib["width"]) / 2
    return float(mark.attrib["cx"] if mark.tag == "circle" else mark.attrib["d"][1:].split()[0])


def parts(line: Element, class_: str) -> list[Element]:
    return [part for part in line if part.attrib.get("class") == class_]


@pytest.mark.parametrize("layout", [WIDE, NARROW])
def test_means_stand_in_proportion_to_their_scores(comparison: Comparison, layout: Layout) -> None:
    drawn = lines(comparison, layout)
    low, middle, high = (dot(drawn[name]) for name in ("top", "bottom", "low_rank"))
    scores = {entry.name: entry.test.mean for entry in comparison.entries}
    share = (scores["bottom"] - scores["top"]) / (scores["low_rank"] - scores["top"])
    assert (middle - low) / (high - low) == pytest.approx(share, abs=0.002)


def test_a_whisker_spans_its_interval_around_the_mean(comparison: Comparison) -> None:
    line = lines(comparison)["concat"]
    whisker = parts(line, "whisker")[0]
    left, right = float(whisker.attrib["x1"]), float(whisker.attrib["x2"])
    assert left < dot(line) < right
    assert (left + right) / 2 == pytest.approx(dot(line), abs=0.2)


def test_seeds_are_small_dots_and_one_seed_has_none(comparison: Comparison) -> None:
    drawn = lines(comparison)
    assert len(parts(drawn["concat"], "seed")) == 5
    assert parts(drawn["logistic regression"], "seed") == []
    assert parts(drawn["logistic regression"], "whisker") == []


def test_the_recommended_model_is_set_off(comparison: Comparison) -> None:
    drawn = lines(comparison)
    assert [name for name, line in drawn.items() if "chosen" in line.attrib["class"]] == ["concat"]
    assert parts(drawn["concat"], "name")[0].text == "★ concat"
    assert len(parts(drawn["concat"], "band")) == 1
    assert parts(drawn["low_rank"], "band") == []


def test_what_lies_off_the_scale_is_an_arrow_with_its_number(comparison: Comparison) -> None:
    line = lines(comparison)["majority class"]
    (arrow,) = parts(line, "arrow")
    assert "l-6 4" in arrow.attrib["d"]
    assert parts(line, "number")[0].text == "0.101"


def test_an_error_far_too_large_points_to_the_right(comparison: Comparison, make_entry: MakeEntry) -> None:
    good = [make_entry(name, [score, score + 0.1]) for name, score in (("a", 3.0), ("b", 3.2), ("c", 3.5))]
    entries = (*good, make_entry("diverged", [1e9, 3.0]))
    drawn = lines(replace(comparison, entries=entries, metric="rmse", higher_is_better=False))
    ends = [arrow.attrib["d"].split("l")[1].split()[0] for arrow in parts(drawn["diverged"], "arrow")]
    assert "6" in ends
    assert parts(drawn["a"], "arrow") == []


def test_a_huge_interval_does_not_take_the_scale_from_the_others(
    comparison: Comparison, make_entry: MakeEntry
) -> None:
    wide = make_entry("unsure", [0.93], test=Interval(mean=0.93, low=-5, high=7), test_by_run=(0.9, 0.96))
    drawn = lines(replace(comparison, entries=(*comparison.entries, wide)))
    assert len(parts(drawn["unsure"], "arrow")) == 2
    assert dot(drawn["low_rank"]) - dot(drawn["top"]) > 200


def test_a_score_that_is_not_finite_is_said(comparison: Comparison, make_entry: MakeEntry) -> None:
    gone = make_entry(
        "gone", [0.5], test=Interval(mean=math.nan, low=math.nan, high=math.nan), test_by_run=(math.nan,)
    )
    line = lines(replace(comparison, entries=(*comparison.entries, gone)))["gone"]
    assert parts(line, "tick")[0].text == "no finite score"
    assert parts(line, "number")[0].text == "n/a"
    assert parts(line, "whisker") == []


def test_equal_scores_and_none_at_all_can_be_drawn(comparison: Comparison, make_entry: MakeEntry) -> None:
    same = tuple(make_entry(name, [0.5, 0.5]) for name in "ab")
    drawn = lines(replace(comparison, entries=same))
    assert dot(drawn["a"]) == dot(drawn["b"])
    assert lines(replace(comparison, entries=())) == {}


def test_the_label_says_the_scores(comparison: Comparison, make_entry: MakeEntry) -> None:
    many = (*comparison.entries, *(make_entry(f"more_{k}", [0.9]) for k in range(5)))
    label = fromstring(whiskers(replace(comparison, entries=many), WIDE, class_="wide")).attrib["aria-label"]
    assert "concat 0.975 [0.970, 0.980]" in label
    assert "and 2 more" in label


def test_the_side_that_is_better_is_said(comparison: Comparison) -> None:
    assert "better →" in whiskers(comparison, WIDE, class_="wide")
    assert "← better" in whiskers(replace(comparison, higher_is_better=False), WIDE, class_="wide")
