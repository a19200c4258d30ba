"""Promised figures: what counts as held, and what is counted."""

import time
from importlib import import_module
from typing import Any

import pytest
import torch


@pytest.fixture
def checks() -> Any:
    return import_module("exchange_checks")


@pytest.fixture
def probes() -> Any:
    return import_module("probes")


def test_the_promises_are_those_of_the_plan(checks: Any) -> None:
    stages = {stage.size.tokens: (stage.size.width, stage.forward, stage.both) for stage in checks.STAGES}
    bound = checks.Bound
    assert stages == {
        19200: (64, bound(most=2.4, aim=1.6), bound(most=0.5)),
        4800: (128, None, None),
        1200: (320, bound(most=1.3), None),
        300: (512, bound(most=1.3), None),
    }
    assert str(checks.CLS) == "B=40 D=768 N=65 M=2"


def test_a_bound_holds_up_to_its_figure(checks: Any) -> None:
    assert checks.Bound(most=2.0, aim=1.0).holds(2.0)
    assert not checks.Bound(most=2.0).holds(2.001)
    assert checks.Bound(fewest=40).holds(40)
    assert not checks.Bound(fewest=40).holds(39.9)


def test_what_misses_is_profiled_and_what_holds_is_not(checks: Any) -> None:
    matrix = torch.randn(200, 200)
    runs = {"ours": lambda: matrix @ matrix, "floor": lambda: matrix + 1}
    size, cpu = checks.CLS, torch.device("cpu")
    effort = import_module("contest").Effort(rounds=3, seconds=0, clock=time.thread_time)
    missed = checks._timed("product", size, runs, checks.Bound(most=1.0), effort, cpu)
    assert missed["holds"] is False
    assert missed["found"] > 1
    first, *_ = missed["profile"]
    assert first["operation"] == "aten::mm"
    assert 0.5 < first["share"] <= 1
    held = checks._timed("product", size, runs, checks.Bound(fewest=1.0), effort, cpu)
    assert held["holds"] is True
    assert "profile" not in held


def test_without_keeping_anything_a_pass_and_its_gradients_are_four_times_the_products(checks: Any) -> None:
    alone, pair = ({"times": {who: {"median_s": value}}} for who, value in (("floor", 0.1), ("plain", 0.8)))
    row = checks.again("part", checks.CLS, alone, pair)
    assert row["found"] == pytest.approx(0.5)
    assert row["bound"] is row["holds"] is None


def test_bytes_kept_are_those_of_storages_that_are_no_weights(probes: Any) -> None:
    contest = import_module("contest")
    weight = torch.randn(3, 3, requires_grad=True)

    def forward(streams: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        product = streams["a"] @ weight  # keeps the stream and the weight
        return [product.exp() * 2, product.t().exp()]  # each exp keeps its result

    streams = {"a": torch.randn(5, 3)}
    assert probes.saved_bytes(contest.Contender(forward, [weight]), streams) == 3 * 5 * 3 * 4


def test_views_are_no_operations_and_reads_are_named(probes: Any) -> None:
    values = torch.randn(4, 4)
    with probes.Operations() as seen:
        (values.t() + 1).t().view(-1).sum()
    assert (seen.count, seen.reads) == (2, set())
    with probes.Operations() as seen:
        values.sum().item()
    assert len(seen.reads) == 1


def test_a_rival_of_pixel_attention_that_computes_something_else_is_refused(
    checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = import_module("contest")
    plain = checks.PlainPixelAttention
    monkeypatch.setattr(
        checks, "PlainPixelAttention", lambda state, dims, num_heads: plain(state, dims, num_heads=1)
    )
    size = contest.Size(batch=2, width=16, tokens=9, modalities=2)
    setting = contest.Setting(device=torch.device("cpu"))
    with pytest.raises(AssertionError, match="not close"):
        list(
            checks.pixel_figures(
                checks.Stage(number=1, size=size), setting, contest.Effort(rounds=2, seconds=0)
            )
        )
