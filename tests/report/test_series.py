import math
from xml.etree.ElementTree import Element, fromstring

from fuseloom.metrics.interval import Interval
from fuseloom.report.series import Dot, legend, legend_height, series
from fuseloom.report.svg import linear_axis

ACROSS = linear_axis(1, 5, start=0, end=400)
UP = linear_axis(0, 1, start=100, end=0)


def drawn(*dots: Dot, index: int = 0) -> Element:
    return fromstring(series(dots, ACROSS, UP, index=index, decimals=2))


def dot(at: float, mean: float, reach: float | None = 0.1, ring: str = "") -> Dot:
    low, high = (None, None) if reach is None else (mean - reach, mean + reach)
    return Dot(at=at, value=Interval(mean=mean, low=low, high=high), said=f"epoch {at:g}", ring=ring)


def test_a_line_its_band_and_its_dots() -> None:
    found = drawn(dot(1, 0.2), dot(5, 0.6, ring="best"))
    line, band = found.find("polyline"), found.find("polygon")
    assert line is not None
    assert band is not None
    assert line.attrib["points"] == "0.0,80.0 400.0,40.0"
    assert band.attrib["points"] == "0.0,70.0 400.0,30.0 400.0,50.0 0.0,90.0"
    assert [(c.attrib["class"], c.attrib["r"]) for c in found.iter("circle")] == [("dot", "3"), ("best", "7")]
    assert [c.findtext("title") for c in found.iter("circle")][1] == "epoch 5: 0.60 [0.50, 0.70]"


def test_what_is_not_finite_and_what_has_no_interval() -> None:
    found = drawn(dot(1, 0.2), dot(3, math.nan), dot(5, 0.6, None))
    line = found.find("polyline")
    assert line is not None
    assert line.attrib["points"] == "0.0,80.0 400.0,40.0"
    assert found.find("polygon") is None
    assert len(list(found.iter("circle"))) == 2


def test_colours_come_round_and_a_legend_has_them() -> None:
    assert drawn(dot(1, 0.5), index=6).attrib["class"] == "decay series-1"
    entries = [fromstring(one) for one in legend(["text", "a name " * 20])]
    assert [one.attrib["class"] for one in entries] == ["decay series-0", "decay series-1"]
    assert entries[0].findtext("text") == "text"
    assert "…" in (entries[1].findtext("text") or "")
    assert legend_height(3) - legend_height(2) == 26
