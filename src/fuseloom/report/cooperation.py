"""What remedies for neglected modalities do, in tables and a figure, for the page and the terminal."""

import math
from collections.abc import Callable, Iterator, Sequence

from fuseloom.comparison.cooperation import Cooperation, Treatment
from fuseloom.metrics.interval import Interval
from fuseloom.report.frame import HEIGHT, LEFT, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.series import Dot, legend, legend_height, series
from fuseloom.report.svg import element, figure, linear_axis, span
from fuseloom.report.tables import Table
from fuseloom.report.words import ABSENT, range_text, score, seconds, signed

__all__ = ["cooperation_figures", "cooperation_tables", "gains_table", "treated_fusions"]

Write = Callable[[float | None, int], str]
_DIGITS = 2
_MOST_LINES = 5
_BOTTOM = HEIGHT - 52.0
_PLAIN = "without a remedy"


def treated_fusions(found: Cooperation) -> dict[str, list[Treatment]]:
    """Fusion -> itself without a remedy and its treatments, best gain first."""
    groups: dict[str, list[Treatment]] = {}
    for one in found.treatments:
        groups.setdefault(one.fusion, []).append(one)
    return {fusion: sorted(group, key=_place) for fusion, group in groups.items()}


def _place(one: Treatment) -> tuple[bool, float]:
    gain = one.gain.mean if one.gain is not None else math.inf
    return one.remedy != "", -gain if math.isfinite(gain) or not one.remedy else math.inf


def gains_table(group: Sequence[Treatment], metric: str, decimals: int) -> Table:
    """Of one fusion: scores and what each remedy gains."""
    rows = [
        (
            one.remedy or _PLAIN,
            one.verdict if one.remedy else ABSENT,
            score(one.test.mean, decimals),
            signed(one.gain.mean, decimals) if one.gain is not None else ABSENT,
            range_text(one.gain, decimals, write=signed) if one.gain is not None else ABSENT,
            score(one.valid.mean, decimals),
            seconds(one.train_s),
        )
        for one in group
    ]
    return Table(
        head=(
            "Remedy",
            "Does it help?",
            f"Test {metric}",
            "Gain",
            "95 % interval",
            "Valid",
            "Training, one run",
        ),
        rows=tuple(rows),
        words=2,
        note="Gain: test score less that without a remedy, plus is better. Helps and harms: after Holm's "
        "correction for all remedies that were tried on this fusion.",
    )


def cooperation_tables(group: Sequence[Treatment], metric: str, decimals: int) -> list[tuple[str, Table]]:
    """Of one fusion: how its modalities work together, without and with each remedy.

    Args:
        group: One of `treated_fusions`.
        metric: Its name.
        decimals: Of scores.
    """
    found = [("Shares of modalities", _shares(group)), ("Score under noise", _noise(group, metric, decimals))]
    return [(title, table) for title, table in found if table.rows]


def _shares(group: Sequence[Treatment]) -> Table:
    """Gradient, attention and its quality, a column for each modality."""
    names = _modalities(group)
    attends = any(one.mass for one in group)
    head = [*(f"gradient: {name}" for name in names)]
    if attends:
        head += ["AIR", *(f"attention: {name}" for name in names), *(f"follows {name}" for name in names)]
    rows = []
    for one in group:
        cells = [_cell(one.gradient_share.get(name)) for name in names]
        if attends:
            cells += [_cell(one.imbalance_rate, signed), *(_cell(one.mass.get(name)) for name in names)]
            cells += [_cell(one.quality.get(name), signed) for name in names]
        if any(cell != ABSENT for cell in cells):
            rows.append((one.remedy or _PLAIN, *cells))
    note = "Gradient: share of the encoders' gradient on test rows, as the model stands."
    if attends:
        note += (
            " AIR: imbalance rate of attention, 0 where no modality is preferred. Attention: share of its "
            "mass. Follows: correlation of that share with how good the modality is, row by row; 0 where "
            "attention does not notice."
        )
    return Table(head=("Remedy", *head), rows=tuple(rows), note=note)


def _noise(group: Sequence[Treatment], metric: str, decimals: int) -> Table:
    """The score at no, the middle and the worst severity of each modality's noise."""
    curves = [{curve.modality: curve for curve in one.noise} for one in group]
    first: dict[str, Sequence[float]] = {}
    for known in curves:
        for name, curve in known.items():
            first.setdefault(name, curve.severities)
    places = {name: (len(levels) // 2, len(levels) - 1) for name, levels in first.items()}
    head = [f"{name} {first[name][place]:g}" for name, both in places.items() for place in both]
    rows = []
    for one, known in zip(group, curves, strict=True):
        if known:
            clean = next(iter(known.values())).scores[0]
            noisy = [known[name].scores[place] for name, both in places.items() for place in both]
            rows.append((one.remedy or _PLAIN, *(score(value, decimals) for value in (clean, *noisy))))
    kinds = {curve.modality: curve.corruption for known in curves for curve in known.values()}
    said = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    return Table(
        head=("Remedy", "as they are", *head),
        rows=tuple(rows),
        note=f"Test {metric} of the best run, while one modality gets worse ({said}).",
    )


def _modalities(group: Sequence[Treatment]) -> list[str]:
    found = (name for one in group for part in (one.gradient_share, one.mass) for name in part)
    return list(dict.fromkeys(found))


def _cell(interval: Interval | None, write: Write = score) -> str:
    return ABSENT if interval is None else write(interval.mean, _DIGITS)


def cooperation_figures(group: Sequence[Treatment]) -> list[tuple[str, str]]:
    """The imbalance rate over the epochs, as inline SVG: without a remedy, and where it changed most.

    Args:
        group: One of `treated_fusions`.
    """
    watched = [one for one in group if len(list(_dots(one))) > 1]
    if not watched:
        return []
    lines = {one.remedy or _PLAIN: list(_dots(one)) for one in _most_changed(watched)}
    values = [dot.value.mean for dots in lines.values() for dot in dots]
    last = max(dot.at for dots in lines.values() for dot in dots)
    low, high = span([*values, 0.0])
    up = linear_axis(low - 0.04 * (high - low), high + 0.04 * (high - low), start=_BOTTOM, end=TOP)
    across = linear_axis(1, last, start=LEFT, end=RIGHT, most=5)
    zero = up.place(0)
    told = "; ".join(
        f"{name} {signed(dots[0].value.mean, _DIGITS)} to {signed(dots[-1].value.mean, _DIGITS)}"
        for name, dots in lines.items()
    )
    drawing = figure(
        f"Imbalance rate of attention after each epoch: {told}.",
        up_grid(up, "AIR"),
        across_grid(across, "epoch", top=TOP, bottom=_BOTTOM),
        element("line", x1=LEFT, x2=RIGHT, y1=zero, y2=zero, class_="zero"),
        *[series(dots, across, up, index=k, decimals=_DIGITS) for k, dots in enumerate(lines.values())],
        *legend(list(lines)),
        width=WIDTH,
        height=HEIGHT + legend_height(len(lines)),
    )
    return [("Imbalance rate of attention over the epochs", drawing)]


def _dots(one: Treatment) -> Iterator[Dot]:
    for epoch, rate in enumerate(one.imbalance, start=1):
        if math.isfinite(rate):
            yield Dot(at=epoch, value=Interval(mean=rate), said=f"epoch {epoch}")


def _end(one: Treatment) -> float:
    return list(_dots(one))[-1].value.mean


def _most_changed(watched: Sequence[Treatment]) -> list[Treatment]:
    """Without a remedy first, then the treatments that end farthest from it."""
    plain = [one for one in watched if not one.remedy]
    treated = [one for one in watched if one.remedy]
    start = _end(plain[0]) if plain else 0.0
    treated.sort(key=lambda one: -abs(_end(one) - start))
    return (plain + treated)[:_MOST_LINES]
