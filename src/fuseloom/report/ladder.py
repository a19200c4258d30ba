"""A model given some of its modalities only: one line per subset with its score and interval."""

import math

from fuseloom.diagnose.subsets import Subsets, SubsetScore
from fuseloom.report.frame import LETTER, WIDTH, across_grid
from fuseloom.report.svg import Axis, element, figure, linear_axis, marker, span, text, tooltip
from fuseloom.report.words import columns, fit, score

__all__ = ["ladder", "subset_name"]

_LINE = 54.0
_TOP = 8.0
_BOTTOM = 52.0
_LEFT = 12.0
_RIGHT = 70.0
_MOST_SAID = 15


def subset_name(one: SubsetScore, most: int) -> str:
    """What a model was given: ``all modalities``, or names joined by a plus; ``most`` modalities are all.

    Example:
        >>> from fuseloom.metrics.interval import Interval
        >>> score, drop = Interval(mean=0.9), Interval(mean=0.1)
        >>> subset_name(SubsetScore(modalities=("text", "image"), score=score, drop=drop), 3)
        'text + image'
    """
    several = len(one.modalities) > 1 and len(one.modalities) == most
    return "all modalities" if several else " + ".join(one.modalities)


def ladder(subsets: Subsets, decimals: int, *, higher_is_better: bool) -> str:
    """The scores of all subsets as inline SVG; a square is a model trained on that modality alone.

    Args:
        subsets: Of one model.
        decimals: Of the numbers.
        higher_is_better: Whether a score is better the higher it is.
    """
    height = _TOP + _LINE * len(subsets.scores) + _BOTTOM
    sign = 1 if higher_is_better else -1
    axis = _axis(subsets, sign)
    full = subsets.scores[0].score.mean
    lines = [
        _line(subsets, one, axis, (full, sign), _TOP + _LINE * (index + 0.5), decimals)
        for index, one in enumerate(subsets.scores)
    ]
    direction = "better →" if higher_is_better else "← better"
    return figure(
        _label(subsets, decimals),
        across_grid(axis, f"test {subsets.metric} ({direction})", top=_TOP, bottom=height - _BOTTOM),
        element("line", x1=axis.place(full), x2=axis.place(full), y1=_TOP, y2=height - _BOTTOM, class_="zero")
        if math.isfinite(full)
        else "",
        *lines,
        width=WIDTH,
        height=height,
    )


def _ends(one: SubsetScore, full: float, sign: int) -> tuple[float, float]:
    """Where the interval of the difference puts the score, seen from that of all modalities."""
    if one.drop.low is None or one.drop.high is None:
        return one.score.mean, one.score.mean
    low, high = sorted((full - sign * one.drop.high, full - sign * one.drop.low))
    return low, high


def _means(one: SubsetScore) -> list[float]:
    """The score, and that of the model trained on the modality alone if there is one."""
    return [found.mean for found in (one.score, one.alone) if found is not None]


def _axis(subsets: Subsets, sign: int) -> Axis:
    full = subsets.scores[0].score.mean
    ends = [end for one in subsets.scores for end in (*_ends(one, full, sign), *_means(one))]
    low, high = span(ends)
    margin = 0.04 * (high - low)
    return linear_axis(low - margin, high + margin, start=_LEFT, end=WIDTH - _RIGHT - 14, most=4)


def _line(
    subsets: Subsets, one: SubsetScore, axis: Axis, full: tuple[float, int], y: float, decimals: int
) -> str:
    name = subset_name(one, len(subsets.scores[0].modalities))
    letters = int(WIDTH / LETTER) - 2
    low, high = _ends(one, *full)
    y += 8
    parts = [
        tooltip(f"{name}: {score(one.score.mean, decimals)}"),
        text(name if columns(name) <= letters else fit(name, letters), 2, y - 14, class_="name"),
        text(score(one.score.mean, decimals), WIDTH - 4, y + 5, class_="number", anchor="end"),
    ]
    if high > low:
        parts.append(element("line", x1=axis.place(low), x2=axis.place(high), y1=y, y2=y, class_="whisker"))
    if one.alone is not None and math.isfinite(one.alone.mean):
        parts.append(marker("unimodal", axis.place(one.alone.mean), y))
    if math.isfinite(one.score.mean):
        parts.append(marker("fusion", axis.place(one.score.mean), y))
    return element("g", *parts, class_="entry fusion")


def _label(subsets: Subsets, decimals: int) -> str:
    most = len(subsets.scores[0].modalities)
    shown = (
        f"{subset_name(one, most)} {score(one.score.mean, decimals)}" for one in subsets.scores[:_MOST_SAID]
    )
    return f"Test {subsets.metric} of {subsets.model} given: {'; '.join(shown)}."
