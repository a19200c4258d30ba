from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fuseloom.nn.rowwise import cached_rows, in_blocks


def step(rows: Sequence[Tensor], weights: Mapping[str, Tensor]) -> list[Tensor]:
    """Two outputs, one of which ignores the second rows; a mask among the rows."""
    first, second, kept = rows
    mixed = torch.tanh(first @ weights["map"]) * second + weights["shift"]
    return [mixed.masked_fill(~kept[:, None], 0), first.square()]


def draw(count: int) -> tuple[list[Tensor], dict[str, Tensor]]:
    rows = [torch.randn(count, 3, requires_grad=True) for _ in range(2)]
    weights = {"map": torch.randn(3, 3, requires_grad=True), "shift": torch.randn(3, requires_grad=True)}
    return [*rows, torch.rand(count) < 0.5], weights


def gradients(outputs: Sequence[Tensor], rows: Sequence[Tensor], weights: Mapping[str, Tensor]) -> list[Any]:
    loss = sum((value * torch.linspace(-1, 2, value.numel()).view_as(value)).sum() for value in outputs)
    return list(torch.autograd.grad(loss, [*rows[:2], *weights.values()]))


@given(st.integers(1, 9), st.integers(1, 12))
def test_blocks_change_neither_outputs_nor_gradients(count: int, block: int) -> None:
    rows, weights = draw(count)
    plain, blocked = step(rows, weights), in_blocks(step, rows, weights, block=block)
    for found, expected in zip(blocked, plain, strict=True):
        torch.testing.assert_close(found, expected)
    for found, expected in zip(
        gradients(blocked, rows, weights), gradients(plain, rows, weights), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_no_rows_give_no_rows_and_gradients_of_zero() -> None:
    rows, weights = draw(0)
    out = in_blocks(step, rows, weights, block=2)
    assert [tuple(value.shape) for value in out] == [(0, 3), (0, 3)]
    assert not any(gradient.any() for gradient in gradients(out, rows, weights))


def test_what_needs_no_gradient_gets_none() -> None:
    rows, weights = draw(5)
    still = [rows[0].detach(), *rows[1:]]
    _, squared = in_blocks(step, still, weights, block=2)
    mixed, _ = in_blocks(step, still, weights, block=2)
    (found,) = torch.autograd.grad(mixed.sum(), [rows[1]])
    torch.testing.assert_close(found, torch.autograd.grad(step(still, weights)[0].sum(), [rows[1]])[0])
    with pytest.raises(RuntimeError, match=r"does not require grad|unused"):
        torch.autograd.grad(squared.sum(), [rows[0].detach()])


def test_an_output_without_a_gradient_leaves_the_rest_alone() -> None:
    rows, weights = draw(5)
    _, squared = in_blocks(step, rows, weights, block=2)
    found = torch.autograd.grad(squared.sum(), [rows[0], rows[1]], allow_unused=True)
    torch.testing.assert_close(found[0], 2 * rows[0])
    assert found[1] is None


def test_second_derivatives_are_those_of_the_function() -> None:
    rows, weights = draw(5)

    def curvature(outputs: Sequence[Tensor]) -> Tensor:
        (slope,) = torch.autograd.grad(outputs[0].square().sum(), [rows[0]], create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [weights["map"]])[0]

    torch.testing.assert_close(
        curvature(in_blocks(step, rows, weights, block=2)), curvature(step(rows, weights))
    )


def test_only_one_block_is_worked_on_at_a_time() -> None:
    seen: list[int] = []

    def watched(rows: Sequence[Tensor], weights: Mapping[str, Tensor]) -> list[Tensor]:
        seen.append(len(rows[0]))
        return step(rows, weights)

    rows, weights = draw(7)
    out = in_blocks(watched, rows, weights, block=3)
    assert seen == [3, 3, 1]
    gradients(out, rows, weights)
    assert seen == [3, 3, 1] * 2
    in_blocks(watched, rows, weights)
    assert seen[6:] == [7]


@pytest.mark.compile
def test_a_graph_takes_all_rows_at_once_for_any_number_of_them() -> None:
    compiled = torch.compile(
        lambda rows, weights: in_blocks(step, rows, weights, block=2),
        fullgraph=True,
        dynamic=True,
        backend="aot_eager",
    )
    for count in (5, 8):
        rows, weights = draw(count)
        for found, expected in zip(compiled(rows, weights), step(rows, weights), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("width", "dtype", "rows"), [(64, torch.float32, 4096), (64, torch.float64, 2048)])
def test_blocks_fit_the_cache(width: int, dtype: torch.dtype, rows: int) -> None:
    assert cached_rows(torch.empty(3, width, dtype=dtype)) == rows
    assert cached_rows(torch.empty(3, 100_000)) == 1024
    assert cached_rows(torch.empty(3, width, device="meta")) is None
