import pytest
import torch

from fuseloom.nn.sinkhorn import sinkhorn


def sums(seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.rand(4, generator=generator) + 0.1, torch.rand(3, generator=generator) + 0.1
    return torch.rand(4, 3, generator=generator) + 0.05, rows, columns * rows.sum() / columns.sum()


def test_both_sums_are_met_and_the_ratios_of_the_matrix_stay():
    matrix, rows, columns = sums()
    scaled = sinkhorn(matrix, rows, columns, tolerance=1e-5)
    torch.testing.assert_close(scaled.sum(-1), rows, atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.sum(-2), columns, atol=1e-4, rtol=0)
    factors = (scaled / matrix).log()
    spread = factors - factors.mean(0) - factors.mean(1, keepdim=True) + factors.mean()
    torch.testing.assert_close(spread, torch.zeros(4, 3), atol=1e-5, rtol=0)


def test_each_matrix_of_a_batch_stops_by_itself():
    ready, rows, columns = sums()
    ready = sinkhorn(ready, rows, columns, tolerance=1e-6)
    other = sums(1)[0]
    both = sinkhorn(torch.stack([ready, other]), rows, columns)
    torch.testing.assert_close(both[0], sinkhorn(ready, rows, columns), rtol=0, atol=0)
    torch.testing.assert_close(both[1], sinkhorn(other, rows, columns), rtol=0, atol=0)


def test_columns_are_scaled_first():
    matrix, rows, columns = sums()
    scaled = sinkhorn(matrix, rows, 2 * columns, max_rounds=1)  # of two totals only one can be met
    torch.testing.assert_close(scaled.sum(-1), rows)
    assert scaled.sum().item() == pytest.approx(rows.sum().item(), rel=1e-5)


def test_gradients_flow():
    matrix, rows, columns = (value.double() for value in sums())
    given = [value.requires_grad_() for value in (matrix, rows, columns)]
    assert torch.autograd.gradcheck(lambda *args: sinkhorn(*args, max_rounds=2, tolerance=0.0), given)
