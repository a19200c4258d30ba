"""Jobs fanned out over processes of one thread each."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuseloom.comparison.jobs import Job, Rows, run_job, task_state
from fuseloom.errors import RunError
from fuseloom.tasks import Task
from fuseloom.train.files import reporting
from fuseloom.train.fit import one_thread

__all__ = ["Report", "Runner", "rows_on_disk", "workers"]

Report = Callable[[Job, dict[str, Any]], None]
"""Takes the result of a job."""
Runner = Callable[[Sequence[Job], Report], None]
"""Runs jobs and reports each result as it comes, in this thread."""


@contextmanager
def workers(num_workers: int, folds: Sequence[Rows], task: Task, scratch: Path) -> Iterator[Runner]:
    """Give a runner; with one worker, jobs run in this process.

    A process that dies under a job, as when the system runs out of memory, is replaced once for that job.

    Args:
        num_workers: Processes.
        folds: Encoded rows of each fold; written to ``scratch`` for the processes.
        task: Gives loss and head.
        scratch: A folder, of which nothing is left in the end but what it held.

    Raises:
        RunError: a job fails, its process dies twice, or the rows cannot be written.
    """
    if num_workers == 1:
        yield lambda jobs, report: _run_here(jobs, report, folds, task)
        return
    crew: list[_Worker] = []
    with rows_on_disk(folds, scratch) as files:
        try:
            crew.extend(_Worker(files) for _ in range(num_workers))
            yield lambda jobs, report: _run_there(jobs, report, crew, task)
        finally:
            for worker in crew:
                worker.close()


@contextmanager
def rows_on_disk(folds: Sequence[Rows], scratch: Path) -> Iterator[list[Path]]:
    """Files with the rows of each fold, gone behind the context.

    Raises:
        RunError: they cannot be written.
    """
    folder = scratch / "rows"
    files = [folder / f"{fold}.safetensors" for fold in range(len(folds))]
    try:
        with reporting(folder):
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(parents=True)
            for rows, file in zip(folds, files, strict=True):
                rows.save(file)
        yield files
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_here(jobs: Sequence[Job], report: Report, folds: Sequence[Rows], task: Task) -> None:
    with one_thread():
        for job in jobs:
            report(job, run_job(job, folds[job.fold], task))


def _run_there(jobs: Sequence[Job], report: Report, crew: "Sequence[_Worker]", task: Task) -> None:
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in crew:
        idle.put(worker)

    def run(job: Job) -> dict[str, Any]:
        worker = idle.get()
        try:
            return worker.run(job, task)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(len(crew)) as threads:
        futures = {threads.submit(run, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                report(futures[future], future.result())
        except BaseException:  # an interrupt too: nothing is waited for
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in crew:
                worker.end()
            raise


class _Worker:
    """A process that runs one job at a time, and the next one where that dies."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files, self.process = files, _start(files)
        self.ended, self.lock = False, threading.Lock()

    def run(self, job: Job, task: Task) -> dict[str, Any]:
        request = json.dumps({"job": job.state(), "task": task_state(task)}) + "\n"
        answer = _ask(self.process, request)
        if answer is None and self.renew():
            answer = _ask(self.process, request)
        if answer is None:
            raise RunError(_died(job, self.process.wait()))
        if "error" in answer:
            raise RunError(f"{job.key} failed: {answer['error']}")
        return answer

    def renew(self) -> bool:
        """Start another process for one that died by itself."""
        with self.lock:
            if not self.ended:
                _close(self.process)
                self.process = _start(self.files)
            return not self.ended

    def end(self) -> None:
        """Kill the process; whoever waits for its answer gets none."""
        with self.lock:
            self.ended = True
            self.process.kill()

    def close(self) -> None:
        self.end()
        _close(self.process)


def _start(files: Sequence[Path]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "fuseloom.comparison.worker", *map(str, files)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **single},
        process_group=0,  # Ctrl-C in a terminal is for the parent, which then ends its workers
    )


def _ask(process: "subprocess.Popen[str]", request: str) -> dict[str, Any] | None:
    """The answer of a process, or None where it dies first."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
    except BrokenPipeError:
        return None
    line = process.stdout.readline()
    answer: dict[str, Any] | None = json.loads(line) if line.endswith("\n") else None
    return answer


def _close(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):  # of a request that it never read
            pipe.close()


def _died(job: Job, code: int) -> str:
    how = "killed, as a system does when memory runs out" if code == -9 else f"gone with code {code}"
    return (
        f"{job.key}: its process died twice; the second was {how}. "
        "Run the same command again to go on, with fewer --workers."
    )
