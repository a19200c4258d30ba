from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fuseloom.nn.rowwise_gradient import Sums, with_gradient


def step(rows: Sequence[Tensor], weights: Mapping[str, Tensor]) -> list[Tensor]:
    """Sine of a product with the square of a matrix, and a bias; rows that are not kept as they are."""
    mixed = torch.sin(rows[0] @ (weights["map"] @ weights["map"]).T + weights["shift"])
    return [torch.where(rows[1][:, None], mixed, rows[0])]


class Written:
    """The same, with its gradient."""

    def __init__(self) -> None:
        self.kept = 0

    def derive(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"square": weights["map"] @ weights["map"], "square_bias": weights["shift"]}

    def forward(
        self, rows: Sequence[Tensor], derived: Mapping[str, Tensor], out: Sequence[Tensor]
    ) -> list[Tensor]:
        inner = torch.addmm(derived["square_bias"], rows[0], derived["square"].T)
        torch.where(rows[1][:, None], inner.sin(), rows[0], out=out[0])
        return [inner]

    def backward(
        self,
        rows: Sequence[Tensor],
        derived: Mapping[str, Tensor],
        kept: Sequence[Tensor],
        *,
        gradients: Sequence[Tensor],
        out: Sequence[Tensor],
        sums: Sums,
    ) -> None:
        self.kept += kept[0].numel()
        of_inner = gradients[0].masked_fill(~rows[1][:, None], 0) * kept[0].cos()
        sums.linear("square", of_inner, rows[0])
        out[0].copy_(gradients[0].masked_fill(rows[1][:, None], 0))
        out[0].addmm_(of_inner, derived["square"])


def draw(count: int) -> tuple[list[Tensor], dict[str, Tensor]]:
    weights = {"map": torch.randn(3, 3, requires_grad=True), "shift": torch.randn(3, requires_grad=True)}
    return [torch.randn(count, 3, requires_grad=True), torch.rand(count) < 0.5], weights


def gradients(out: Tensor, rows: Sequence[Tensor], weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    loss = (out * torch.linspace(-1, 2, out.numel()).view_as(out)).sum()
    return torch.autograd.grad(loss, [rows[0], *weights.values()])


@given(st.integers(0, 9), st.integers(1, 12))
def test_it_is_the_function_and_its_gradient_in_blocks(count: int, block: int) -> None:
    rows, weights = draw(count)
    written = Written()
    (out,) = with_gradient(step, rows, weights, written=written, block=block)
    (expected,) = step(rows, weights)
    torch.testing.assert_close(out, expected)
    found = gradients(out, rows, weights)
    assert written.kept == 3 * count
    for one, other in zip(found, gradients(expected, rows, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_backward_can_be_repeated() -> None:
    rows, weights = draw(5)
    (out,) = with_gradient(step, rows, weights, written=Written(), block=2)
    first = torch.autograd.grad(out.sum(), [rows[0]], retain_graph=True)[0]
    assert first.equal(torch.autograd.grad(out.sum(), [rows[0]])[0])


def test_what_needs_no_gradient_gets_none() -> None:
    rows, weights = draw(5)
    still = [rows[0].detach(), rows[1]]
    (out,) = with_gradient(step, still, weights, written=Written())
    (found,) = torch.autograd.grad(out.sum(), [weights["map"]])
    torch.testing.assert_close(found, torch.autograd.grad(step(still, weights)[0].sum(), [weights["map"]])[0])
    assert still[0].grad is None


def test_second_derivatives_are_those_of_the_function() -> None:
    rows, weights = draw(5)

    def curvature(outputs: Sequence[Tensor]) -> list[Tensor]:
        (slope,) = torch.autograd.grad(outputs[0].square().sum(), [rows[0]], create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), [rows[0], weights["map"]]))

    found = curvature(with_gradient(step, rows, weights, written=Written(), block=2))
    for one, other in zip(found, curvature(step(rows, weights)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("twice", [False, True])
def test_a_backward_within_autocast_is_as_exact_as_the_forward(twice: bool) -> None:
    rows, weights = draw(50)
    expected = gradients(step(rows, weights)[0], rows, weights)
    (out,) = with_gradient(step, rows, weights, written=Written())
    loss = (out * torch.linspace(-1, 2, out.numel()).view_as(out)).sum()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(loss, [rows[0], *weights.values()], create_graph=twice)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_nothing_is_kept_where_no_backward_can_follow() -> None:
    rows, weights = draw(5)
    saved: list[Any] = []
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(saved.append, lambda value: value):
        (out,) = with_gradient(step, rows, weights, written=Written())
    assert not saved
    assert out.equal(step(rows, weights)[0].detach())


def test_sums_add_up_matrices_and_vectors() -> None:
    sums, of_out, rows = Sums(), torch.randn(6, 2), torch.randn(6, 3)
    for place in (slice(0, 4), slice(4, 6)):
        sums.linear("map", of_out[place], rows[place])
    sums.product("bare", of_out, rows)
    torch.testing.assert_close(sums.values["map"], of_out.T @ rows)
    torch.testing.assert_close(sums.values["map_bias"], of_out.sum(0))
    assert set(sums.values) == {"map", "map_bias", "bare"}
