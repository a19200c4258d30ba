import copy

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.nn import Reinforce, entropy

LOSSES, LOG_PROB = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([-1.0, -2.0, -0.5])
ZERO = torch.zeros(3)


def test_the_first_batch_is_its_own_baseline() -> None:
    loss = Reinforce()(LOSSES, LOG_PROB, ZERO)
    torch.testing.assert_close(loss, ((LOSSES - 3) * LOG_PROB).sum() / 3)


def test_a_batch_is_judged_by_the_baseline_of_those_before_it() -> None:
    reinforce = Reinforce(momentum=0.75)
    reinforce(LOSSES, LOG_PROB, ZERO)
    assert reinforce.baseline.item() == 3
    loss = reinforce(LOSSES + 8, LOG_PROB, ZERO)
    torch.testing.assert_close(loss, ((LOSSES + 8 - 3) * LOG_PROB).sum() / 3)
    assert reinforce.baseline.item() == 0.75 * 3 + 0.25 * 11
    reinforce(LOSSES - 5, LOG_PROB, ZERO)
    assert reinforce.baseline.item() == 0.75 * 5 + 0.25 * -2


def test_a_baseline_of_zero_is_not_taken_for_none() -> None:
    reinforce = Reinforce(momentum=1.0)
    reinforce(LOSSES - 3, LOG_PROB, ZERO)
    torch.testing.assert_close(reinforce(LOSSES, LOG_PROB, ZERO), (LOSSES * LOG_PROB).mean())


def test_evaluation_leaves_the_baseline_alone() -> None:
    reinforce = Reinforce().eval()
    reinforce(LOSSES, LOG_PROB, ZERO)
    assert (reinforce.baseline.item(), reinforce.started.item()) == (0, False)


def test_the_baseline_is_saved() -> None:
    reinforce, other = Reinforce(), Reinforce()
    reinforce(LOSSES, LOG_PROB, ZERO)
    other.load_state_dict(copy.deepcopy(reinforce.state_dict()))
    torch.testing.assert_close(other(LOSSES + 1, LOG_PROB, ZERO), reinforce(LOSSES + 1, LOG_PROB, ZERO))
    assert other.baseline.item() == pytest.approx(3.1)


def test_the_gradient_reaches_what_chose_and_not_what_it_cost() -> None:
    losses, log_prob, spread = (value.clone().requires_grad_() for value in (LOSSES, LOG_PROB, ZERO))
    Reinforce(entropy_weight=0.5)(losses, log_prob, spread).backward()
    assert losses.grad is None
    assert log_prob.grad is not None
    assert spread.grad is not None
    torch.testing.assert_close(log_prob.grad, (LOSSES - 3) / 3)
    torch.testing.assert_close(spread.grad, torch.full((3,), -0.5 / 3))


def test_entropy_is_that_of_what_may_be_chosen() -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    chances = (logits[0, mask[0]] / 2).softmax(0)
    found = entropy(logits, mask, temperature=2.0)
    torch.testing.assert_close(found, torch.stack([-(chances * chances.log()).sum(), torch.tensor(0.0)]))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    (expected,) = torch.autograd.grad(-(chances * chances.log()).sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_entropy_of_a_certain_choice_has_a_finite_gradient() -> None:
    logits = torch.tensor([0.0, 500.0], requires_grad=True)
    found = entropy(logits)
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.5}, r"^momentum must be in \[0, 1\], got 1\.5\.$"),
        ({"entropy_weight": -1.0}, r"^entropy_weight must be at least 0, got -1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Reinforce(**options)
