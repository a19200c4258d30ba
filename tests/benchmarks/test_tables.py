"""Tables say what the results say."""

from importlib import import_module
from typing import Any

import pytest

SIZE = {"batch": 4, "width": 8, "tokens": 1, "modalities": 2}


@pytest.fixture
def tables() -> Any:
    return import_module("tables")


def quartiles(median: float, spread: float = 0.0) -> dict[str, float]:
    return {"median_s": median, "low_s": median - spread, "high_s": median + spread, "rounds": 5}


def row(part: str, ours: float, plain: float, **changes: Any) -> dict[str, Any]:
    times = {"ours": quartiles(ours), "plain": quartiles(plain), "floor": quartiles(1e-6)}
    result = {"part": part, "size": SIZE, "dtype": "float32", "compiled": False}
    passes = {"forward": times, "forward+backward": times}
    return {**result, **passes, "peak_bytes": {"ours": 3000, "plain": 1500, "floor": 1000}, **changes}


def test_ratios_are_ours_divided_by_theirs(tables: Any) -> None:
    line = tables.speed_table([row("sum", 3e-6, 2e-6)]).splitlines()[-1]
    assert line.split() == [
        "sum",
        "B=4",
        "D=8",
        "N=1",
        "M=2",
        *["3.0", "1.50", "3.00"] * 2,
        *["3.0", "2.00", "3.00"],
    ]


def test_what_is_unsteady_is_marked_and_memory_that_is_not_counted_a_dash(tables: Any) -> None:
    times = {"ours": quartiles(3e-6), "plain": quartiles(2e-6, 1e-6), "floor": quartiles(1e-6)}
    compiled = row("sum", 3e-6, 2e-6, forward=times, peak_bytes=None, compiled=True)
    *_, head, _, line = tables.speed_table([compiled]).splitlines()
    assert head.startswith("float32, compiled ")
    assert line.split()[5:8] == ["3.0", "~1.50", "3.00"]
    assert line.split()[-3:] == ["-"] * 3


def test_losses_are_counted_and_the_worst_of_each_part_named(tables: Any) -> None:
    unsteady = {"ours": quartiles(9e-6, 5e-6), "plain": quartiles(1e-6), "floor": quartiles(1e-6)}
    rows = [
        row("max", 3e-6, 2e-6),
        row("max", 5e-6, 2e-6, dtype="bfloat16"),
        row("sum", 1e-6, 2e-6, forward=unsteady),
        row("mean", 2e-6, 2e-6),
    ]
    first, _, *worst = tables.losses(rows).splitlines()
    assert first.startswith(
        "Of 8 times 7 are steady; in 4 of these ours takes over 10% longer than plain, in 1 plain"
    )
    assert [line.split()[:2] for line in worst] == [["max", "2.50"]]
    assert "bfloat16, eager" in worst[0]


def test_what_cannot_be_compiled_is_named(tables: Any) -> None:
    failed = {"part": "sum", "size": SIZE, "dtype": "bfloat16", "compiled": True, "error": "CppCompileError"}
    assert tables.failures([failed]).splitlines()[1].split() == [
        "sum",
        "bfloat16,",
        "compiled:",
        "CppCompileError",
    ]


def test_growth_is_per_sample_and_relative_to_the_first(tables: Any) -> None:
    points = [
        {"value": value, "batch": value, "times": quartiles(seconds)}
        for value, seconds in [(1, 1e-5), (16, 8e-5)]
    ]
    grown = {"axis": "batch", "part": "sum", "base": SIZE, "values": [1, 16, 256], "points": points}
    lines = tables.growth_table([grown]).splitlines()
    assert lines[1].split() == ["batch", "1", "16", "256"]
    assert lines[2].split() == ["sum", "1", "0.5", "-"]


def test_the_checks_stand_in_tables_of_their_own(tables: Any) -> None:
    products = tables.product_table({"rank": 8, "limit": 1.5, "rows": [row("low_rank", 3e-6, 2e-6)]})
    assert products.splitlines()[1].split()[-4:] == ["forward", "3.00,", "forward+backward", "3.00"]
    point = {"widths": [3, 4], "product": 20, "gradient_bytes": 1000}
    point |= {"plain_bytes": 2000, "whole_bytes": 3000, "chunked_bytes": 4000}
    chunks = tables.chunk_table({"rows": 64, "chunk": 8, "points": [point]})
    assert chunks.splitlines()[2].split() == ["3", "x", "4", "20", "2", "3", "4", "1"]
