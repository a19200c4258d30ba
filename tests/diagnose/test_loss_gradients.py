import pytest
import torch
from torch import nn

from fuseloom import Batch
from fuseloom.diagnose.loss_gradients import loss_gradients
from fuseloom.errors import DataError, OptionError
from fuseloom.tasks.regression import Regression


class Weighted(nn.Module):
    """One weight per modality; a loss besides is three times the weight of ``text``."""

    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("text", "image")})
        self.drop = nn.Dropout(0.9)

    def forward(self, inputs, masks=None, *, trace=None):
        trace.scope("part").loss("size", 3 * self.encoders["text"].weight.sum())
        return self.drop(sum(encoder(inputs[name]) for name, encoder in self.encoders.items()))


def problem():
    target = torch.tensor([1.0, -2.0, 4.0])
    rows = Batch(inputs={"text": torch.ones(3, 1), "image": 2 * torch.ones(3, 1)}, target=target)
    return Weighted(), rows, Regression(0.0, 1.0)


def test_norms_are_those_of_each_loss_alone():
    model, rows, task = problem()
    model.train()
    found = loss_gradients(model, rows, task)
    outputs = sum(encoder(rows.inputs[name]) for name, encoder in model.encoders.items())
    own = torch.autograd.grad(task.loss(outputs, rows.target), [*model.parameters()])
    assert found.rows == 3
    assert found.norms["part.size"] == {"text": pytest.approx(3.0), "image": 0.0}
    expected = {name: float(value.norm()) for name, value in zip(("text", "image"), own, strict=True)}
    assert found.norms["task"] == pytest.approx(expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_encoder_that_is_not_trained_is_missing():
    model, rows, task = problem()
    model.encoders["text"].requires_grad_(False)
    assert list(loss_gradients(model, rows, task).norms["task"]) == ["image"]


def test_rows_need_a_target_and_models_encoders():
    model, rows, task = problem()
    with pytest.raises(DataError, match="rows must have a target"):
        loss_gradients(model, Batch(inputs=rows.inputs), task)
    with pytest.raises(OptionError, match="model must have encoders by modality, got Linear"):
        loss_gradients(nn.Linear(1, 1), rows, task)
