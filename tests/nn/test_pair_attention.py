from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.pair_attention import PairAttention
from fuseloom.nn.rowwise_gradient import with_gradient

DIM, INNER = 4, 6


def draw(rows: int, *, masks: int = 0) -> tuple[list[Tensor], dict[str, Tensor]]:
    sizes = {
        "total": (5, DIM),
        "total_bias": (5,),
        "apart": (5, DIM),
        "score": (DIM, 5),
        "score_bias": (DIM,),
    }
    for i in (0, 1):
        sizes |= {f"{i}.{name}": (INNER, DIM) for name in ("query", "key", "value")}
        sizes |= {f"{i}.{name}_bias": (INNER,) for name in ("query", "key", "value")}
        sizes |= {f"{i}.direct": (DIM, DIM), f"{i}.direct_bias": (DIM,), f"{i}.out": (DIM, INNER)}
    weights = {
        name: torch.randn(size, dtype=torch.float64, requires_grad=True) for name, size in sizes.items()
    }
    values = [torch.randn(rows, DIM, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    return [*values, *(torch.rand(rows) < 0.6 for _ in range(masks))], weights


def plain(rows: Sequence[Tensor], w: Mapping[str, Tensor], num_heads: int) -> list[Tensor]:
    """The equations as they stand."""
    first, second, *masks = rows
    out = []
    for i, sign in ((0, 1), (1, -1)):
        hidden = (first + second) @ w["total"].T + w["total_bias"] + sign * (first - second) @ w["apart"].T
        score = (F.gelu(hidden) @ w["score"].T + w["score_bias"]).softmax(-1)
        query = rows[i] @ w[f"{i}.query"].T + w[f"{i}.query_bias"]
        key = (rows[i] - rows[i] * score) @ w[f"{i}.key"].T + w[f"{i}.key_bias"]
        logits = (query * key).unflatten(-1, (num_heads, -1)).sum(-1) / (INNER // num_heads) ** 0.5
        share = (1 - logits.sigmoid()).repeat_interleave(INNER // num_heads, -1)
        value = (first - second) @ w[f"{i}.value"].T + w[f"{i}.value_bias"]
        made = rows[i] @ w[f"{i}.direct"].T + w[f"{i}.direct_bias"] + (share * value) @ w[f"{i}.out"].T
        kept = torch.stack([torch.ones_like(made[:, 0], dtype=torch.bool), *masks]).all(0)
        out.append(torch.where(kept[:, None], made, rows[i]))
    return out


@given(st.integers(0, 7), st.integers(1, 8), st.sampled_from([1, 2, 3, 6]), st.integers(0, 2))
def test_it_is_the_equations_and_their_gradient(count: int, block: int, heads: int, masks: int) -> None:
    rows, weights = draw(count, masks=masks)
    attention = PairAttention(num_heads=heads, matrices=dict)

    def step(given: Sequence[Tensor], w: Mapping[str, Tensor]) -> list[Tensor]:
        return plain(given, w, heads)

    found = with_gradient(step, rows, weights, written=attention, block=block)
    expected = step(rows, weights)
    torch.testing.assert_close(list(found), expected)
    sources, ends = [*rows[:2], *weights.values()], [torch.randn_like(value) for value in expected]
    slopes = [torch.autograd.grad(out, sources, ends) for out in (found, expected)]
    for name, one, other in zip(["first", "second", *weights], *slopes, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("unread", [0, 1])
def test_an_output_that_nothing_reads_gives_no_gradient_of_its_own(unread: int) -> None:
    rows, weights = draw(5)
    out = with_gradient(
        lambda given, w: plain(given, w, 2),
        rows,
        weights,
        written=PairAttention(num_heads=2, matrices=dict),
        block=2,
    )
    found = torch.autograd.grad(out[1 - unread].sum(), [*rows, *weights.values()])
    expected = torch.autograd.grad(
        plain(rows, weights, 2)[1 - unread].sum(), [*rows, *weights.values()], materialize_grads=True
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not found[2 + list(weights).index(f"{unread}.out")].any()


def test_masked_rows_stay_exactly() -> None:
    rows, weights = draw(9, masks=2)
    attention = PairAttention(num_heads=2, matrices=dict)
    out = with_gradient(lambda given, w: plain(given, w, 2), rows, weights, written=attention)
    absent = ~(rows[2] & rows[3])
    for one, value in zip(out, rows[:2], strict=True):
        assert one[absent].equal(value[absent])
        assert not one[~absent].eq(value[~absent]).any()
