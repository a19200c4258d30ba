import pytest
import torch
from torch.nn import functional as F

from fuseloom.nn.relation import pair_scores


@pytest.mark.parametrize("count", [2, 3])
def test_scores_are_the_perceptron_of_the_concatenation(count: int) -> None:
    values = [torch.randn(7, 4) for _ in range(count)]
    hidden, out = (torch.randn(5, 8), torch.randn(5)), (torch.randn(4, 5), torch.randn(4))
    found = pair_scores(values, hidden, out)
    assert sorted(found) == [(i, j) for i in range(count) for j in range(count) if i != j]
    for (i, j), score in found.items():
        expected = F.linear(F.gelu(F.linear(torch.cat([values[i], values[j]], -1), *hidden)), *out)
        torch.testing.assert_close(score, expected.softmax(-1))


def test_half_precision_scores_are_computed_in_single() -> None:
    values = [torch.randn(50, 64).bfloat16() for _ in range(2)]
    layers = [(torch.randn(64, w).bfloat16() / 8, torch.zeros(64).bfloat16()) for w in (128, 64)]
    score = pair_scores(values, *layers)[0, 1]
    assert score.dtype == torch.bfloat16
    torch.testing.assert_close(score.double().sum(-1), torch.ones(50).double(), atol=2e-3, rtol=0)
