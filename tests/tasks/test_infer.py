import numpy as np
import pytest

from fuseloom.tasks import infer_task


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 2], "classification"),
        ([0.0, 1.0, np.nan], "classification"),
        ([0.5, 1.0], "regression"),
        (list(range(21)), "regression"),
        (["rock", "rock;pop"], "multilabel"),
        (["rock|pop", "pop|jazz", ""], "multilabel"),
        (["this; or that", "neither"], "classification"),
        ([["a"], ["b"]], "classification"),
        ([[0, 1], [1, 1]], "multilabel"),
        ([[False, True]], "multilabel"),
        ([[0, 2], [1, 1]], "regression"),
        ([[0.0, np.nan], [1.0, 1.0]], "regression"),
    ],
)
def test_task_is_told_from_the_target(values, task):
    assert infer_task(np.array(values)) == task
