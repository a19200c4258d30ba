import pytest
import torch
from torch.nn import functional as F

from fuseloom import Batch, Trace
from fuseloom.tasks.classification import Classification
from fuseloom.train.outcome import outcome_loss

TASK = Classification(["a", "b", "c"])


@pytest.fixture
def rows():
    return Batch(inputs={"x": torch.zeros(4, 1)}, target=torch.tensor([0, 2, 1, 1]))


def weighed(rows, weight):
    return Batch(inputs=rows.inputs, target=rows.target, extras={"weight": weight})


def test_it_is_the_tasks_loss_where_nothing_is_filed(rows):
    outputs = torch.randn(4, 3)
    assert outcome_loss(outputs, rows, TASK, Trace()).equal(F.cross_entropy(outputs, rows.target))


def test_losses_predictions_and_feedbacks_are_added(rows):
    outputs, other = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    trace = Trace()
    trace.loss("one", torch.tensor(0.5))
    trace.prediction("two", other)
    trace.feedback("three", lambda losses: (losses * torch.arange(4)).sum())
    each = F.cross_entropy(outputs, rows.target, reduction="none")
    wanted = each.mean() + 0.5 + F.cross_entropy(other, rows.target) + (each * torch.arange(4)).sum()
    loss = outcome_loss(outputs, rows, TASK, trace)
    torch.testing.assert_close(loss, wanted)
    (gradient,) = torch.autograd.grad(loss, outputs)
    (plain,) = torch.autograd.grad(each.mean(), outputs)
    torch.testing.assert_close(gradient, plain)  # a feedback learns from losses, and does not change them


def test_a_prediction_counts_as_much_as_its_weight(rows):
    outputs, other, trace = torch.randn(4, 3), torch.randn(4, 3), Trace()
    trace.scope("merge").prediction("two", other, weight=0.25)
    wanted = F.cross_entropy(outputs, rows.target) + 0.25 * F.cross_entropy(other, rows.target)
    torch.testing.assert_close(outcome_loss(outputs, rows, TASK, trace), wanted)


def test_rows_weigh_in_the_loss_and_in_that_of_predictions(rows):
    outputs, other, weight = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([1.0, 0.0, 2.0, 1.0])
    trace = Trace()
    trace.prediction("two", other)
    wanted = sum(
        (F.cross_entropy(one, rows.target, reduction="none") * weight).sum() / 4 for one in (outputs, other)
    )
    torch.testing.assert_close(outcome_loss(outputs, weighed(rows, weight), TASK, trace), wanted)
