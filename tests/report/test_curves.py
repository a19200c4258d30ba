import math
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.findings import LearningCurve
from fuseloom.report.curves import curves


def run(train: list[float], valid: list[float], best: int, seed: int = 0) -> LearningCurve:
    return LearningCurve(
        model="sum", fold=0, seed=seed, train=tuple(train), valid=tuple(valid), best_epoch=best
    )


def points(drawing: Element, class_: str) -> list[list[tuple[float, float]]]:
    lines = [line for line in drawing.iter("polyline") if line.attrib["class"] == f"curve {class_}"]
    return [
        [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]
        for line in lines
    ]


def test_epochs_go_right_and_lower_losses_down() -> None:
    drawing = fromstring(curves([run([2.0, 1.0, 0.5], [1.8, 1.2, 1.4], 2)]))
    (train,) = points(drawing, "train")
    assert train[1][0] - train[0][0] == pytest.approx(train[2][0] - train[1][0], abs=0.2)
    assert (train[1][1] - train[0][1]) / (train[2][1] - train[1][1]) == pytest.approx(2, abs=0.02)
    (kept,) = drawing.iter("circle")
    assert (float(kept.attrib["cx"]), float(kept.attrib["cy"])) == points(drawing, "valid")[0][1]


def test_every_run_has_its_lines() -> None:
    drawing = fromstring(curves([run([2.0, 1.0], [1.8, 1.2], 2, seed) for seed in range(3)]))
    assert (len(points(drawing, "train")), len(points(drawing, "valid"))) == (3, 3)
    assert drawing.attrib["aria-label"].startswith("Losses of 3 runs of sum; lowest validation loss: 1.2")


def test_a_run_that_diverged_hides_no_other() -> None:
    good = run([2.0, 1.0, 0.5], [1.8, 1.2, 1.0], 3)
    alone = points(fromstring(curves([good])), "valid")[0]
    both = points(fromstring(curves([good, good, run([1.0, 1e9, 1e12], [1e9, 1e12, math.nan], 1)])), "valid")
    drop, whole = both[0][2][1] - both[0][0][1], alone[2][1] - alone[0][1]
    assert drop > 0.4 * whole
    assert len(both[2]) == 2


def test_no_run_and_no_finite_loss_can_be_drawn() -> None:
    assert fromstring(curves([])).attrib["aria-label"] == "No run."
    drawing = fromstring(curves([run([math.nan], [math.nan], 0)]))
    assert points(drawing, "valid") == [[]]
    assert list(drawing.iter("circle")) == []
    assert drawing.attrib["aria-label"].endswith("loss: none.")
