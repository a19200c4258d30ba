from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.findings import Calibration, Fitted, Reliability
from fuseloom.comparison.result import Comparison
from fuseloom.metrics.calibration import Bin
from fuseloom.report.squares import against_true, reliability


def diagonal(drawing: Element) -> tuple[float, float, float, float]:
    (line,) = (line for line in drawing.iter("line") if line.attrib["class"] == "diagonal")
    x1, y1, x2, y2 = (float(line.attrib[name]) for name in ("x1", "y1", "x2", "y2"))
    return x1, y1, x2, y2


def on_line(drawing: Element, x: float) -> float:
    x1, y1, x2, y2 = diagonal(drawing)
    return y1 + (x - x1) * (y2 - y1) / (x2 - x1)


def dots(drawing: Element, class_: str) -> list[tuple[float, float, float]]:
    (group,) = (one for one in drawing.iter("g") if one.attrib.get("class") == class_)
    return [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"]), float(dot.attrib["r"]))
        for dot in group.iter("circle")
    ]


def one(*bins: Bin) -> Calibration:
    found = Reliability(error=0.1, error_equal_mass=0.1, log_loss=0.5, curve=bins)
    return Calibration(model="sum", temperature=1.0, before=found, after=replace(found, curve=bins[:1]))


def test_a_bin_lies_above_the_diagonal_where_the_model_is_not_sure_enough() -> None:
    bins = (
        Bin(count=10, confidence=0.3, accuracy=0.5),
        Bin(count=90, confidence=0.6, accuracy=0.6),
        Bin(count=10, confidence=0.9, accuracy=0.7),
    )
    drawing = fromstring(reliability(one(*bins)))
    low, right, high = dots(drawing, "bins before")
    assert low[1] < on_line(drawing, low[0]) - 10
    assert right[1] == pytest.approx(on_line(drawing, right[0]), abs=0.2)
    assert high[1] > on_line(drawing, high[0]) + 10
    assert right[2] > low[2] == high[2]
    assert len(dots(drawing, "bins after")) == 1


def test_the_label_says_the_errors(comparison: Comparison) -> None:
    label = fromstring(reliability(comparison.findings.calibration[0])).attrib["aria-label"]
    assert label == (
        "Accuracy against confidence of concat: calibration error 0.094 as it is, "
        "0.012 with temperature 1.73."
    )


def test_predictions_that_are_true_lie_on_the_diagonal() -> None:
    fitted = Fitted(model="sum", rows=3, true=(-2.0, 0.0, 9.0), predicted=(-2.0, 5.0, 9.0))
    drawing = fromstring(against_true(fitted))
    exact, high, last = dots(drawing, "points")
    for x, y, _ in (exact, last):
        assert y == pytest.approx(on_line(drawing, x), abs=0.2)
    assert high[1] < on_line(drawing, high[0]) - 10


def test_one_value_and_none_can_be_drawn() -> None:
    assert (
        len(
            dots(fromstring(against_true(Fitted(model="m", rows=1, true=(3.0,), predicted=(3.0,)))), "points")
        )
        == 1
    )
    empty = fromstring(against_true(Fitted(model="m", rows=0, true=(), predicted=())))
    assert list(empty.iter("circle")) == []
