import pytest
import torch

from fuseloom import Batch
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.merge.sum import Sum
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import Passage, view_of
from fuseloom.train.remedies._rows import loss_over, mean_over

ROWS = torch.tensor([True, False, True, True])
WEIGHT = torch.tensor([1.0, 5.0, 2.0, 0.0])


def test_only_rows_that_are_true_count_and_by_their_weight():
    values = torch.tensor([1.0, float("nan"), 4.0, 7.0])
    assert mean_over(values, ROWS).item() == pytest.approx((1 + 4 + 7) / 3)
    assert mean_over(values, ROWS, WEIGHT).item() == pytest.approx((1 + 2 * 4) / 3)


def test_of_no_rows_it_is_zero_and_so_is_its_gradient():
    values = torch.ones(4, requires_grad=True)
    mean = mean_over(values, torch.zeros(4, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert values.grad.equal(torch.zeros(4))


def test_many_rows_of_low_precision_are_counted_right():
    values = torch.ones(1000, dtype=torch.bfloat16)
    assert mean_over(values, torch.ones(1000, dtype=torch.bool)).item() == 1


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_loss_over_rows_is_that_of_a_batch_of_them(weight):
    encoders, merge = {n: IdentityEncoder(3) for n in "ab"}, Sum(dict.fromkeys("ab", 3))
    model = FusionModel(encoders, merge, torch.nn.Identity())
    torch.manual_seed(0)
    batch = Batch(
        inputs={n: torch.randn(4, 3) for n in "ab"},
        target=torch.tensor([0, 1, 2, 1]),
        extras={} if weight is None else {"weight": weight},
    )
    task, outputs = Classification(["x", "y", "z"]), torch.randn(4, 3)
    found = loss_over(Passage(view_of(model), batch, task), outputs, ROWS)
    given = None if weight is None else weight[ROWS]
    torch.testing.assert_close(found, task.loss(outputs[ROWS], batch.target[ROWS], given))
