import io
import json
import signal
from dataclasses import replace

import pytest

from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.comparison.jobs import Job, Rows, run_job, task_from_state, task_state
from fuseloom.comparison.pool import workers
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.worker import serve
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
        one, two = ready.rows.take(split, ("a", "b")), again.take(split, ("a", "b"))
        assert one.target.equal(two.target)
        assert all(one.inputs[m].equal(two.inputs[m]) for m in "ab")
        assert one.masks.keys() == two.masks.keys()
    assert task_from_state(json.loads(json.dumps(task_state(ready.task)))).classes == ready.task.classes


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


@pytest.mark.slow
def test_a_process_that_is_killed_is_reported(ready, job, tmp_path, monkeypatch):
    from fuseloom.comparison import pool

    started = []
    start = pool._start
    monkeypatch.setattr(pool, "_start", lambda path: started.append(start(path)) or started[-1])
    with workers(2, [ready.rows], ready.task, tmp_path) as run:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait()
        with pytest.raises(RunError, match=r"a: its process died with code -9\. Run again to go on"):
            run([job], lambda job, result: None)
