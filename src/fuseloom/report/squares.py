"""Plots on which the diagonal is what should be: reliability of probabilities, predicted against true."""

from collections.abc import Sequence
from itertools import chain

from fuseloom.comparison.findings import Calibration, Fitted
from fuseloom.metrics.calibration import Bin
from fuseloom.report.frame import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, span, tooltip

__all__ = ["against_true", "reliability"]


def reliability(calibration: Calibration) -> str:
    """Accuracy against confidence as inline SVG, before and after the temperature; dots grow with rows.

    Args:
        calibration: Of one model.
    """
    across = linear_axis(0, 1, start=LEFT, end=RIGHT, most=5)
    up = linear_axis(0, 1, start=BOTTOM, end=TOP, most=5)
    before, after = calibration.before, calibration.after
    return figure(
        f"Accuracy against confidence of {calibration.model}: calibration error {before.error:.3f} as it is, "
        f"{after.error:.3f} with temperature {calibration.temperature:.2f}.",
        up_grid(up, "share that is right"),
        across_grid(across, "confidence", top=TOP, bottom=BOTTOM),
        _diagonal(across, up),
        _bins(before.curve, across, up, "before"),
        _bins(after.curve, across, up, "after"),
        width=WIDTH,
        height=HEIGHT,
    )


def _diagonal(across: Axis, up: Axis) -> str:
    return element(
        "line",
        x1=across.place(across.low),
        y1=up.place(across.low),
        x2=across.place(across.high),
        y2=up.place(across.high),
        class_="diagonal",
    )


def _bins(curve: Sequence[Bin], across: Axis, up: Axis, class_: str) -> str:
    rows = sum(one.count for one in curve)
    places = [(across.place(one.confidence), up.place(one.accuracy)) for one in curve]
    line = element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    dots = [
        element(
            "circle",
            tooltip(f"{one.count:,} rows: confidence {one.confidence:.3f}, right {one.accuracy:.3f}"),
            cx=x,
            cy=y,
            r=2.5 + 8 * (one.count / rows) ** 0.5,
        )
        for one, (x, y) in zip(curve, places, strict=True)
    ]
    return element("g", line, *dots, class_=f"bins {class_}")


def against_true(fitted: Fitted) -> str:
    """Predicted against true numbers as inline SVG, both on the same scale.

    Args:
        fitted: Of one model.
    """
    low, high = span(chain(fitted.true, fitted.predicted))
    margin = 0.03 * (high - low)
    across = linear_axis(low - margin, high + margin, start=LEFT, end=RIGHT, most=5)
    up = linear_axis(low - margin, high + margin, start=BOTTOM, end=TOP, most=5)
    dots = [
        element("circle", cx=across.place(true), cy=up.place(predicted), r=3)
        for true, predicted in zip(fitted.true, fitted.predicted, strict=True)
    ]
    return figure(
        f"Predicted against true numbers of {fitted.model}, {len(dots)} of {fitted.rows} rows.",
        up_grid(up, "predicted"),
        across_grid(across, "true", top=TOP, bottom=BOTTOM),
        _diagonal(across, up),
        element("g", *dots, class_="points") if dots else "",
        width=WIDTH,
        height=HEIGHT,
    )
