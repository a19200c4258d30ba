"""Times of things that take turns, and what they depend on."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import fuseloom

__all__ = ["Clock", "environment", "measure", "unsteady"]

Clock = Callable[[], float]
"""Seconds since some moment."""

_WARM_UP = 3
_FEWEST_ROUNDS = 5
_LONG_S = 0.1
# Shorter than this, the clock and the scheduler are part of what is measured.
_SHORTEST_S = 2e-3
_STEADY = 0.2


def measure(
    runs: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float,
    device: torch.device,
    clock: Clock = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Median and quartiles of the seconds of each run, taking turns.

    Args:
        runs: Name -> what is timed. It runs before, unmeasured, so that whatever it makes once is made.
        rounds: How many turns there are at most.
        seconds: After which there are no further turns, five excepted.
        device: What is waited for.
        clock: What tells the time; `time.thread_time` leaves out what others do on a shared machine, but
            counts one thread of the CPU only.
    """
    loops = {who: _loops(run, device, clock) for who, run in runs.items()}
    taken: dict[str, list[float]] = {who: [] for who in runs}
    end = time.perf_counter() + seconds
    for turn in range(rounds):
        for who, run in runs.items():
            taken[who].append(_timed(run, loops[who], device, clock))
        if turn + 1 >= _FEWEST_ROUNDS and time.perf_counter() > end:
            break
    return {who: _quartiles(values) for who, values in taken.items()}


def _loops(run: Callable[[], Any], device: torch.device, clock: Clock) -> int:
    for _ in range(_WARM_UP):
        once = _timed(run, 1, device, clock)
        if once > _LONG_S:
            break
    return max(1, round(_SHORTEST_S / once))


def _timed(run: Callable[[], Any], loops: int, device: torch.device, clock: Clock) -> float:
    _wait(device)
    start = clock()
    for _ in range(loops):
        run()
    _wait(device)
    return (clock() - start) / loops


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _quartiles(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median_s": median, "low_s": low, "high_s": high, "rounds": len(values)}


def unsteady(times: Mapping[str, float]) -> bool:
    """Whether the quartiles are so far apart that the median says little."""
    return times["high_s"] - times["low_s"] > _STEADY * times["median_s"]


def environment(device: torch.device, seed: int) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "fuseloom": fuseloom.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "seed": seed,
    }


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
