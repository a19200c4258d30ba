from itertools import pairwise
from xml.etree.ElementTree import fromstring

from hypothesis import given
from hypothesis import strategies as st

from fuseloom.report.frame import LETTER, across_grid, up_grid
from fuseloom.report.svg import linear_axis, log_axis
from fuseloom.report.words import milliseconds


@given(st.floats(1e-3, 1e5), st.floats(1.01, 1e6))
def test_labels_never_touch_and_every_tick_keeps_its_line(low: float, ratio: float) -> None:
    axis = log_axis(low, low * ratio, start=62, end=366, name=milliseconds)
    drawing = fromstring(f"<g>{across_grid(axis, 'time', top=0, bottom=100)}</g>")
    assert len(list(drawing.iter("line"))) == len(axis.ticks)
    labels = [text for text in drawing.iter("text") if text.attrib["class"] == "tick"]
    assert labels
    ends = [
        (float(one.attrib["x"]) - len(one.text or "") * LETTER / 2, len(one.text or "") * LETTER)
        for one in labels
    ]
    for (left, width), (after, _) in pairwise(ends):
        assert left + width < after


def test_lines_of_scores_stand_at_their_values() -> None:
    axis = linear_axis(0, 1, start=200, end=0, most=5)
    drawing = fromstring(f"<g>{up_grid(axis, 'score', left=50, right=300)}</g>")
    heights = {
        text.text: float(line.attrib["y1"])
        for line, text in zip(drawing.iter("line"), drawing.iter("text"), strict=False)
    }
    assert (heights["0.0"], heights["0.4"], heights["1.0"]) == (200, 120, 0)
    assert [text.text for text in drawing.iter("text")][-1] == "score"
