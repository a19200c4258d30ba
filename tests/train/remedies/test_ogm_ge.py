import pytest
import torch

from fuseloom import create_remedy
from fuseloom.train.remedies import Course, Remedied
from fuseloom.train.remedies.ogm_ge import OGMGE


def gradients(remedied):
    return {name: value.grad.clone() for name, value in remedied.model.named_parameters()}


def stepped(remedied, batch, *, epoch=0, seed=0):
    """Gradients before and behind the rule."""
    remedied.zero_grad()
    remedied.start_epoch(Course(epoch=epoch, num_steps=1))
    remedied.loss(batch).backward()
    before = gradients(remedied)
    torch.manual_seed(seed)
    remedied.before_step()
    return before, gradients(remedied)


@pytest.fixture
def made(problem):
    return problem(3, dropout=0.0)


def modulated(name, gradient):
    return name.startswith("encoders.") and gradient.dim() > 1


def test_all_encoders_get_noise_as_large_as_their_unchanged_gradients_in_order(made):
    model = made.build()
    before, after = stepped(Remedied(model, OGMGE(alpha=0.7), made.task), made.train)
    _, slowed = stepped(Remedied(model, create_remedy("ogm", alpha=0.7), made.task), made.train)
    torch.manual_seed(0)
    for name, gradient in before.items():
        if modulated(name, gradient):
            noise = torch.randn(gradient.shape) * (gradient.std() + 1e-8)
            torch.testing.assert_close(after[name], slowed[name] + noise)
        else:
            assert after[name].equal(gradient)


def test_the_noise_is_as_wide_as_the_gradient_before_it_is_slowed(made):
    model = made.build(dim=64)
    before, after = stepped(Remedied(model, OGMGE(alpha=0.4), made.task), made.train)
    _, slowed = stepped(Remedied(model, create_remedy("ogm", alpha=0.4), made.task), made.train)
    factors = []
    for name, gradient in before.items():
        if modulated(name, gradient) and gradient.numel() > 4000:
            factors.append((slowed[name].norm() / gradient.norm()).item())
            width = (after[name].std() / gradient.std()).item()
            assert width == pytest.approx((1 + factors[-1] ** 2) ** 0.5, rel=0.05)
    assert min(factors) < 0.9 < max(factors)


def test_two_seeds_make_different_noise_and_one_the_same(made):
    remedied = Remedied(made.build(), OGMGE(), made.task)
    runs = [stepped(remedied, made.train, seed=seed)[1] for seed in (1, 1, 2)]
    name = next(name for name, gradient in runs[0].items() if modulated(name, gradient))
    assert runs[0][name].equal(runs[1][name])
    assert not runs[0][name].equal(runs[2][name])


def test_outside_its_epochs_there_is_no_noise(made):
    remedied = Remedied(made.build(), OGMGE(epochs=(1, 2)), made.task)
    for epoch, changed in enumerate([False, True, False]):
        before, after = stepped(remedied, made.train, epoch=epoch)
        assert any(not before[name].equal(after[name]) for name in before) == changed
