import io
import json
import signal
import subprocess
import threading
from dataclasses import replace

import pytest
from safetensors import safe_open

from fuseloom.comparison import pool, worker
from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.comparison.jobs import Job, Rows, run_job, task_from_state, task_state
from fuseloom.comparison.pool import rows_on_disk, workers
from fuseloom.comparison.prepare import fingerprint, prepare
from fuseloom.comparison.worker import serve, until_the_end
from fuseloom.data.preprocessing import Store
from fuseloom.errors import RunError


@pytest.fixture
def ready(dataset):
    return prepare(dataset, CompareConfig(max_epochs=1, dim=8))[0]


@pytest.fixture
def job(ready, tmp_path):
    config = CompareConfig(max_epochs=1, dim=8)
    model = candidates(ready.encoders, config)[0].model
    return Job(key="a", model=model, fit=config.fit(1e-3, 0), weights=str(tmp_path / "a.safetensors"))


def test_rows_and_task_survive_the_way_to_a_process(ready, tmp_path):
    ready.rows.save(tmp_path / "rows.safetensors")
    again = Rows.load(tmp_path / "rows.safetensors")
    for split in ("train", "valid", "test"):
        one, two = (rows.take(split, ("a", "b")).take(slice(None)) for rows in (ready.rows, again))
        assert one.target.equal(two.target)
        assert all(one.inputs[m].equal(two.inputs[m]) for m in "ab")
        assert one.masks.keys() == two.masks.keys()
    assert task_from_state(json.loads(json.dumps(task_state(ready.task)))).classes == ready.task.classes


def test_mapped_inputs_go_to_a_process_by_the_name_of_their_file(dataset, job, ready, tmp_path):
    mapped = prepare(dataset, CompareConfig(max_epochs=1, dim=8), Store(folder=tmp_path / "inputs", large=0))[
        0
    ]
    assert mapped.rows.files.keys() == {"a", "b"}
    mapped.rows.save(tmp_path / "rows.safetensors")
    with safe_open(tmp_path / "rows.safetensors", "pt") as held:
        assert not any(name.startswith("input.") for name in held.keys())  # noqa: SIM118  it is no mapping
    there = Rows.load(tmp_path / "rows.safetensors")
    assert fingerprint([mapped]) == fingerprint([ready])
    assert run_job(job, there, ready.task)["curve"] == run_job(job, ready.rows, ready.task)["curve"]


def test_a_worker_answers_each_line_with_a_result_or_an_error(ready, job, tmp_path):
    ready.rows.save(tmp_path / "rows.safetensors")
    broken = replace(job, weights=str(tmp_path / "nowhere" / "a.safetensors"))
    requests = [{"job": j.state(), "task": task_state(ready.task)} for j in (job, broken)]
    answers = io.StringIO()
    serve(
        [tmp_path / "rows.safetensors"], io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), answers
    )
    good, bad = map(json.loads, answers.getvalue().splitlines())
    assert good["valid_loss"] == run_job(job, ready.rows, ready.task)["valid_loss"]
    assert "nowhere" in bad["error"]


@pytest.mark.slow
def test_a_job_that_fails_or_a_process_that_dies_ends_the_run_with_its_name(ready, job, tmp_path):
    broken = replace(job, weights=str(tmp_path / "nowhere" / "a.safetensors"))
    with (
        pytest.raises(RunError, match=r"^a failed: .*nowhere"),
        workers(2, [ready.rows], ready.task, tmp_path) as run,
    ):
        run([broken], lambda job, result: None)


def test_lines_end_the_process_with_their_stream(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(worker.os, "_exit", lambda code: ended.set())
    lines = until_the_end(io.StringIO("one\ntwo\n"))
    assert [next(lines), next(lines)] == ["one\n", "two\n"]
    assert ended.wait(10)


def test_rows_leave_nothing_behind_and_a_dead_run_s_are_replaced(ready, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / ".tmpx").write_bytes(b"left by a kill")
    with rows_on_disk([ready.rows], tmp_path) as files:
        assert [file.name for file in (tmp_path / "rows").iterdir()] == ["0.safetensors"]
        assert Rows.load(files[0]).all.target.equal(ready.rows.all.target)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_state_or_one_beyond_the_end_is_not_gone_on_from(ready, job, tmp_path):
    state = tmp_path / "a.state"
    short = replace(job, state_file=str(state))
    expected = without_time(run_job(short, ready.rows, ready.task))
    longer = replace(short, fit=replace(job.fit, max_epochs=3))
    beyond = without_time(run_job(longer, ready.rows, ready.task))
    assert beyond["epochs"] == 3
    assert without_time(run_job(short, ready.rows, ready.task)) == expected
    state.write_bytes(state.read_bytes()[:-5])
    assert without_time(run_job(longer, ready.rows, ready.task)) == beyond


def without_time(result):
    return {name: value for name, value in result.items() if name != "train_s"}


class Dying:
    """Stands for the start of processes, of which the first few are killed as soon as they run."""

    def __init__(self, start, deaths):
        self.start, self.deaths, self.started = start, deaths, []

    def __call__(self, files):
        process = self.start(files)
        if len(self.started) < self.deaths:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.started.append(process)
        return process


@pytest.mark.slow
def test_a_job_whose_process_is_killed_runs_again_in_a_fresh_one(ready, job, tmp_path, monkeypatch):
    dying = Dying(pool._start, 2)
    monkeypatch.setattr(pool, "_start", dying)
    found = []
    with workers(2, [ready.rows], ready.task, tmp_path) as run:
        run([job], lambda job, result: found.append(result))
    assert [result["valid_loss"] for result in found] == [run_job(job, ready.rows, ready.task)["valid_loss"]]
    assert len(dying.started) == 3
    assert all(process.poll() is not None for process in dying.started)


@pytest.mark.slow
def test_a_job_whose_process_is_killed_twice_is_named_with_the_remedy(ready, job, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_start", Dying(pool._start, 9))
    with (
        workers(2, [ready.rows], ready.task, tmp_path) as run,
        pytest.raises(
            RunError, match=r"a: its process died twice; the second was killed, .* fewer --workers"
        ),
    ):
        run([job], lambda job, result: None)


@pytest.mark.slow
def test_what_stops_a_run_ends_its_processes_at_once(ready, job, tmp_path, monkeypatch):
    processes = Dying(pool._start, 0)
    monkeypatch.setattr(pool, "_start", processes)
    endless = replace(job, key="b", fit=replace(job.fit, max_epochs=10**9, patience=10**9))

    def stop(job, result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), workers(2, [ready.rows], ready.task, tmp_path) as run:
        run([endless, job], stop)
    assert [process.poll() for process in processes.started] == [-signal.SIGKILL] * 2


@pytest.mark.slow
def test_a_worker_ends_with_its_parent_in_the_middle_of_a_job(ready, job, tmp_path):
    ready.rows.save(tmp_path / "rows.safetensors")
    endless = replace(job, fit=replace(job.fit, max_epochs=10**9, patience=10**9))
    process = pool._start([tmp_path / "rows.safetensors"])
    process.stdin.write(json.dumps({"job": endless.state(), "task": task_state(ready.task)}) + "\n")
    process.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)
    process.stdin.close()  # as the system does for a parent that is killed
    assert process.wait(60) == 0
    process.stdout.close()
