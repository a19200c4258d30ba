import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.nn import attend, attention_weights


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, *, num_heads: int, mask: Tensor | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sample by sample, head by head, over the kept keys alone."""
    q, k, v = (tensor.detach().double().numpy() for tensor in (query, key, value))
    out = np.zeros(q.shape)
    weights = np.zeros((len(q), num_heads, q.shape[1], k.shape[1]))
    width = q.shape[2] // num_heads
    for b in range(len(q)):
        kept = np.arange(k.shape[1]) if mask is None else np.flatnonzero(mask[b].numpy())
        if not len(kept):
            continue
        for head in range(num_heads):
            part = slice(head * width, (head + 1) * width)
            scores = np.exp(q[b, :, part] @ k[b, kept, part].T / np.sqrt(width))
            share = scores / scores.sum(1, keepdims=True)
            weights[b, head][:, kept] = share
            out[b, :, part] = share @ v[b, kept, part]
    return out, weights


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = torch.randn(3, 4, 6), torch.randn(3, 5, 6), torch.randn(3, 5, 6)
    return query.to(dtype), key.to(dtype), value.to(dtype)


MASK = torch.tensor([[True, False, True, True, False], [False] * 5, [True] * 5])


@pytest.mark.parametrize("num_heads", [1, 2, 6])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all kept", "masked"])
def test_attention_and_its_weights_are_those_of_a_plain_loop(num_heads: int, mask: Tensor | None) -> None:
    query, key, value = inputs()
    expected, weights = plain_attention(query, key, value, num_heads=num_heads, mask=mask)
    out = attend(query, key, value, num_heads=num_heads, mask=mask)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        attention_weights(query, key, num_heads=num_heads, mask=mask), weights, rtol=1e-4, atol=1e-6
    )


def test_rows_of_the_weights_sum_to_one_or_to_zero_where_no_key_is_kept() -> None:
    query, key, _ = inputs()
    total = attention_weights(query, key, num_heads=2, mask=MASK).sum(-1)
    torch.testing.assert_close(total, MASK.any(1).float()[:, None, None].expand(3, 2, 4))


def test_a_row_without_keys_gives_zeros_and_finite_gradients() -> None:
    query, key, value = (tensor.requires_grad_() for tensor in inputs())
    out = attend(query, key, value, num_heads=2, mask=MASK)
    assert out[1].abs().sum() == 0
    out.square().sum().backward()
    for tensor in (query, key, value):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad[1].abs().sum() == 0
        assert tensor.grad[0].abs().sum() > 0


@pytest.mark.parametrize("batch", [1, 3])
def test_each_query_may_keep_keys_of_its_own(batch: int) -> None:
    (query, key, value), mask = inputs(), torch.rand(batch, 4, 5) < 0.5
    mask[0, 0], mask[0, 1] = False, True
    options = {"num_heads": 2, "mask": mask}
    out, weights = attend(query, key, value, **options), attention_weights(query, key, **options)
    for i in range(4):
        row = mask[:, i].expand(3, 5)
        one = attend(query[:, i : i + 1], key, value, num_heads=2, mask=row)
        torch.testing.assert_close(out[:, i : i + 1], one)
        expected = attention_weights(query[:, i : i + 1], key, num_heads=2, mask=row)
        torch.testing.assert_close(weights[:, :, i : i + 1], expected)
    assert not out[0, 0].any()


def test_values_may_have_another_width_than_keys() -> None:
    (query, key, _), value = inputs(), torch.randn(3, 5, 4)
    out = attend(query, key, value, num_heads=2, mask=MASK)
    for head in range(2):
        weights = attention_weights(query, key, num_heads=2, mask=MASK)[:, head]
        cut = slice(2 * head, 2 * head + 2)
        torch.testing.assert_close(out[..., cut], weights @ value[..., cut])


def test_bfloat16_follows_float32() -> None:
    query, key, value = inputs()
    low = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), num_heads=2, mask=MASK)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(
        low.float(), attend(query, key, value, num_heads=2, mask=MASK), rtol=0.05, atol=0.05
    )


def test_dropout_drops_weights_and_rescales_the_rest() -> None:
    query, key = torch.zeros(1, 400, 2), torch.zeros(1, 4, 2)
    value = torch.ones(1, 4, 2)
    out = attend(query, key, value, dropout=0.5)
    values, counts = out[0, :, 0].unique(return_counts=True)
    assert set(values.tolist()) <= {0.0, 0.5, 1.0, 1.5, 2.0}
    assert len(values) == 5
    assert counts.sum() == 400
    assert abs(out.mean().item() - 1) < 0.1
