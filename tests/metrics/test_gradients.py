import math

import pytest
import torch

from fuseloom.metrics.gradients import gradient_cosine, gradient_norm, gradient_shares


def test_a_gradient_is_one_vector_whatever_its_tensors():
    tensors = [torch.randn(3, 2), torch.randn(4), torch.randn(1)]
    flat = torch.cat([one.flatten() for one in tensors])
    assert gradient_norm(tensors) == pytest.approx(flat.norm().item(), rel=1e-6)
    assert gradient_norm([*tensors, None]) == gradient_norm(tensors)
    other = [torch.randn(one.shape) for one in tensors]
    expected = torch.cosine_similarity(flat, torch.cat([one.flatten() for one in other]), 0)
    assert gradient_cosine(tensors, other) == pytest.approx(expected.item(), abs=1e-6)
    assert gradient_cosine(tensors, [-2 * one for one in tensors]) == pytest.approx(-1)


def test_what_one_loss_does_not_depend_on_counts_as_zero():
    one = [torch.tensor([3.0]), torch.tensor([4.0])]
    assert gradient_cosine(one, [torch.tensor([1.0]), None]) == pytest.approx(0.6)
    assert math.isnan(gradient_cosine(one, [None, None]))


def test_shares_sum_to_one_and_nothing_has_none():
    shares = gradient_shares({"a": [torch.tensor([1.0])], "b": [torch.tensor([0.0, 3.0])]})
    assert shares == {"a": 0.25, "b": 0.75}
    assert math.isnan(gradient_shares({"a": [None], "b": []})["a"])
