"""Learning curves: the losses of every run of a model, epoch by epoch."""

import math
import statistics
from collections.abc import Sequence

from fuseloom.comparison.findings import LearningCurve
from fuseloom.report.frame import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, span

__all__ = ["curves"]


def curves(runs: Sequence[LearningCurve]) -> str:
    """Training and validation loss of one model's runs as inline SVG; a dot where the weights were kept.

    Args:
        runs: Of one model.
    """
    across = linear_axis(1, max([2, *(len(run.valid) for run in runs)]), start=LEFT, end=RIGHT, most=5)
    up = _loss_axis(runs)
    lines = [
        _line(losses, across, up, class_)
        for class_ in ("train", "valid")
        for losses in (getattr(run, class_) for run in runs)
    ]
    kept = [
        element("circle", cx=across.place(run.best_epoch), cy=up.place(run.valid[run.best_epoch - 1]), r=4)
        for run in runs
        if run.best_epoch
    ]
    return figure(
        _label(runs),
        up_grid(up, "loss (↓ better)"),
        across_grid(across, "epoch", top=TOP, bottom=BOTTOM),
        *lines,
        element("g", *kept, class_="kept") if kept else "",
        width=WIDTH,
        height=HEIGHT,
    )


def _loss_axis(runs: Sequence[LearningCurve]) -> Axis:
    """From zero or the lowest loss to a usual first one, so that a run that diverged hides no other."""
    losses = [loss for run in runs for loss in (*run.train, *run.valid) if math.isfinite(loss)]
    first = [run.train[0] for run in runs if run.train and math.isfinite(run.train[0])]
    low, high = span(losses)
    if first:
        high = min(high, 1.2 * max(statistics.median(first), low))
    margin = 0.05 * (high - low)
    return linear_axis(low - margin, high + margin, start=BOTTOM, end=TOP)


def _line(losses: Sequence[float], across: Axis, up: Axis, class_: str) -> str:
    points = " ".join(
        f"{across.place(epoch):.1f},{up.place(loss):.1f}"
        for epoch, loss in enumerate(losses, start=1)
        if math.isfinite(loss)
    )
    return element("polyline", points=points, class_=f"curve {class_}")


def _label(runs: Sequence[LearningCurve]) -> str:
    if not runs:
        return "No run."
    kept = ", ".join(
        f"{run.valid[run.best_epoch - 1]:.3g} after epoch {run.best_epoch}" if run.best_epoch else "none"
        for run in runs[:10]
    )
    return f"Losses of {len(runs)} runs of {runs[0].model}; lowest validation loss: {kept}."
