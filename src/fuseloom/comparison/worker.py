"""A worker process: jobs as JSON lines on stdin, results as JSON lines on stdout.

Started as ``python -m fuseloom.comparison.worker ROWS...``, a file for each fold. A process of its own
rather than a forked one, so that a comparison may be called from any script, and nothing is pickled.
"""

import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from fuseloom.comparison.jobs import Job, Rows, run_job, task_from_state
from fuseloom.train.fit import one_thread

__all__ = ["serve"]


def serve(files: Sequence[Path], requests: TextIO, answers: TextIO) -> None:
    """Run each job of ``requests`` and answer with its result, or with its error."""

    @lru_cache(maxsize=1)  # jobs come fold by fold
    def rows(fold: int) -> Rows:
        return Rows.load(files[fold])

    for line in requests:
        request = json.loads(line)
        job = Job.from_state(request["job"])
        try:
            answer = run_job(job, rows(job.fold), task_from_state(request["task"]))
        except Exception as error:  # the parent raises it again, with the job's name
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    with one_thread():
        serve([Path(file) for file in sys.argv[1:]], sys.stdin, sys.stdout)
