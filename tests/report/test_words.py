import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.metrics.interval import Interval
from fuseloom.report import words


@pytest.mark.parametrize(
    ("means", "decimals"),
    [
        ([0.97, 0.1, 1.0], 3),
        ([3.2, 4.5, 5.9], 3),
        ([32.1, 45.2], 2),
        ([321.0, 400.0], 1),
        ([5432.0], 0),
        ([98765.0], 0),
        ([0.05, 0.06], 4),
        ([0.0], 3),
        ([0.9, 0.91, 1e30], 3),
        ([math.nan], 3),
    ],
)
def test_decimals_follow_the_typical_score(
    comparison: Comparison, make_entry: Callable[..., Entry], means: list[float], decimals: int
) -> None:
    entries = tuple(
        make_entry(str(mean), [0.5], valid=Interval(mean=mean), test=Interval(mean=mean)) for mean in means
    )
    assert words.score_decimals(replace(comparison, entries=entries)) == decimals


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (1234.5678, 1, "1,234.6"),
        (-0.5, 2, "-0.50"),
        (1e12, 3, "1e+12"),
        (0.00001234, 7, "0.0000123"),
        (0.000001234, 9, "1.23e-06"),
        (None, 2, "n/a"),
        (math.inf, 2, "n/a"),
    ],
)
def test_score(value: float | None, decimals: int, shown: str) -> None:
    assert words.score(value, decimals) == shown


@given(st.floats(-1e307, 1e307) | st.sampled_from([math.nan, math.inf]), st.integers(0, 9))
def test_a_score_stays_short_and_says_the_value(value: float, decimals: int) -> None:
    shown = words.score(value, decimals)
    if math.isfinite(value):
        tolerance = max(0.5001 * 10**-decimals, 0.0051 * abs(value))
        assert float(shown.replace(",", "")) == pytest.approx(value, abs=tolerance)
    assert len(shown) <= 10


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "n/a"), (0.0, "+0.00"), (-0.001, "+0.00")])
def test_signed(value: float, shown: str) -> None:
    assert words.signed(value, 2) == shown


def test_an_interval_without_ends_is_its_mean() -> None:
    assert words.interval_text(Interval(mean=0.5), 2) == "0.50"


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0"), (999, "999"), (1000, "1k"), (2_345_678, "2.35M"), (7e9, "7.0B")]
)
def test_compact(count: float, shown: str) -> None:
    assert words.compact(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0004, "0.00040 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (360_000, "100 h 0 min"),
        (math.nan, "n/a"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert words.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0021, "0.0021 ms"), (9.96, "10 ms"), (999.9, "1.0 s"), (math.inf, "n/a")]
)
def test_milliseconds(value: float, shown: str) -> None:
    assert words.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.034, "0.034 MB"), (96.4, "96 MB"), (999.9, "1.0 GB"), (math.nan, "n/a")]
)
def test_megabytes(value: float, shown: str) -> None:
    assert words.megabytes(value) == shown


@given(st.text())
def test_printable_text_can_be_written_and_moves_no_cursor(text: str) -> None:
    shown = words.printable(text)
    assert len(shown) == len(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char == "\u202e" for char in shown)


def test_printable_keeps_letters_of_any_script() -> None:
    assert words.printable("größe 融合 é") == "größe 融合 é"


@given(st.text(), st.integers(3, 30))
def test_a_fitted_text_is_no_wider_and_keeps_its_ends(text: str, width: int) -> None:
    shown = words.fit(text, width)
    assert words.columns(shown) <= width
    if words.columns(text) <= width:
        assert shown == text
    else:
        head, tail = shown.split("…", 1) if "…" not in text else ("", "")
        assert text.startswith(head)
        assert text.endswith(tail)


@pytest.mark.parametrize(
    ("seeds", "folds", "runs", "spread"),
    [
        (1, 1, "1 seed", "test rows"),
        (3, 1, "3 seeds", "test rows and training runs"),
        (1, 5, "5 folds, 1 seed", "test rows and training runs"),
        (3, 5, "5 folds, 3 seeds", "test rows and training runs"),
    ],
)
def test_runs_and_what_intervals_are_over(
    comparison: Comparison, seeds: int, folds: int, runs: str, spread: str
) -> None:
    one = replace(comparison, seeds=seeds, data=replace(comparison.data, folds=folds))
    assert (words.runs(one), words.spread(one)) == (runs, spread)
