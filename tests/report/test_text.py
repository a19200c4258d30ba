import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from fuseloom.comparison.result import Comparison, Entry
from fuseloom.diagnose.reliance import Reliance
from fuseloom.metrics.interval import Interval
from fuseloom.report import leaderboard_text
from fuseloom.report.words import columns

MakeEntry = Callable[..., Entry]


def row(text: str, name: str) -> str:
    """The line of an entry in the leaderboard."""
    return next(line for line in text.splitlines() if re.match(rf"[* ]  {re.escape(name)} ", line))


def test_every_entry_has_its_line_in_order_with_its_numbers(comparison: Comparison) -> None:
    text = leaderboard_text(comparison)
    places = [text.index(row(text, entry.name)) for entry in comparison.entries]
    assert places == sorted(places)
    expected = (
        r"cross_attention\+concat +fusion +0\.972 \[0\.963, 0\.980\] +0\.976 +187k +4\.2 s +0\.41 ms +n/a"
    )
    assert re.search(expected, text)


def test_the_recommended_row_is_marked_and_no_other(comparison: Comparison) -> None:
    text = leaderboard_text(comparison)
    assert row(text, "concat").startswith("*  concat")
    assert sum(line.startswith("*  ") for line in text.splitlines()) == 1


def test_numbers_are_aligned_to_the_right(comparison: Comparison) -> None:
    lines = leaderboard_text(comparison).splitlines()
    head = next(line for line in lines if "Params" in line)
    table = lines[lines.index(head) + 1 :][: len(comparison.entries)]
    for title in ("Valid", "Params", "Train", "Predict", "Memory"):
        end = head.index(title) + len(title)
        assert all(line[end - 1] != " " and line[end : end + 2].strip() == "" for line in table), title


def test_recommendation_verdict_and_reliance_are_said(comparison: Comparison) -> None:
    text = leaderboard_text(comparison)
    assert comparison.recommendation.sentence in text.replace("\n", " ")
    assert "Verdict: fusing pays." in text
    assert re.search(r"What low_rank leans on.*bottom +\+0\.461 +\+0\.448", text, re.DOTALL)


def test_the_interval_of_one_seed_is_over_rows(comparison: Comparison) -> None:
    assert "95 % interval over test rows and training runs;" in _words(leaderboard_text(comparison))
    assert "95 % interval over test rows;" in _words(leaderboard_text(replace(comparison, seeds=1)))


def _words(text: str) -> str:
    return " ".join(text.split())


def test_without_intervals_nothing_is_said_of_them(comparison: Comparison) -> None:
    entries = tuple(replace(entry, test=Interval(mean=entry.test.mean)) for entry in comparison.entries)
    text = leaderboard_text(replace(comparison, seeds=1, entries=entries))
    assert "1 seed," in text
    assert "[" not in text
    assert "interval" not in text


def test_regression_says_that_lower_is_better(comparison: Comparison) -> None:
    text = leaderboard_text(replace(comparison, metric="rmse", higher_is_better=False))
    assert "rmse (lower is better)" in text
    assert "Test rmse" in text


@pytest.mark.parametrize("scores", [[0.9, 0.8, 0.85], [123456.7, 99999.9, 888888.8], [1e30, 2.0, 3e15]])
def test_it_fits_a_hundred_columns_whatever_the_names_and_numbers(
    comparison: Comparison, make_entry: MakeEntry, scores: list[float]
) -> None:
    changes = {"parameters": 123_456_789, "train_s": 9e6, "latency_ms": 1e7, "memory_mb": 99_999.0}
    names = ["x" * 150, "融合" * 40, "a_long_fusion_name+" * 4, "b"]
    entries = tuple(make_entry(name, scores, role="baseline", **changes) for name in names)
    reliance = Reliance(
        model="y" * 120,
        metric="accuracy",
        score=Interval(mean=0.5),
        hidden={"z" * 150: Interval(mean=0.1)},
        shuffled={},
        noise={},
    )
    text = leaderboard_text(replace(comparison, entries=entries, reliance=(reliance,)))
    assert max(map(columns, text.splitlines())) <= 100
    assert "xxx…xxx" in text
    assert "Test accuracy" in text


def test_nothing_in_a_name_reaches_the_terminal_as_a_command(
    comparison: Comparison, make_entry: MakeEntry
) -> None:
    data = replace(comparison.data, name="a\x1b[2Jb\udce9\rc")
    entries = (make_entry("red\x1b[31m\nname", [0.5]), *comparison.entries)
    text = leaderboard_text(replace(comparison, data=data, entries=entries))
    assert "red\ufffd[31m name" in text
    assert all(char == "\n" or char.isprintable() for char in text.replace("\ufffd", ""))
    assert text.encode("utf-8")


def test_scores_that_are_not_finite_are_not_available(comparison: Comparison, make_entry: MakeEntry) -> None:
    gone = make_entry("diverged", [0.5], test=Interval(mean=math.nan), valid=Interval(mean=math.inf))
    text = leaderboard_text(replace(comparison, entries=(*comparison.entries, gone)))
    assert re.search(r"diverged +fusion +n/a +n/a", text)


def test_subsets_and_calibration_of_the_recommended_model_have_a_line_each(comparison: Comparison) -> None:
    text = leaderboard_text(comparison)
    assert "concat given one modality only, accuracy: top 0.800, bottom 0.850" in text
    expected = "Calibration error of concat: 0.094; 0.012 with temperature 1.73, fitted on validation rows"
    assert expected in text
    assert "low_rank given" not in text


def test_numbers_have_no_calibration(numbers: Comparison) -> None:
    assert "Calibration" not in leaderboard_text(numbers)
