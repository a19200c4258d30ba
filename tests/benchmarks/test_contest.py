"""Ours and its rivals compute the same; only then do their times mean something."""

from importlib import import_module
from typing import Any

import pytest
import torch

from fuseloom.registry import card, list_fusions

CPU = torch.device("cpu")


@pytest.fixture
def contest() -> Any:
    return import_module("contest")


def test_every_part_has_a_plain_formulation_and_a_floor(contest: Any) -> None:
    assert contest.without_rival(list_fusions()) == []
    assert contest.without_rival(["sum", "summ"]) == ["summ"]


@pytest.mark.parametrize(("tokens", "modalities"), [(1, 2), (5, 3)])
@pytest.mark.parametrize("name", list_fusions())
def test_the_plain_formulation_agrees(contest: Any, name: str, tokens: int, modalities: int) -> None:
    if ("embedding" if tokens == 1 else "tokens") not in card(name).ranks:
        pytest.skip("takes no such streams")
    size = contest.Size(batch=3, width=8, tokens=tokens, modalities=modalities)
    contest.agree(name, size, CPU)


@pytest.mark.parametrize("name", list_fusions())
def test_the_floor_reads_every_stream_and_makes_what_its_gradients_need(contest: Any, name: str) -> None:
    size = contest.Size(batch=3, width=8, tokens=5, modalities=3)
    setting = contest.Setting(device=CPU)
    entrants, streams = contest.contenders(name, size, setting), contest.draw(size, setting)
    floor = contest.steps(entrants["floor"], streams)
    assert all(bool(value.isfinite().all()) for value in floor["forward"]())
    to_streams = floor["forward+backward"]()[: len(streams)]
    assert all(gradient is not None and bool(gradient.any()) for gradient in to_streams)


def test_a_rival_that_computes_something_else_is_refused(
    contest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "RIVALS", {**contest.RIVALS, "sum": contest.RIVALS["mean"]})
    size = contest.Size(batch=3, width=8, modalities=2)
    with pytest.raises(AssertionError, match="sum: Tensor-likes are not close"):
        contest.compete("sum", size, contest.Setting(device=CPU), contest.Effort(rounds=2, seconds=0))


def test_what_is_too_large_or_refused_is_known_before_it_is_made(contest: Any) -> None:
    wide = contest.Size(batch=1, width=1024, modalities=2)
    assert contest.too_large("tensor", wide)
    assert not contest.too_large("concat", wide)
    many = contest.Size(batch=1, width=8, modalities=4)
    assert contest.too_large("multiplicative_interactions", many)


def test_peak_memory_is_what_lives_at_once(contest: Any) -> None:
    def step() -> list[torch.Tensor]:
        first = torch.ones(100, dtype=torch.float32)
        second = first + 1
        del first
        return [second * 2]

    assert contest.peaks({"ours": {"forward+backward": step}}) == {"ours": 800}


@pytest.mark.slow
@pytest.mark.compile
def test_compiled_contenders_are_timed(contest: Any) -> None:
    size = contest.Size(batch=4, width=8, modalities=2)
    setting = contest.Setting(device=CPU, compiled=True)
    result = contest.compete("sum", size, setting, contest.Effort(rounds=2, seconds=0))
    assert result["compiled"]
    assert result["peak_bytes"] is None
    for which in contest.PASSES:
        assert all(times["median_s"] > 0 for times in result[which].values())
        assert result[which].keys() == {"ours", "plain", "floor"}
