import math
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.pid import Pid
from fuseloom.metrics.interval import Interval
from fuseloom.report.information import information


def bars(drawing: Element, whose: str) -> list[float]:
    found = [bar for bar in drawing.iter("rect") if whose in bar.attrib["class"].split()]
    return [float(bar.attrib["width"]) for bar in found]


@pytest.fixture
def pid(diagnosis: Diagnosis) -> Pid:
    return diagnosis.pid[0]


def test_bars_are_as_long_as_the_information(pid: Pid) -> None:
    drawing = fromstring(information(pid))
    data, model = bars(drawing, "data"), bars(drawing, "model")
    unit = data[0] / 1.5
    assert data == pytest.approx([1.5 * unit, 0.9 * unit, 0.5 * unit, 0.02 * unit], abs=0.3)
    assert model == pytest.approx([1.4 * unit, 1.0 * unit, 0.45 * unit, 0.01 * unit], abs=1)


def test_intervals_are_drawn_where_they_are(pid: Pid) -> None:
    drawing = fromstring(information(pid))
    reach = next(line.attrib for line in drawing.iter("line") if line.attrib["class"] == "reach")
    unit, zero = bars(drawing, "data")[0] / 1.5, float(next(drawing.iter("rect")).attrib["x"])
    assert float(reach["x1"]) == pytest.approx(zero + 1.48 * unit, abs=0.3)
    assert float(reach["x2"]) == pytest.approx(zero + 1.52 * unit, abs=0.3)


def test_names_are_not_swapped_and_the_label_says_all(pid: Pid) -> None:
    drawing = fromstring(information(pid))
    names = [text.text for text in drawing.iter("text") if text.attrib["class"] == "name"]
    assert names == [
        "either (redundant)",
        "only top (unique)",
        "only bottom (unique)",
        "only both together (synergistic)",
    ]
    label = drawing.attrib["aria-label"]
    assert label.startswith(
        "What top and bottom tell of the target in bits: either (redundant), data 1.500 ["
    )
    assert "only top (unique), model 1.000 [0.980, 1.020]" in label


def test_without_a_model_and_without_a_number(pid: Pid) -> None:
    unknown = replace(pid.data, redundant=Interval(mean=math.nan))
    drawing = fromstring(information(replace(pid, model=None, data=unknown)))
    assert bars(drawing, "model") == []
    assert bars(drawing, "data")[0] == 1
    assert "n/a" in [text.text for text in drawing.iter("text")]
