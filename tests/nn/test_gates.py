from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.nn import gumbel, sample_one, sigmoid, soft, sparsemax, straight_through

MASK = torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False], [True] * 4])
GATES = {
    "soft": soft,
    "sigmoid": sigmoid,
    "sparsemax": sparsemax,
    "straight_through": straight_through,
    "gumbel": gumbel,
    "gumbel_eval": partial(gumbel, training=False),
}
Gate = Callable[..., Tensor]


def nearest_on_simplex(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest point of every face of the simplex, and of those that lie in it the nearest."""
    best, distance = np.zeros(len(scores)), np.inf
    for size in range(1, len(scores) + 1):
        for face in map(list, combinations(range(len(scores)), size)):
            point = np.zeros(len(scores))
            point[face] = scores[face] + (1 - scores[face].sum()) / size
            if (point >= 0).all() and ((point - scores) ** 2).sum() < distance:
                best, distance = point, ((point - scores) ** 2).sum()
    return best


def test_soft_is_the_softmax_over_what_may_be_chosen() -> None:
    logits = torch.randn(4, 4)
    expected = np.zeros((4, 4))
    for row in range(4):
        powers = np.exp(logits[row].double().numpy() / 0.3) * MASK[row].numpy()
        expected[row] = powers / powers.sum() if powers.any() else 0
    np.testing.assert_allclose(soft(logits, MASK, temperature=0.3), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(soft(logits, temperature=0.3), (logits / 0.3).softmax(-1))


def test_sigmoids_do_not_depend_on_one_another() -> None:
    logits = torch.randn(4, 4)
    expected = 1 / (1 + np.exp(-logits.double().numpy() / 0.3)) * MASK.numpy()
    np.testing.assert_allclose(sigmoid(logits, MASK, temperature=0.3), expected, rtol=1e-5)


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_sparsemax_is_the_nearest_point_of_the_simplex(spread: float) -> None:
    logits = (torch.randn(40, 5) * spread).double()
    expected = np.stack([nearest_on_simplex(row) for row in logits.numpy()])
    np.testing.assert_allclose(sparsemax(logits), expected, atol=1e-12)
    np.testing.assert_allclose(sparsemax(logits * 0.5, temperature=0.5), expected, atol=1e-12)


def test_sparsemax_projects_on_what_may_be_chosen() -> None:
    logits = torch.randn(4, 4)
    expected = np.zeros((4, 4))
    for row in (0, 2, 3):
        expected[row, MASK[row]] = nearest_on_simplex(logits[row][MASK[row]].double().numpy())
    np.testing.assert_allclose(sparsemax(logits, MASK), expected, atol=1e-6)


def test_the_gradient_of_sparsemax_is_exact() -> None:
    logits = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    assert (sparsemax(logits) == 0).any(), "some rows must be sparse"
    assert torch.autograd.gradcheck(sparsemax, logits)


@pytest.mark.parametrize("spread", [1.0, 1e30])
def test_equal_logits_share_alike(spread: float) -> None:
    torch.testing.assert_close(sparsemax(torch.full((2, 4), spread)), torch.full((2, 4), 0.25))


def test_straight_through_is_one_hot_with_the_gradient_of_soft() -> None:
    logits, cotangent = torch.randn(4, 4, requires_grad=True), torch.randn(4, 4)
    chosen = straight_through(logits, MASK, temperature=0.3)
    expected = np.zeros((4, 4))
    for row in (0, 2, 3):
        allowed = np.where(MASK[row].numpy(), logits[row].detach().numpy(), -np.inf)
        expected[row, allowed.argmax()] = 1
    np.testing.assert_array_equal(chosen.detach(), expected)
    (found,) = torch.autograd.grad(chosen, logits, cotangent)
    (wanted,) = torch.autograd.grad(soft(logits, MASK, temperature=0.3), logits, cotangent)
    torch.testing.assert_close(found, wanted)
    assert found[0].abs().sum() > 0


def test_gumbel_samples_the_softmax_in_training_and_takes_the_largest_otherwise() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 3.0])
    mask = torch.tensor([True, True, True, False])
    drawn = gumbel(logits.expand(40_000, 4), mask, temperature=0.2)
    assert drawn.unique().tolist() == [0.0, 1.0]
    assert (drawn.sum(-1) == 1).all()
    torch.testing.assert_close(drawn.mean(0), soft(logits, mask), atol=0.01, rtol=0)
    fixed = gumbel(logits.expand(9, 4), mask, temperature=0.2, training=False)
    assert fixed.equal(torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(9, 4))


def test_gumbel_has_the_gradient_of_the_noisy_softmax() -> None:
    logits, cotangent = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    torch.manual_seed(7)
    (found,) = torch.autograd.grad(gumbel(logits, temperature=0.5), logits, cotangent)
    torch.manual_seed(7)
    noise = -torch.empty(5, 3).exponential_().log()
    (wanted,) = torch.autograd.grad(((logits + noise) / 0.5).softmax(-1), logits, cotangent)
    torch.testing.assert_close(found, wanted)


def test_a_sample_comes_with_its_log_probability() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 3.0], requires_grad=True)
    mask = torch.tensor([True, True, True, False])
    sampled, log_prob = sample_one(logits.expand(40_000, 4), mask, temperature=2.0)
    chances = soft(logits, mask, temperature=2.0).detach()
    assert not sampled.requires_grad
    assert (sampled.sum(-1) == 1).all()
    torch.testing.assert_close(sampled.mean(0), chances, atol=0.01, rtol=0)
    torch.testing.assert_close(log_prob.exp(), (sampled * chances).sum(-1))
    (found,) = torch.autograd.grad(log_prob[0], logits)
    torch.testing.assert_close(found, (sampled[0] - chances) / 2.0)


def test_the_score_function_gradient_is_that_of_the_expected_loss() -> None:
    logits, losses = torch.tensor([0.5, -0.5, 0.0], requires_grad=True), torch.tensor([3.0, 1.0, 2.0])
    (wanted,) = torch.autograd.grad((soft(logits) * losses).sum(), logits)
    sampled, log_prob = sample_one(logits.expand(100_000, 3))
    (found,) = torch.autograd.grad((((sampled * losses).sum(-1) - 2.0) * log_prob).mean(), logits)
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_what_may_not_be_chosen_has_no_weight_and_no_gradient(gate: Gate, value: float) -> None:
    logits = torch.randn(4, 4).masked_fill(~MASK, value).requires_grad_()
    weights = gate(logits, MASK, temperature=0.5)
    (gradient,) = torch.autograd.grad(weights, logits, torch.randn(4, 4))
    assert not weights[~MASK].any()
    assert not gradient[~MASK].any()
    assert gradient.isfinite().all()
    assert weights[2].sum() > 0, "row 2 has one that may"


def test_a_sample_of_nothing_is_zero_and_has_no_gradient() -> None:
    logits = torch.randn(4, 4).masked_fill(~MASK, torch.nan).requires_grad_()
    sampled, log_prob = sample_one(logits, MASK)
    assert sampled.sum(-1).tolist() == [1, 0, 1, 1]
    assert log_prob[1:3].tolist() == [0, 0], "nothing to choose, and one choice only"
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    assert gradient.isfinite().all()
    assert not gradient[~MASK].any()
    assert gradient[0].abs().sum() > 0


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_a_mask_of_fewer_axes_is_spread(gate: Gate) -> None:
    logits = torch.randn(2, 4, 4)
    torch.manual_seed(1)
    found = gate(logits, MASK)
    torch.manual_seed(1)
    torch.testing.assert_close(found, gate(logits, MASK.expand(2, 4, 4)))


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_gates_keep_bfloat16(gate: Gate) -> None:
    logits = torch.randn(6, 4).bfloat16()
    torch.manual_seed(1)
    low = gate(logits)
    torch.manual_seed(1)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), gate(logits.float()), atol=4e-3, rtol=4e-3)


@pytest.mark.compile
@pytest.mark.parametrize(
    "gate", [soft, sigmoid, sparsemax, straight_through, partial(gumbel, training=False)]
)
def test_gates_compile_as_one_graph(gate: Gate) -> None:
    compiled = torch.compile(gate, fullgraph=True, backend="aot_eager")
    logits, cotangent = torch.randn(4, 4, requires_grad=True), torch.randn(4, 4)
    found, expected = compiled(logits, MASK), gate(logits, MASK)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(out, logits, cotangent)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.compile
def test_sampling_compiles_as_one_graph() -> None:
    compiled = torch.compile(sample_one, fullgraph=True, backend="aot_eager")
    logits = torch.randn(200, 4)
    sampled, log_prob = compiled(logits, MASK[3])
    assert (sampled.sum(-1) == 1).all()
    torch.testing.assert_close(log_prob, (logits.log_softmax(-1) * sampled).sum(-1))
