"""Tables of exchanges say what the results say."""

from importlib import import_module
from typing import Any

import pytest

SIZE = {"batch": 4, "width": 8, "tokens": 5, "modalities": 2}


@pytest.fixture
def tables() -> Any:
    return import_module("exchange_tables")


def quartiles(median: float, spread: float = 0.0) -> dict[str, float]:
    return {"median_s": median, "low_s": median - spread, "high_s": median + spread, "rounds": 5}


def row(**changes: Any) -> dict[str, Any]:
    seconds = {"ours": 3e-6, "plain": 2e-6, "attention": 6e-6, "floor": 1e-6}
    times = {who: quartiles(value) for who, value in seconds.items()}
    result = {"part": "mult", "size": SIZE, "dtype": "float32", "compiled": False}
    peak = {"ours": 3000, "plain": 1500, "attention": 6000, "floor": 1000}
    kept = {"ours": 2000, "plain": 4000, "attention": 1000, "floor": 0, "inputs": 500}
    return {
        **result,
        "forward": times,
        "forward+backward": times,
        "peak_bytes": peak,
        "kept_bytes": kept,
        **changes,
    }


def test_ratios_are_ours_divided_by_each_rivals(tables: Any) -> None:
    line = tables.speed_table([row()]).splitlines()[-1]
    assert line.split() == [
        *["mult", "B=4", "D=8", "N=5", "M=2"],
        *["3.0", "1.50", "0.50", "3.00"] * 2,
        *["3.0", "2.00", "0.50", "3.00"],
        *["2.0", "4.00", "0.50", "2.00"],
    ]


def test_memory_that_is_not_counted_and_what_is_divided_by_nothing_is_a_dash(tables: Any) -> None:
    kept = {"ours": 2000, "plain": 0, "attention": 1000, "floor": 0, "inputs": 500}
    *_, eager = tables.speed_table([row(kept_bytes=kept)]).splitlines()
    assert eager.split()[-4:] == ["2.0", "4.00", "-", "2.00"]
    *_, compiled = tables.speed_table([row(compiled=True, peak_bytes=None, kept_bytes=None)]).splitlines()
    assert compiled.split()[-8:] == ["-"] * 8


def figure(**changes: Any) -> dict[str, Any]:
    bound = {"most": 2.4, "fewest": None, "aim": 1.6}
    return {
        "what": "part: forward / floor",
        "size": SIZE,
        "found": 2.0,
        "bound": bound,
        "holds": True,
    } | changes


def test_a_figure_says_what_was_promised_and_whether_it_holds(tables: Any) -> None:
    held, missed, event, free = tables.figures_table(
        [
            figure(steady=True),
            figure(
                found=3.14159,
                holds=False,
                steady=False,
                profile=[{"operation": "aten::gelu", "share": 0.514}],
            ),
            figure(bound=None, holds=None),
        ]
    ).splitlines()[1:]
    assert " ".join(held.split()) == "part: forward / floor 2 at most 2.4, aim 1.6 holds B=4 D=8 N=5 M=2"
    assert missed.split()[4] == "~3.14"
    assert "MISSED" in missed
    assert event.split() == ["51%", "aten::gelu"]
    assert free.split()[4:6] == ["2", "-"]
    assert "holds" not in free


def test_growth_is_absolute_and_names_the_limit_it_is_over(tables: Any) -> None:
    points = [
        {"value": 1024, "peak_bytes": 2e6} | quartiles(0.005),
        {"value": 4096, "peak_bytes": 8e6} | quartiles(0.02, 0.01),
        {"value": 16384, "over": "> 60 s"},
    ]
    grown = {"axis": "tokens", "part": "mult", "base": SIZE, "points": points}
    lines = tables.growth_table([grown]).splitlines()
    assert lines[1].split() == ["tokens", "1024", "4096", "16384"]
    assert lines[2].split() == ["mult", "5;", "2.0", "~20;", "8.0", ">", "60", "s"]


def test_the_figures_come_first_and_what_is_missing_leaves_no_gap(tables: Any) -> None:
    results = {"checks": [figure()], "speed": [row()], "failed": [], "growth": [], "environment": {"seed": 0}}
    page = tables.render(results)
    assert page.startswith("figure")
    assert page.endswith("\n\nseed 0\n")
    assert "compiler" not in page
    failed = {"part": "mult", "size": SIZE, "dtype": "bfloat16", "compiled": True, "error": "ValueError"}
    later = tables.render(results | {"checks": [], "failed": [failed]})
    assert later.startswith("ours: microseconds")
    assert "bfloat16, compiled: ValueError" in later
