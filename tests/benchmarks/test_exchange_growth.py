"""What is over a limit is known before it is run."""

import time
from importlib import import_module
from typing import Any

import pytest
import torch


@pytest.fixture
def growth() -> Any:
    return import_module("exchange_growth")


@pytest.fixture
def axis(growth: Any) -> Any:
    base = import_module("contest").Size(batch=1, width=4, tokens=4, modalities=2)
    return growth.Axis(name="tokens", base=base, values=(4, 16, 64))


def grow(growth: Any, axis: Any, name: str, **limits: float) -> list[Any]:
    contest = import_module("contest")
    setting = contest.Setting(device=torch.device("cpu"))
    given = growth.Limits(**{"seconds": 60.0, "gigabytes": 8.0} | limits)
    row = growth.grow(name, axis, setting, contest.Effort(rounds=2, seconds=0, clock=time.thread_time), given)
    assert (row["part"], row["axis"], row["base"]["width"]) == (name, "tokens", 4)
    return list(row["points"])


def test_a_cost_is_predicted_with_the_exponent_of_the_last_two_points(growth: Any) -> None:
    assert growth.predicted([], 4) == 0
    assert growth.predicted([(1, 3.0)], 4) == 48  # at worst quadratic
    assert growth.predicted([(1, 3.0), (4, 12.0)], 16) == pytest.approx(48)
    assert growth.predicted([(1, 3.0), (4, 24.0)], 16) == pytest.approx(192)
    # Noise makes it neither fall nor explode.
    assert growth.predicted([(1, 3.0), (4, 2.0)], 16) == pytest.approx(8)
    assert growth.predicted([(1, 1.0), (4, 1000.0)], 16) == pytest.approx(16000)


def test_every_point_within_the_limits_is_measured(growth: Any, axis: Any) -> None:
    points = grow(growth, axis, "channel_exchange")
    assert [point["value"] for point in points] == [4, 16, 64]
    # Streams, gradients and what stands between grow with the tokens; weights and their gradients do not.
    small, medium, large = (point["peak_bytes"] for point in points)
    assert large - medium == pytest.approx(4 * (medium - small), rel=0.02)
    assert all(point["rounds"] == 2 for point in points)


def test_what_would_be_over_a_limit_says_so_and_is_not_run(
    growth: Any, axis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[int] = []
    draw = growth.draw
    monkeypatch.setattr(growth, "draw", lambda size, setting: run.append(size.tokens) or draw(size, setting))
    (whole, *_) = grow(growth, axis, "full attention")
    run.clear()
    limit = whole["peak_bytes"] * 1.5e-9
    first, *rest = grow(growth, axis, "full attention", gigabytes=limit)
    assert first["peak_bytes"] == whole["peak_bytes"]
    assert [point["over"] for point in rest] == [f"> {limit:g} GB"] * 2
    assert run == [4]


def test_what_turns_out_to_be_over_a_limit_says_so_too(growth: Any, axis: Any) -> None:
    points = grow(growth, axis, "mult", seconds=0.0)
    assert [point["over"] for point in points] == ["> 0 s"] * 3


def test_a_long_run_is_not_timed_again(growth: Any, axis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_LONG_S", 0.0)
    assert [point["rounds"] for point in grow(growth, axis, "channel_exchange")] == [1, 1, 1]


def test_full_attention_is_the_plain_cross_attention_at_that_size(growth: Any) -> None:
    contest = import_module("contest")
    size = contest.Size(batch=2, width=4, tokens=3, modalities=3)
    setting = contest.Setting(device=torch.device("cpu"))
    entrant, streams = growth.full_attention(size, setting), contest.draw(size, setting)
    changed = dict(streams) | {"m2": streams["m2"].flip(1)}
    found = zip(entrant.forward(streams), entrant.forward(changed), strict=True)
    # All tokens of the others are seen, wherever they stand.
    assert [torch.allclose(a, b, atol=1e-6) for a, b in found] == [True, True, False]
    assert len(entrant.parameters) == 3 * 4  # the maps of queries, keys, values and out
