"""A draw of rows, and a model as it stands."""

import pytest
import torch

from fuseloom.comparison.standing import drawn_rows, gradients_as_it_stands
from fuseloom.diagnose.gradients import gradients
from fuseloom.errors import OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.types import Batch, Selection

TASK = Classification(["minus", "plus"])


def sorted_rows(count: int) -> Batch:
    values = torch.arange(float(count))[:, None]
    return Batch(inputs={"a": values, "b": -values}, target=(values[:, 0] > count / 2).long())


def test_rows_are_drawn_in_random_order_without_repetition() -> None:
    rows = drawn_rows(sorted_rows(1000))
    values = rows.inputs["a"][:, 0]
    assert len(values.unique()) == 256
    assert rows.target is not None
    assert [0.3 < part.double().mean() < 0.7 for part in rows.target.split(64)] == [True] * 4
    assert not drawn_rows(sorted_rows(1000), seed=1).inputs["a"].equal(rows.inputs["a"])
    assert sorted(drawn_rows(sorted_rows(9)).inputs["a"][:, 0].tolist()) == list(range(9))


def test_of_a_selection_only_its_rows_are_drawn() -> None:
    held = Selection(batch=sorted_rows(100), rows=torch.arange(40, 60))
    assert sorted(drawn_rows(held).inputs["a"][:, 0].tolist()) == list(range(40, 60))


def test_one_look_is_that_of_the_model_in_parts_of_thirty_two() -> None:
    encoder = {"kind": "embedding", "in_dim": 1}
    model = build_model(ModelConfig(encoders=dict.fromkeys("ab", encoder), fusion="sum", dim=8), TASK)
    rows = drawn_rows(sorted_rows(200))
    found = gradients_as_it_stands(model, rows, TASK, name="sum", learnt_from=False, note="So.")
    assert found.gradients == (gradients(model, rows, TASK, model="sum", part_size=32),)
    assert (found.epochs, found.kept, found.learnt_from, found.note) == ((), None, False, "So.")
    assert found.gradients[0].parts == 6


def test_a_model_without_encoders_is_refused() -> None:
    with pytest.raises(OptionError, match="model must have encoders by modality, got Linear"):
        gradients_as_it_stands(torch.nn.Linear(1, 2), sorted_rows(40), TASK, name="linear", learnt_from=False)
