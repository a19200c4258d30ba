"""A worker process: jobs as JSON lines on stdin, results as JSON lines on stdout.

Started as ``python -m fuseloom.comparison.worker ROWS...``, a file for each fold. A process of its own
rather than a forked one, so that a comparison may be called from any script, and nothing is pickled.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from fuseloom.comparison.jobs import Job, Rows, run_job, task_from_state
from fuseloom.errors import FuseloomError
from fuseloom.train.fit import one_thread

__all__ = ["serve", "until_the_end"]


def serve(files: Sequence[Path], requests: Iterable[str], answers: TextIO) -> None:
    """Run each job of ``requests`` and answer with its result, or with its error.

    Args:
        files: Encoded rows of each fold.
        requests: Lines of JSON: a job and its task.
        answers: Gets a line of JSON for each.
    """

    @lru_cache(maxsize=1)  # jobs come fold by fold
    def rows(fold: int) -> Rows:
        return Rows.load(files[fold])

    for line in requests:
        request = json.loads(line)
        job = Job.from_state(request["job"])
        try:
            answer = run_job(job, rows(job.fold), task_from_state(request["task"]))
        except FuseloomError as error:  # the parent raises each again, with the job's name
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def until_the_end(stream: TextIO) -> Iterator[str]:
    """Lines of a stream; the process ends with the stream, in the middle of a job too.

    The stream ends when the parent does, however that dies, so no worker outlives it.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def _own_stdout() -> TextIO:
    """Standard output for answers alone; what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


if __name__ == "__main__":
    with one_thread():
        serve([Path(file) for file in sys.argv[1:]], until_the_end(sys.stdin), _own_stdout())
