"""A worker process: jobs as JSON lines on stdin, results as JSON lines on stdout.

Started as ``python -m fuseloom.comparison.worker ROWS``. A process of its own rather than a
forked one, so that a comparison may be called from any script, and nothing is pickled.
"""

import json
import sys
from pathlib import Path
from typing import TextIO

from fuseloom.comparison.jobs import Job, Rows, run_job, task_from_state
from fuseloom.train.fit import one_thread

__all__ = ["serve"]


def serve(rows_path: Path, requests: TextIO, answers: TextIO) -> None:
    """Run each job of ``requests`` and answer with its result, or with its error."""
    rows = Rows.load(rows_path)
    for line in requests:
        request = json.loads(line)
        job = Job.from_state(request["job"])
        try:
            answer = run_job(job, rows, task_from_state(request["task"]))
        except Exception as error:  # the parent raises it again, with the job's name
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    with one_thread():
        serve(Path(sys.argv[1]), sys.stdin, sys.stdout)
