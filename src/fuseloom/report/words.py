"""Numbers and names as people read them, the same in the terminal and on the page."""

import math
import statistics
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from fuseloom.comparison.result import Comparison
from fuseloom.metrics.interval import Interval

__all__ = [
    "ABSENT",
    "columns",
    "compact",
    "decimals_for",
    "fit",
    "interval_text",
    "listed",
    "mean_of",
    "megabytes",
    "milliseconds",
    "printable",
    "range_text",
    "runs",
    "score",
    "score_decimals",
    "seconds",
    "shown_sign",
    "signed",
    "spread",
]

ABSENT = "n/a"
"""Stands for a number that was not measured or is not finite."""
_LONGEST_SCORE = 9
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PLACEHOLDER = "\ufffd"


def printable(text: str) -> str:
    r"""Replace what would garble a page or a terminal: control, direction and half characters.

    Example:
        >>> printable("gr\u00f6\u00dfe\x1b[31m").isprintable()
        True
    """
    return "".join(" " if char in "\n\r\t" else _safe(char) for char in text)


def _safe(char: str) -> str:
    return _PLACEHOLDER if unicodedata.category(char) in {"Cc", "Cs"} or char in _BIDI else char


def fit(text: str, width: int) -> str:
    """Cut the middle out of a text wider than ``width`` columns, so that common starts stay apart.

    Example:
        >>> fit("cross_attention+low_rank", 14)
        'cross_a…w_rank'
    """
    length = width
    while columns(shown := _shorten(text, length)) > width:
        length -= 1
    return shown


def _shorten(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"


def columns(text: str) -> int:
    """Columns of equal width that a text needs: two for a wide character, none for a combining one.

    Example:
        >>> columns("fusion"), columns("融合")
        (6, 4)
    """
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
        for char in text
    )


def runs(comparison: Comparison) -> str:
    """How often every model was trained: ``3 seeds``, or ``5 folds, 3 seeds``."""
    seeds, folds = _many(comparison.seeds, "seed"), _many(comparison.data.folds, "fold")
    return seeds if comparison.data.folds == 1 else f"{folds}, {seeds}"


def spread(comparison: Comparison) -> str:
    """What the intervals of scores are over: ``test rows``, and ``training runs`` where there are several."""
    several = comparison.seeds > 1 or comparison.data.folds > 1
    return "test rows and training runs" if several else "test rows"


def _many(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def score_decimals(comparison: Comparison) -> int:
    """Decimals that give the typical score of a comparison three or four digits."""
    means = (mean for entry in comparison.entries for mean in (entry.valid.mean, entry.test.mean))
    # The median: one diverged run must not take the decimals from all the others.
    return decimals_for(statistics.median(_finite(means) or [0.0]))


def decimals_for(typical: float) -> int:
    """Decimals that give a score three or four digits.

    Example:
        >>> decimals_for(0.975), decimals_for(23.4), decimals_for(0.0012)
        (3, 2, 5)
    """
    if typical >= 1:
        return max(0, 4 - len(str(int(typical))))
    return 3 if typical >= 0.1 or typical == 0 else 2 - math.floor(math.log10(typical))


def _finite(values: Iterable[float]) -> Sequence[float]:
    return [abs(value) for value in values if math.isfinite(value)]


def score(value: float | None, decimals: int) -> str:
    """A score with fixed decimals; the exponent form where those would be unreadable.

    Example:
        >>> score(0.97951, 3), score(-0.0001, 3), score(float("nan"), 3)
        ('0.980', '0.000', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    shown = f"{round(value, decimals) + 0.0:,.{decimals}f}"
    return shown if len(shown) <= _LONGEST_SCORE else f"{value:.3g}"


def signed(value: float | None, decimals: int) -> str:
    """A difference of scores, with its sign.

    Example:
        >>> signed(0.031, 3), signed(-0.2, 1)
        ('+0.031', '-0.2')
    """
    shown = score(value, decimals)
    return shown if shown == ABSENT or shown.startswith("-") else f"+{shown}"


def interval_text(interval: Interval, decimals: int) -> str:
    """The mean, followed by its interval in brackets where there is one.

    Example:
        >>> interval_text(Interval(mean=0.9, low=0.85, high=0.95), 2)
        '0.90 [0.85, 0.95]'
    """
    mean = score(interval.mean, decimals)
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{score(interval.low, decimals)}, {score(interval.high, decimals)}]"


def range_text(
    interval: Interval, decimals: int, *, write: Callable[[float | None, int], str] = score
) -> str:
    """The ends of an interval; ``write`` is `score` or, of differences, `signed`.

    Example:
        >>> range_text(Interval(mean=0.9, low=0.85, high=0.95), 2), range_text(Interval(mean=0.9), 2)
        ('0.85 to 0.95', 'n/a')
    """
    if interval.low is None or interval.high is None:
        return ABSENT
    return f"{write(interval.low, decimals)} to {write(interval.high, decimals)}"


def shown_sign(interval: Interval, decimals: int) -> int:
    """1 where the interval lies above zero, -1 where below it, 0 where it does not tell.

    It is judged as it is written: an end that is rounded to zero is zero.

    Example:
        >>> [shown_sign(Interval(mean=0.1, low=low, high=0.2), 3) for low in (0.05, 0.0004, None)]
        [1, 0, 0]
    """
    if interval.low is None or interval.high is None:
        return 0
    if round(interval.low, decimals) > 0:
        return 1
    return -1 if round(interval.high, decimals) < 0 else 0


def listed(names: Iterable[str], *, last: str = "and") -> str:
    """Names as a sentence lists them.

    Example:
        >>> listed(["text"]), listed(["text", "image", "audio"]), listed(["text", "image"], last="or")
        ('text', 'text, image and audio', 'text or image')
    """
    *others, final = names
    return f"{', '.join(others)} {last} {final}" if others else final


def mean_of(interval: Interval | None) -> float:
    """The estimate alone; NaN where nothing was measured.

    Example:
        >>> mean_of(Interval(mean=0.9, low=0.85, high=0.95)), mean_of(None)
        (0.9, nan)
    """
    return math.nan if interval is None else interval.mean


def compact(count: float) -> str:
    """A count in three digits and a unit.

    Example:
        >>> compact(950), compact(12_345), compact(999_950)
        ('950', '12.3k', '1M')
    """
    for unit, scale in (("", 1.0), ("k", 1e3), ("M", 1e6)):
        if count < 999.5 * scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count / 1e9:,.1f}B"


def seconds(value: float) -> str:
    """A duration.

    Example:
        >>> seconds(0.421), seconds(125), seconds(3780)
        ('0.42 s', '2 min 5 s', '1 h 3 min')
    """
    if not math.isfinite(value):
        return ABSENT
    if value < 59.5:
        return f"{value:#.2g} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def milliseconds(value: float) -> str:
    """A latency; seconds from one second on.

    Example:
        >>> milliseconds(0.1234), milliseconds(123.4), milliseconds(2500)
        ('0.12 ms', '123 ms', '2.5 s')
    """
    if not math.isfinite(value):
        return ABSENT
    if value >= 999.5:
        return seconds(value / 1000)
    return f"{value:#.2g} ms" if value < 9.95 else f"{value:.0f} ms"


def megabytes(value: float | None) -> str:
    """Memory; gigabytes from a thousand megabytes on.

    Example:
        >>> megabytes(8.25), megabytes(1234.0), megabytes(None)
        ('8.2 MB', '1.2 GB', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if value >= 999.5:
        return f"{value / 1000:,.1f} GB"
    return f"{value:#.2g} MB" if value < 9.95 else f"{value:.0f} MB"
