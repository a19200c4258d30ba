"""Jobs fanned out over processes of one thread each."""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuseloom.comparison.jobs import Job, Rows, run_job, task_state
from fuseloom.errors import RunError
from fuseloom.tasks import Task
from fuseloom.train.fit import one_thread

__all__ = ["Runner", "workers"]

Runner = Callable[[Sequence[Job], Callable[[Job, dict[str, Any]], None]], None]
"""Runs jobs and reports each result as it comes."""


@contextmanager
def workers(num_workers: int, folds: Sequence[Rows], task: Task, scratch: Path) -> Iterator[Runner]:
    """Give a runner; with one worker, jobs run in this process.

    Args:
        num_workers: Processes.
        folds: Encoded rows of each fold; written to ``scratch`` for the processes.
        task: Gives loss and head.
        scratch: A folder, of which nothing is left in the end but what it held.

    Raises:
        RunError: a job fails, or a process dies.
    """
    if num_workers == 1:
        yield lambda jobs, report: _run_here(jobs, report, folds, task)
        return
    files = [scratch / f"rows-{fold}.safetensors" for fold in range(len(folds))]
    for rows, file in zip(folds, files, strict=True):
        rows.save(file)
    started = [_start(files) for _ in range(num_workers)]
    try:
        yield lambda jobs, report: _run_there(jobs, report, started, task)
    finally:
        for process in started:
            process.kill()
            process.communicate()
        for file in files:
            file.unlink(missing_ok=True)


def _run_here(
    jobs: Sequence[Job], report: Callable[[Job, dict[str, Any]], None], folds: Sequence[Rows], task: Task
) -> None:
    with one_thread():
        for job in jobs:
            report(job, run_job(job, folds[job.fold], task))


def _start(files: Sequence[Path]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "fuseloom.comparison.worker", *map(str, files)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **single}
    )


def _run_there(
    jobs: Sequence[Job],
    report: Callable[[Job, dict[str, Any]], None],
    processes: "Sequence[subprocess.Popen[str]]",
    task: Task,
) -> None:
    idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
    for process in processes:
        idle.put(process)

    def run(job: Job) -> dict[str, Any]:
        process = idle.get()
        try:
            return _ask(process, job, task)
        finally:
            idle.put(process)

    with ThreadPoolExecutor(len(processes)) as threads:
        futures = {threads.submit(run, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                report(futures[future], future.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            raise


def _ask(process: "subprocess.Popen[str]", job: Job, task: Task) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"job": job.state(), "task": task_state(task)}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        code = process.wait()
        raise RunError(
            f"{job.key}: its process died with code {code}. Run again to go on, with fewer --workers."
        )
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise RunError(f"{job.key} failed: {answer['error']}")
    return answer
