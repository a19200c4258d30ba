"""What training works on, in words, in a table and in figures."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from fuseloom.diagnose.gradients import GradientCourse, Gradients
from fuseloom.metrics.interval import Interval
from fuseloom.report.estimates import estimates
from fuseloom.report.frame import HEIGHT, LEFT, RIGHT, TOP, WIDTH, across_grid, up_grid
from fuseloom.report.sayings import leading
from fuseloom.report.series import Dot, legend, legend_height, series
from fuseloom.report.svg import element, figure, linear_axis, span
from fuseloom.report.tables import Table
from fuseloom.report.words import ABSENT, listed, range_text, score, shown_sign

__all__ = ["gradient_figures", "gradients_caption", "gradients_saying", "gradients_table"]

_DECIMALS = 3
_BOTTOM = HEIGHT - 52.0
_MOST_PAIRS = 6
_SHARE, _COSINE = "Share of the gradient", "Cosine of what two ask for"


def gradients_saying(one: GradientCourse) -> str:
    """Which modality training works on, first and last, and whether modalities pull against each other.

    Example:
        >>> shares = {"text": Interval(mean=0.8, low=0.7, high=0.9), "image": Interval(mean=0.2, high=0.3)}
        >>> look = Gradients(
        ...     model="m", rows=64, parts=2, norms={}, shares=shares, untrained=(), with_fused={},
        ...     conflicts=(),
        ... )
        >>> course = GradientCourse(
        ...     model="m", learnt_from=False, epochs=(), kept=None, gradients=(look,)
        ... )
        >>> gradients_saying(course).partition(";")[0]
        'Training this model further would work most on text (80 % of the gradient)'
    """
    clauses = [_work(one), *_left_out(one.gradients[-1]), _pull(one)]
    return f"{'; '.join(clauses)}."


def _work(one: GradientCourse) -> str:
    first, last = one.gradients[0].shares, one.gradients[-1].shares
    if len(last) < 2 or not first:
        return "No two modalities have encoders of their own with a gradient to compare"
    if not one.epochs:
        if (name := leading(last, last)) is None:
            return "These rows do not show that training this model further would work on one modality most"
        return (
            f"Training this model further would work most on {name} ({_percent(last[name])} of the gradient)"
        )
    return _first_and_last(first, last, epoch=one.epochs[-1])


def _first_and_last(first: Mapping[str, Interval], last: Mapping[str, Interval], *, epoch: int) -> str:
    early, late = leading(first, first), leading(last, last)
    if early is None and late is None:
        return (
            "These rows do not show that training works on one modality most, neither after the first epoch "
            f"nor after the last (epoch {epoch})"
        )
    if early == late:
        assert early is not None
        return (
            f"Training works most on {early}: it takes {_percent(first[early])} of the gradient after the "
            f"first epoch and {_percent(last[early])} after the last (epoch {epoch})"
        )
    return (
        f"After the first epoch training works most on {_named(early, first)}, after the last (epoch "
        f"{epoch}) on {_named(late, last)}"
    )


def _named(name: str | None, shares: Mapping[str, Interval]) -> str:
    if name is None:
        return "none that these rows show"
    return f"{name} ({_percent(shares[name])} of the gradient)"


def _percent(share: Interval) -> str:
    return f"{100 * share.mean:.0f} %"


def _left_out(look: Gradients) -> Iterator[str]:
    if look.untrained:
        several = len(look.untrained) > 1
        what = "encoders of their own that are trained" if several else "encoder of its own that is trained"
        yield f"{listed(look.untrained)} {'have' if several else 'has'} no {what}"


def _pull(one: GradientCourse) -> str:
    cosines = _cosines(one)
    if not cosines:
        return "the modalities share no parameters on which they could pull against each other"
    against = {pair: sum(shown_sign(c, _DECIMALS) < 0 for c in found) for pair, found in cosines.items()}
    if any(against.values()):
        return listed(_against(pair, count, one) for pair, count in against.items() if count)
    if all(shown_sign(cosine, _DECIMALS) > 0 for found in cosines.values() for cosine in found):
        return f"what the modalities ask of the parts they share {'always ' * bool(one.epochs)}pulls one way"
    return "that the modalities pull against each other on the parts they share is not shown"


def _against(pair: str, count: int, one: GradientCourse) -> str:
    when = f" after {count} of the {len(one.epochs)} epochs looked at" if one.epochs else ""
    return f"{pair} pull against each other{when}"


def _cosines(one: GradientCourse) -> dict[str, list[Interval]]:
    """Pair -> its cosines, over the looks at which it has one."""
    found: dict[str, list[Interval]] = {}
    for look in one.gradients:
        for pair, cosine in _pairs(look).items():
            found.setdefault(pair, []).append(cosine)
    return found


def _pairs(look: Gradients) -> dict[str, Interval]:
    """Pair -> its cosine, where it has one."""
    return {f"{c.first} and {c.second}": c.cosine for c in look.conflicts if c.cosine is not None}


def gradients_table(one: GradientCourse) -> Table:
    """Shares and cosines after the first epoch, after that whose weights were kept and after the last."""
    rows = tuple((when, *row) for when, look in _moments(one) for row in _rows(look))
    return Table(
        head=("After epoch", "What", "Estimate", "95 % interval"),
        rows=rows,
        words=2,
        note=_taken_on(one),
    )


def _taken_on(one: GradientCourse) -> str:
    last = one.gradients[-1]
    which = "training rows" if one.learnt_from else "of these rows, which the training should not have seen"
    parts = "in one part" if last.parts == 1 else f"in {last.parts} parts, over which the intervals are"
    return f"On {last.rows:,} {which}, {parts}. {one.note}".rstrip()


def gradients_caption(one: GradientCourse) -> str:
    """What the figures show, and on which rows."""
    drawn = "Lines: 95 % intervals."
    if len(one.epochs) > 1:
        drawn = "Shades: 95 % intervals. Rings: the epoch whose weights were kept."
    return (
        f"{drawn} Below zero, what one modality asks of the parts they share undoes what the other asks. "
        f"{_taken_on(one)}"
    )


def _moments(one: GradientCourse) -> list[tuple[str, Gradients]]:
    if not one.epochs:
        return [("as it stands", one.gradients[-1])]
    named = {one.epochs[0]: "", one.epochs[-1]: ""} | ({one.kept: " (kept)"} if one.kept else {})
    return [
        (f"{epoch}{named[epoch]}", look)
        for epoch, look in zip(one.epochs, one.gradients, strict=True)
        if epoch in named
    ]


def _rows(look: Gradients) -> Iterator[tuple[str, str, str]]:
    for name, share in look.shares.items():
        yield f"share of {name}", *_estimate(share)
    for conflict in look.conflicts:
        yield f"cosine of {conflict.first} and {conflict.second}", *_estimate(conflict.cosine)
    for name, cosine in look.with_fused.items():
        yield f"cosine of {name} alone and all", *_estimate(cosine)


def _estimate(interval: Interval | None) -> tuple[str, str]:
    if interval is None:
        return ABSENT, ABSENT
    return score(interval.mean, _DECIMALS), range_text(interval, _DECIMALS)


def gradient_figures(one: GradientCourse) -> list[tuple[str, str]]:
    """Shares and cosines as inline SVG: over the epochs, or of the one look.

    Args:
        one: Of one model.
    """
    last = one.gradients[-1]
    if len(one.epochs) < 2:
        cosines = _pairs(last)
        found = [(_SHARE, estimates(last.shares, "share", _DECIMALS))] if last.shares else []
        if cosines:
            found.append((_COSINE, estimates(cosines, "cosine", _DECIMALS, zero=True)))
        return found
    shares = {name: _dots(one, [look.shares.get(name) for look in one.gradients]) for name in last.norms}
    pairs = dict.fromkeys(name for look in one.gradients for name in _pairs(look))
    angles = {name: _dots(one, [_pairs(look).get(name) for look in one.gradients]) for name in pairs}
    return [*_drawn(_SHARE, "share", shares, one), *_drawn(_COSINE, "cosine", _lowest(angles), one)]


def _dots(one: GradientCourse, found: Sequence[Interval | None]) -> list[Dot]:
    return [
        Dot(at=epoch, value=value, said=f"epoch {epoch}", ring="best" if epoch == one.kept else "")
        for epoch, value in zip(one.epochs, found, strict=True)
        if value is not None
    ]


def _lowest(lines: Mapping[str, Sequence[Dot]]) -> dict[str, Sequence[Dot]]:
    """The lines that lie lowest, where there are many."""
    known = {name: dots for name, dots in lines.items() if dots}
    mean = {name: statistics.fmean(dot.value.mean for dot in dots) for name, dots in known.items()}
    return {name: known[name] for name in sorted(known, key=mean.__getitem__)[:_MOST_PAIRS]}


def _drawn(
    title: str, unit: str, lines: Mapping[str, Sequence[Dot]], one: GradientCourse
) -> list[tuple[str, str]]:
    """The figure with its title; none where there is nothing to draw."""
    values = [dot.value for dots in lines.values() for dot in dots]
    if not values:
        return []
    ends = [end for value in values for end in (value.low, value.mean, value.high) if end is not None]
    low, high = span([*ends, 0.0])
    up = linear_axis(low - 0.04 * (high - low), high + 0.04 * (high - low), start=_BOTTOM, end=TOP)
    across = linear_axis(one.epochs[0], one.epochs[-1], start=LEFT, end=RIGHT, most=5)
    zero = up.place(0)
    drawing = figure(
        f"{title} after epochs {one.epochs[0]} to {one.epochs[-1]} of {one.model}: {_told(lines)}.",
        up_grid(up, unit),
        across_grid(across, "epoch", top=TOP, bottom=_BOTTOM),
        element("line", x1=LEFT, x2=RIGHT, y1=zero, y2=zero, class_="zero"),
        *[series(dots, across, up, index=k, decimals=_DECIMALS) for k, dots in enumerate(lines.values())],
        *legend(list(lines)),
        width=WIDTH,
        height=HEIGHT + legend_height(len(lines)),
    )
    return [(title, drawing)]


def _told(lines: Mapping[str, Sequence[Dot]]) -> str:
    return "; ".join(
        f"{name} {score(dots[0].value.mean, _DECIMALS)} to {score(dots[-1].value.mean, _DECIMALS)}"
        for name, dots in lines.items()
        if dots
    )
