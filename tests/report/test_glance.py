import math
from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.attention import Attention
from fuseloom.metrics.interval import Interval
from fuseloom.report.glance import glance


@pytest.fixture
def attention(diagnosis: Diagnosis) -> Attention:
    assert diagnosis.attention is not None
    return diagnosis.attention


def places(drawing: Element, tag: str, class_: str, key: str) -> list[float]:
    found = [one for one in drawing.iter(tag) if class_ in one.attrib.get("class", "").split()]
    return [float(one.attrib[key]) for one in found]


def test_a_dot_for_each_head_at_its_mass_and_a_stroke_at_the_even_share(attention: Attention) -> None:
    ((name, plot),) = glance(attention)
    drawing = fromstring(plot)
    assert name == "merge.attention"
    dots = places(drawing, "circle", "mark", "cx")
    unit = (dots[2] - dots[0]) / 0.6
    origin = dots[0] - 0.2 * unit
    assert dots == pytest.approx([origin + mass * unit for mass in (0.2, 0.505, 0.8, 0.495)], abs=0.3)
    assert places(drawing, "line", "even", "x1") == pytest.approx([origin + 0.5 * unit] * 4, abs=0.3)
    assert places(drawing, "line", "whisker", "x1")[0] == pytest.approx(origin + 0.18 * unit, abs=0.3)
    assert len(set(places(drawing, "circle", "mark", "cy"))) == 4


def test_what_no_row_has_is_left_out(attention: Attention) -> None:
    (layer,) = attention.layers
    unknown = Interval(mean=math.nan)
    head = replace(layer.heads[0], mass=layer.heads[0].mass | {"sound": unknown}, ratio={"sound": unknown})
    ((_, plot),) = glance(replace(attention, layers=(replace(layer, heads=(head,)),)))
    drawing = fromstring(plot)
    assert len(places(drawing, "circle", "mark", "cx")) == 2
    assert places(drawing, "line", "even", "x1") == []
    assert "sound n/a" in drawing.attrib["aria-label"]


def test_of_many_layers_the_first_are_drawn(attention: Attention) -> None:
    (layer,) = attention.layers
    many = replace(attention, layers=tuple(replace(layer, name=str(k)) for k in range(30)))
    assert [name for name, _ in glance(many)] == [str(k) for k in range(12)]


def test_a_layer_that_sees_one_modality_has_nothing_to_choose_and_no_figure(diagnosis: Diagnosis) -> None:
    assert diagnosis.attention is not None
    (layer,) = diagnosis.attention.layers
    heads = tuple(replace(head, mass={"top": head.mass["top"]}) for head in layer.heads)
    lone = replace(layer, name="alone", heads=heads)
    assert [name for name, _ in glance(replace(diagnosis.attention, layers=(lone, layer)))] == [layer.name]
