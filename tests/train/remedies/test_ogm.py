import torch

from fuseloom import create_remedy
from fuseloom.train.remedies import Remedied
from fuseloom.train.remedies.ogm import OGM


def test_it_adds_no_noise_and_draws_nothing(problem):
    made = problem(dropout=0.0)
    remedied = Remedied(made.build(), OGM(), made.task)
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        remedied.zero_grad()
        remedied.loss(made.train).backward()
        before = torch.get_rng_state()
        remedied.before_step()
        assert torch.get_rng_state().equal(before)
        found.append([value.grad.clone() for value in remedied.model.parameters()])
    assert all(one.equal(other) for one, other in zip(*found, strict=True))


def test_gradients_only_shrink(problem):
    made = problem(3, dropout=0.0)
    remedied = Remedied(made.build(), OGM(alpha=2.0), made.task)
    remedied.loss(made.train).backward()
    before = {name: value.grad.clone() for name, value in remedied.named_parameters()}
    remedied.before_step()
    ratios = {
        name: (value.grad.norm() / before[name].norm()).item()
        for name, value in remedied.named_parameters()
        if before[name].norm() > 0
    }
    assert all(ratio <= 1.0 for ratio in ratios.values())
    assert min(ratios.values()) < 0.2


def test_it_is_made_by_name():
    remedy = create_remedy("ogm", alpha=0.2, epochs=(1, 4), min_axes=4)
    assert (type(remedy), remedy.alpha, remedy.epochs, remedy.min_axes) == (OGM, 0.2, (1, 4), 4)
    assert not remedy.state_dict()
