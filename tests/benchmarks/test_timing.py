"""The stopwatch."""

import time
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch

CPU = torch.device("cpu")


@pytest.fixture
def timing() -> Any:
    return import_module("timing")


def test_runs_take_turns_and_the_slower_one_takes_longer(timing: Any) -> None:
    order: list[str] = []

    def run(who: str, seconds: float) -> None:
        order.append(who)
        time.sleep(seconds)

    runs = {"short": partial(run, "short", 0.002), "long": partial(run, "long", 0.006)}
    times = timing.measure(runs, rounds=3, seconds=60, device=CPU)
    assert order[-6:] == ["short", "long"] * 3
    assert 0.002 <= times["short"]["median_s"] < times["long"]["median_s"]
    assert times["long"]["low_s"] <= times["long"]["median_s"] <= times["long"]["high_s"]
    assert times["long"]["rounds"] == 3


def test_time_that_is_up_leaves_five_rounds(timing: Any) -> None:
    times = timing.measure({"nap": partial(time.sleep, 0.002)}, rounds=50, seconds=0, device=CPU)
    assert times["nap"]["rounds"] == 5


def test_the_clock_of_the_thread_leaves_out_what_it_waits_for(timing: Any) -> None:
    matrix = torch.randn(300, 300)

    def run() -> None:
        matrix @ matrix
        time.sleep(0.05)

    given = {"rounds": 2, "seconds": 0, "device": CPU}
    wall = timing.measure({"nap": run}, **given)["nap"]["median_s"]
    computed = timing.measure({"nap": run}, **given, clock=time.thread_time)["nap"]["median_s"]
    assert 0 < computed < 0.05 <= wall


def test_quartiles_far_apart_are_unsteady(timing: Any) -> None:
    assert timing.unsteady({"median_s": 1.0, "low_s": 0.9, "high_s": 1.15})
    assert not timing.unsteady({"median_s": 1.0, "low_s": 0.95, "high_s": 1.1})


def test_the_environment_names_what_numbers_depend_on_and_no_path(timing: Any) -> None:
    about = timing.environment(CPU, seed=3)
    assert about["torch"] == torch.__version__
    assert about["threads"] == torch.get_num_threads()
    assert about["seed"] == 3
    assert not [value for value in about.values() if str(value).startswith("/")]
