"""The whole program killed at twenty moments of one comparison, processes and all."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

KILLS = 20
TIMES = ("train_s", "latency_ms", "total_s")
"""What differs from run to run; every other byte of a result must not."""
OPTIONS = ("--fusion", "sum", "--fusion", "low_rank", "--seeds", "3", "--max-epochs", "40", "--folds", "2")
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")


@pytest.fixture
def table(tmp_path):
    """Two modalities of which only the product of one column each tells the class."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(300, 4))
    lines = [
        ",".join(f"{v:.3f}" for v in row) + f",{'yes' if row[0] * row[2] > 0 else 'no'}" for row in values
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["a0,a1,b0,b1,y", *lines]) + "\n")
    return path


def start(table, folder):
    """A comparison in a session and a folder of its own, so that the command is always the same."""
    folder.mkdir(exist_ok=True)
    columns = ("--target", "y", "--tabular", "a=a0,a1", "--tabular", "b=b0,b1")
    command = ["compare", str(table), *columns, *OPTIONS, "--workers", "2", "--out", "run"]
    return subprocess.Popen(
        [sys.executable, "-m", "fuseloom", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out, err


def noted(folder):
    """Finished work: key -> the file it speaks of, by number and age."""
    journal = folder / "run" / "journal.jsonl"
    if not journal.exists():
        return {}
    lines = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]
    assert len({line["key"] for line in lines}) == len(lines)
    files = {line["key"]: folder / "run" / "weights" / line["weights"] for line in lines if "weights" in line}
    return {key: (file.stat().st_ino, file.stat().st_mtime_ns) for key, file in files.items()}


def workers_of(folder):
    """Processes that read the rows of a run."""
    wanted, found = str(folder.resolve()), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"fuseloom.comparison.worker" in (process / "cmdline").read_bytes():
                found += [int(process.name)] if str((process / "cwd").resolve()) == wanted else []
        except OSError:  # it ended while it was looked at
            continue
    return found


def at_work(process, folder):
    """Whether it has the lock: from there on it trains."""
    lock = folder / "run" / "lock.json"
    return lock.exists() and f'"pid": {process.pid},' in lock.read_text()


def come_to(moment, process, folder):
    """Whether a run is at work and has finished so much, or is at its end."""
    return process.poll() is not None or (at_work(process, folder) and len(noted(folder)) >= moment)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def result(folder):
    """All that a run leaves, apart from times: the report as text, and the bytes of every other file."""
    report = json.dumps(without_times(json.loads((folder / "run" / "report.json").read_text())))
    kept = [*(folder / "run" / "model").iterdir(), folder / "run" / "predictions.csv"]
    return report, {file.name: file.read_bytes() for file in kept}, sorted(noted(folder))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_cost_nothing_that_was_finished(table, tmp_path):
    draw, whole, killed = random.Random(0), tmp_path / "whole", tmp_path / "killed"
    end(start(table, whole))
    before, struck = {}, 0
    for moment in sorted(draw.sample(range(len(noted(whole))), KILLS)):
        process = start(table, killed)
        assert wait_for(lambda process=process, moment=moment: come_to(moment, process, killed), 300)
        time.sleep(draw.uniform(0, 0.3))
        struck += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert wait_for(lambda: not workers_of(killed)), "a worker outlived its parent"
        now = noted(killed)
        assert before.items() <= now.items(), "finished work was done again"
        before = now
    assert struck > KILLS / 2
    _, told = end(start(table, killed))
    assert before.items() <= noted(killed).items()
    assert f"going on: {len(before)} of" in told
    assert result(killed) == result(whole)
    assert not {"lock.json", "rows"} & {file.name for file in (killed / "run").iterdir()}
    assert not list((killed / "run").rglob("*.part"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_signal_ends_the_program_with_one_line_and_status_130(table, tmp_path, number):
    process = start(table, tmp_path / "stopped")
    for line in process.stderr:
        if line.startswith("[2/"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("Stopped after ")
    assert wait_for(lambda: not workers_of(tmp_path / "stopped"))
    assert not (tmp_path / "stopped" / "run" / "lock.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_data_file_that_vanished_is_named_and_one_that_changed_is_refused(table, tmp_path):
    process = start(table, tmp_path / "stopped")
    for line in process.stderr:
        if line.startswith("[2/"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    text = table.read_text()
    table.unlink()
    gone = start(table, tmp_path / "stopped")
    assert "rows.csv" in gone.communicate()[1].splitlines()[-1]
    assert gone.returncode == 1
    table.write_text(text.replace(",yes", ",no", 1))
    changed = start(table, tmp_path / "stopped")
    assert "other settings or data: data differ" in changed.communicate()[1].splitlines()[-1]
    assert changed.returncode == 1
