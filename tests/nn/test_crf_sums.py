"""Sums over all paths against paths that are written out one by one."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_sums import log_likelihood, log_partition, log_probability, path_score, tag_marginals
from fuseloom.nn.tag_scheme import tag_constraints

SIZES = [(1, 1), (1, 4), (3, 1), (2, 5), (4, 3)]
BIO = ["O", "B-A", "I-A", "B-B", "I-B"]


def drawn(num_tags: int, length: int, *, scale: float = 1.0) -> tuple[Chain, Tensor, Tensor, Tensor]:
    """A chain, and a full, a shorter, a shortest and an empty sequence, in float64."""
    start, end, transitions = (
        scale * torch.randn(*shape, dtype=torch.float64)
        for shape in ((num_tags,), (num_tags,), (num_tags,) * 2)
    )
    emissions = scale * torch.randn(4, length, num_tags, dtype=torch.float64)
    lengths = torch.tensor([length, max(1, length - 2), 1, 0])
    mask = torch.arange(length) < lengths[:, None]
    tags = torch.randint(num_tags, (4, length))
    return Chain(start=start, transitions=transitions, end=end), emissions, tags, mask


def score(chain: Chain, emissions: Tensor, path: tuple[int, ...]) -> float:
    if not path:
        return 0.0
    moves = sum(chain.transitions[a, b].item() for a, b in itertools.pairwise(path))
    emitted = sum(emissions[t, k].item() for t, k in enumerate(path))
    return chain.start[path[0]].item() + emitted + moves + chain.end[path[-1]].item()


def paths(chain: Chain, emissions: Tensor, mask: Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every path of one sequence."""
    every = itertools.product(range(len(chain.start)), repeat=int(mask.sum()))
    weights = {path: math.exp(score(chain, emissions, path)) for path in every}
    return {path: weight / math.fsum(weights.values()) for path, weight in weights.items()}


@pytest.mark.parametrize(("num_tags", "length"), SIZES)
def test_likelihoods_are_those_of_all_paths(num_tags: int, length: int) -> None:
    chain, emissions, tags, mask = drawn(num_tags, length)
    found = log_likelihood(chain, emissions, tags, mask)
    scores, totals = path_score(chain, emissions, tags, mask), log_partition(chain, emissions, mask)
    for b in range(4):
        path = tuple(tags[b, mask[b]].tolist())
        probability = paths(chain, emissions[b], mask[b])[path]
        assert found[b].item() == pytest.approx(math.log(probability), abs=1e-12)
        assert scores[b].item() == pytest.approx(score(chain, emissions[b], path), abs=1e-12)
        assert (scores - totals)[b].item() == pytest.approx(found[b].item(), abs=1e-12)
    assert found[3] == 0
    assert totals[3] == 0


@pytest.mark.parametrize(("num_tags", "length"), SIZES)
def test_marginals_are_those_of_all_paths(num_tags: int, length: int) -> None:
    chain, emissions, _, mask = drawn(num_tags, length)
    expected = torch.zeros(4, length, num_tags, dtype=torch.float64)
    for b in range(4):
        for path, probability in paths(chain, emissions[b], mask[b]).items():
            for t, k in enumerate(path):
                expected[b, t, k] += probability
    torch.testing.assert_close(tag_marginals(chain, emissions, mask), expected)


def test_a_part_of_a_path_is_as_probable_as_the_paths_that_agree_with_it() -> None:
    chain, emissions, _, mask = drawn(3, 4)
    allowed = torch.rand(4, 4, 3) < 0.7
    allowed[0, 1:3] = torch.tensor([[False, True, False], [True, False, False]])
    found = log_probability(chain, emissions, allowed, mask).exp()
    for b in range(4):
        agreeing = (
            probability
            for path, probability in paths(chain, emissions[b], mask[b]).items()
            if all(allowed[b, t, k] for t, k in enumerate(path))
        )
        assert found[b].item() == pytest.approx(math.fsum(agreeing), abs=1e-12)


def test_certainty_is_no_more_than_certain_and_the_impossible_is_finite() -> None:
    chain, emissions, _, mask = drawn(3, 5, scale=30)
    single = emissions.float().requires_grad_()
    everything = torch.ones_like(single, dtype=torch.bool)
    assert log_probability(chain, single, everything, mask).tolist() == [0, 0, 0, 0]
    nothing = log_probability(chain, single, ~everything, mask)
    assert nothing[3] == 0
    assert (nothing[:3] < -1e30).all()
    (gradient,) = torch.autograd.grad(nothing.sum(), single)
    assert nothing.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("num_tags", "length"), [(1, 1), (1, 3), (3, 1), (2, 3)])
def test_derivatives_are_those_of_finite_differences(num_tags: int, length: int) -> None:
    chain, emissions, tags, mask = drawn(num_tags, length)
    scores = [value.requires_grad_() for value in (chain.start, chain.transitions, chain.end, emissions)]

    def likelihood(start: Tensor, transitions: Tensor, end: Tensor, values: Tensor) -> Tensor:
        return log_likelihood(Chain(start=start, transitions=transitions, end=end), values, tags, mask)

    assert torch.autograd.gradcheck(likelihood, scores)
    assert torch.autograd.gradgradcheck(likelihood, scores)


def test_marginals_have_derivatives_too() -> None:
    chain, emissions, _, mask = drawn(2, 3)
    emissions.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: tag_marginals(chain, values, mask), emissions)


def test_without_gradients_the_sum_is_the_same() -> None:
    chain, emissions, _, mask = drawn(3, 5)
    with torch.no_grad():
        plain = log_partition(chain, emissions, mask)
    torch.testing.assert_close(log_partition(chain, emissions.requires_grad_(), mask), plain)


def test_only_what_is_learnt_gets_a_gradient() -> None:
    chain, emissions, tags, mask = drawn(3, 5)
    emissions.requires_grad_()
    log_likelihood(chain, emissions, tags, mask).sum().backward()
    assert emissions.grad is not None
    assert emissions.grad[mask].abs().sum() > 0
    assert not emissions.grad[~mask].any()


def test_the_gradient_of_the_partition_is_what_the_marginals_are() -> None:
    chain, emissions, _, mask = drawn(4, 5)
    emissions.requires_grad_()
    (gradient,) = torch.autograd.grad(log_partition(chain, emissions, mask).sum(), emissions)
    torch.testing.assert_close(gradient, tag_marginals(chain, emissions, mask))


@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), 1e30])
def test_what_is_masked_is_not_read(hidden: float) -> None:
    chain, emissions, tags, mask = drawn(3, 5)
    noisy = emissions.masked_fill(~mask[..., None], hidden).requires_grad_()
    other = tags.masked_fill(~mask, -100)
    found = log_likelihood(chain, noisy, other, mask)
    assert found.equal(log_likelihood(chain, emissions, tags, mask))
    (gradient,) = torch.autograd.grad(found.sum(), noisy)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()
    assert tag_marginals(chain, noisy, mask).equal(tag_marginals(chain, emissions, mask))


@pytest.mark.parametrize("never", [-torch.inf, torch.finfo(torch.float32).min, -1e4])
def test_a_tag_that_is_ruled_out_by_its_scores_is_as_if_it_did_not_exist(never: float) -> None:
    chain, emissions, tags, mask = drawn(3, 5)
    less = Chain(start=chain.start[:2], transitions=chain.transitions[:2, :2], end=chain.end[:2])
    ruled = emissions.float()
    ruled[..., 2] = never
    ruled.requires_grad_()
    found = log_likelihood(chain, ruled, tags.clamp(max=1), mask)
    expected = log_likelihood(less, emissions[..., :2].float(), tags.clamp(max=1), mask)
    torch.testing.assert_close(found, expected)
    marginals = tag_marginals(chain, ruled, mask)
    torch.testing.assert_close(marginals[..., :2], tag_marginals(less, emissions[..., :2].float(), mask))
    assert not marginals[..., 2].any()
    (gradient,) = torch.autograd.grad(found.sum(), ruled)
    assert gradient.isfinite().all()
    assert not gradient[..., 2].any()


def test_transitions_may_be_infinitely_unlikely() -> None:
    chain, emissions, tags, mask = drawn(5, 5)
    allowed = tag_constraints(BIO)
    harsh = Chain(
        start=chain.start.masked_fill(~allowed.start, -torch.inf).requires_grad_(),
        transitions=chain.transitions.masked_fill(~allowed.transitions, -torch.inf).requires_grad_(),
        end=chain.end.clone().requires_grad_(),
    )
    right = log_likelihood(harsh, emissions, tags.clamp(max=1), mask)
    torch.testing.assert_close(
        right, log_likelihood(chain.restrict(allowed), emissions, tags.clamp(max=1), mask)
    )
    for gradient in torch.autograd.grad(right.sum(), [harsh.start, harsh.transitions, harsh.end]):
        assert gradient.isfinite().all()


def test_constraints_leave_the_probabilities_of_what_they_allow_in_proportion() -> None:
    chain, emissions, _, mask = drawn(5, 4)
    allowed = tag_constraints(BIO)
    restricted = chain.restrict(allowed)
    for b in range(4):
        kept = {
            path: probability
            for path, probability in paths(chain, emissions[b], mask[b]).items()
            if not path or allowed.start[path[0]]
            if all(allowed.transitions[a, c] for a, c in itertools.pairwise(path))
        }
        likely = max(kept, key=lambda path: kept[path])
        tags = torch.zeros(1, 4, dtype=torch.int64)
        tags[0, : len(likely)] = torch.tensor(likely, dtype=torch.int64)
        found = log_likelihood(restricted, emissions[b : b + 1], tags, mask[b : b + 1])
        assert found.exp().item() == pytest.approx(kept[likely] / math.fsum(kept.values()), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_that_breaks_constraints_is_all_but_impossible_and_its_gradient_finite(
    dtype: torch.dtype,
) -> None:
    chain, emissions, tags, mask = drawn(5, 6)
    values = emissions.to(dtype).requires_grad_()
    tags[:, :] = torch.tensor([2, 4, 2, 4, 2, 4])
    restricted = chain.restrict(tag_constraints(BIO))
    found = log_likelihood(restricted, values, tags, mask)
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert found[3] == 0
    assert (found[:3] < -1e30).all()
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient.abs().max() <= 1 + 1e-5


def test_where_no_path_is_allowed_all_is_finite() -> None:
    """Segments that are ended by nothing: every path breaks something."""
    chain, emissions, tags, mask = drawn(2, 5)
    values = emissions.float().requires_grad_()
    restricted = chain.restrict(tag_constraints(["B-A", "I-A"], scheme="bioes"))
    found = log_likelihood(restricted, values, tags, mask)
    (gradient,) = torch.autograd.grad(found.sum(), values)
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    assert tag_marginals(restricted, values, mask).isfinite().all()


def test_a_shift_of_all_scores_of_a_position_costs_no_digits() -> None:
    """A confident model's likelihoods are small differences of large sums."""
    chain, emissions, tags, mask = drawn(4, 64)
    expected = log_likelihood(chain, emissions, tags, mask)
    shifted = (emissions.float() + 4096).double()  # what float32 holds of it
    exact = log_likelihood(chain, shifted, tags, mask)
    torch.testing.assert_close(exact, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(
        log_likelihood(chain, shifted.float(), tags, mask).double(), exact, rtol=1e-6, atol=1e-6
    )
