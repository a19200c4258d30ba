"""Tasks: head, loss, metrics, decoding and the columns of a prediction, one file per task."""

from fuseloom.tasks._base import Metric, Task
from fuseloom.tasks._infer import infer_task

__all__ = ["Metric", "Task", "infer_task"]
