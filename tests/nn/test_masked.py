from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from fuseloom.nn import masked_max, masked_mean, masked_softmax

MASK = torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False], [True] * 4])
Reduction = Callable[[Tensor, Tensor | None], Tensor]


@pytest.mark.parametrize(
    ("reduce", "plain"), [(masked_mean, np.mean), (masked_max, np.max)], ids=["mean", "max"]
)
def test_a_reduction_sees_the_kept_tokens_alone(reduce: Reduction, plain: Callable[..., float]) -> None:
    tokens = torch.randn(4, 4, 3)
    expected = np.zeros((4, 3), dtype=np.float32)
    for sample in range(4):
        if MASK[sample].any():
            expected[sample] = plain(tokens[sample][MASK[sample]].numpy(), axis=0)
    dirty = tokens.masked_fill(~MASK[..., None], torch.nan)
    np.testing.assert_allclose(reduce(dirty, MASK), expected, rtol=1e-6)
    np.testing.assert_allclose(reduce(tokens, None), plain(tokens.numpy(), axis=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(reduce(tokens, torch.ones_like(MASK)), reduce(tokens, None))


@pytest.mark.parametrize("reduce", [masked_mean, masked_max], ids=["mean", "max"])
def test_gradients_of_a_reduction_are_finite_and_stay_off_masked_tokens(reduce: Reduction) -> None:
    tokens = torch.randn(4, 4, 3).masked_fill(~MASK[..., None], torch.inf).requires_grad_()
    reduce(tokens, MASK).square().sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()
    assert tokens.grad[~MASK].abs().sum() == 0
    assert (tokens.grad.abs().sum((1, 2)) > 0).equal(MASK.any(1))


@pytest.mark.parametrize("reduce", [masked_mean, masked_max], ids=["mean", "max"])
def test_a_reduction_keeps_bfloat16(reduce: Reduction) -> None:
    tokens = torch.randn(4, 4, 3)
    low = reduce(tokens.bfloat16(), MASK)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), reduce(tokens, MASK), rtol=0.03, atol=0.03)


def test_the_largest_of_negative_values_is_negative() -> None:
    tokens = torch.tensor([[[-5.0], [-2.0], [-1.0]]])
    assert masked_max(tokens, torch.tensor([[True, True, False]])).item() == -2.0


def test_softmax_runs_over_the_kept_entries_alone() -> None:
    scores = torch.randn(4, 4) * 5
    expected = torch.zeros(4, 4)
    for row in range(4):
        expected[row, MASK[row]] = scores[row, MASK[row]].softmax(0)
    weights = masked_softmax(scores.masked_fill(~MASK, 1e30), MASK)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(masked_softmax(scores), scores.softmax(-1))


def test_softmax_broadcasts_its_mask_over_leading_axes() -> None:
    scores = torch.randn(4, 2, 3, 4)
    weights = masked_softmax(scores, MASK[:, None, None])
    for head in range(2):
        for query in range(3):
            torch.testing.assert_close(weights[:, head, query], masked_softmax(scores[:, head, query], MASK))


def test_gradients_of_softmax_are_finite_without_a_kept_entry() -> None:
    scores = torch.randn(4, 4).requires_grad_()
    masked_softmax(scores, MASK).square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad[~MASK].abs().sum() == 0
    assert scores.grad[0].abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_softmax_in_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    scores = (torch.randn(4, 4) * 3).to(dtype)
    weights = masked_softmax(scores, MASK)
    assert weights.dtype == dtype
    assert weights.equal(masked_softmax(scores.float(), MASK).to(dtype))


def test_softmax_survives_scores_that_overflow_an_exponential() -> None:
    weights = masked_softmax(torch.tensor([[1e4, -1e4, 1e4]]), torch.tensor([[True, True, True]]))
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.0, 0.5]]))
