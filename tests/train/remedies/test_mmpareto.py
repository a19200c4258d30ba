import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fuseloom import create
from fuseloom.encoders import Encoder
from fuseloom.errors import OptionError
from fuseloom.models import FusionModel
from fuseloom.train.remedies import Passage, Remedied
from fuseloom.train.remedies.mmpareto import MMPareto, integrated, pareto_shares
from fuseloom.train.remedies.uniform_loss import UniformLoss
from fuseloom.train.step import training_loss


def naive_integration(joint, own, gamma):
    """The rule of the paper in NumPy."""
    joint, own = ([value.double().numpy() for value in values] for values in (joint, own))
    first, second = (np.concatenate([value.ravel() for value in values]) for values in (joint, own))
    if first @ second > 0:
        shares = (0.5, 0.5)
    elif first @ second >= first @ first:
        shares = (0.999, 0.001)
    elif first @ second >= second @ second:
        shares = (0.001, 0.999)
    else:
        share = (second @ second - first @ second) / ((first - second) @ (first - second))
        shares = (share, 1 - share)
    found = []
    for one, other in zip(joint, own, strict=True):
        new = 2 * shares[0] * one + 2 * shares[1] * other
        if np.linalg.norm(one + other) > np.linalg.norm(new) > 0:
            new = new * np.linalg.norm(one + other) / np.linalg.norm(new)
        found.append(torch.from_numpy(gamma * new))
    return found


def remedied(made, model=None, *, seed=3, **options):
    torch.manual_seed(seed)
    return Remedied(model if model is not None else made.build(), MMPareto(**options), made.task)


def gradients(module):
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


def stepped(one, parts):
    """Gradients behind the rule, of batches that accumulate."""
    one.zero_grad()
    for part, share in parts:
        (one.loss(part) * share).backward()
    one.before_step()
    return gradients(one)


def apart(one, batch):
    """Gradients of the joint loss and of the own ones, each by a backward pass of its own."""
    found = []
    for loss in (
        training_loss(one.model, batch, one.task),
        one.remedy.own_loss(Passage(one.view, batch, one.task)),
    ):
        one.zero_grad()
        loss.backward()
        found.append(gradients(one))
    return found


def angles(one, joint, own):
    """Products of the two gradients of each encoder."""
    found = []
    for name in one.view.modalities:
        mine = [key for key in joint if key.startswith(f"model.encoders.{name}.")]
        found.append(sum((joint[key] * own[key]).sum().item() for key in mine))
    return found


def conflicting(made):
    """A model, and rows whose joint loss pulls some encoders where their own does not."""
    one = remedied(made)
    with torch.no_grad():
        for name in ("text", "video"):
            if name in one.remedy.heads:
                one.remedy.heads[name].weight.mul_(-3)
    return one


@given(st.integers(0, 10**6), st.sampled_from([1.0, 30.0]), st.floats(0.5, 3))
def test_an_encoders_gradients_are_combined_by_the_rule(seed, longer, gamma):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 2), (4,), (1,)]
    joint, own = (
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(2)
    )
    own = [longer * value for value in own]
    torch.testing.assert_close(
        integrated(joint, own, gamma=gamma), naive_integration(joint, own, gamma), rtol=1e-7, atol=1e-9
    )


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_the_mixture_of_both_gradients_descends_on_both_losses(seed, width):
    joint, own = torch.randn(2, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    shares = pareto_shares(joint, own)
    mixed = shares[0] * joint + shares[1] * own
    assert shares.sum().item() == pytest.approx(1)
    if joint @ own > 0:
        assert shares.tolist() == [0.5, 0.5]
    assert mixed @ joint >= -1e-12
    assert mixed @ own >= -1e-12


def test_gradients_of_length_zero_do_no_harm():
    some, none = torch.tensor([3.0, -4.0]), torch.zeros(2)
    for joint, own in ((some, none), (none, some)):
        assert integrated([joint], [own], gamma=2.0)[0].tolist() == pytest.approx([6, -8])
    assert integrated([none], [none], gamma=2.0)[0].tolist() == [0, 0]


@pytest.mark.parametrize("count", [2, 3])
def test_encoders_get_combined_gradients_and_all_else_the_plain_ones(problem, count):
    made = problem(count, dropout=0.0)
    one = conflicting(made)
    joint, own = apart(one, made.train)
    found = stepped(one, [(made.train, 1.0)])
    assert min(angles(one, joint, own)) < 0 < max(angles(one, joint, own))
    for name in one.view.modalities:
        mine = [key for key in joint if key.startswith(f"model.encoders.{name}.")]
        parts = [[side[key] for key in mine] for side in (joint, own)]
        for key, wanted in zip(mine, naive_integration(*parts, 1.5), strict=True):
            torch.testing.assert_close(found[key], wanted.float(), rtol=1e-4, atol=1e-5)
    rest = [key for key in found if "encoders" not in key]
    assert {key.split(".")[0] for key in rest} == {"model", "remedy"}
    for key in rest:
        torch.testing.assert_close(found[key], joint.get(key, 0) + own.get(key, 0))


def test_without_conflict_and_gamma_it_is_the_uniform_loss(problem):
    made = problem(dropout=0.0)
    for seed in range(30):
        one = remedied(made, seed=seed, gamma=1.0)
        joint, own = apart(one, made.train)
        if min(angles(one, joint, own)) > 0:
            break
    assert min(angles(one, joint, own)) > 0
    other = Remedied(one.model, UniformLoss(), made.task)
    other.load_state_dict(one.state_dict())
    found = stepped(one, [(made.train, 1.0)])
    torch.testing.assert_close(found, stepped(other, [(made.train, 1.0)]))


def test_batches_that_accumulate_are_combined_as_one(problem):
    made = problem(3, dropout=0.0)
    one = conflicting(made)
    whole = stepped(one, [(made.train, 1.0)])
    halves = [made.train.take(slice(0, 22)), made.train.take(slice(22, None))]
    torch.testing.assert_close(stepped(one, [(half, 0.5) for half in halves]), whole, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_differentiated_counts_nowhere(problem):
    made = problem(dropout=0.0)
    one = conflicting(made)
    wanted = stepped(one, [(made.train, 1.0)])
    one.loss(made.train.take(slice(0, 5)))
    torch.testing.assert_close(stepped(one, [(made.train, 1.0)]), wanted)
    with torch.no_grad():
        assert one.loss(made.train).isfinite()


def test_a_scaled_loss_gives_the_same_gradients(problem):
    made = problem(dropout=0.0)
    one = conflicting(made)
    wanted = stepped(one, [(made.train, 1.0)])
    one.zero_grad()
    (one.loss(made.train, scale=2.0**12) * 2.0**12).backward()
    for parameter in one.parameters():
        parameter.grad.div_(2.0**12)
    one.before_step()
    torch.testing.assert_close(gradients(one), wanted)


def test_each_step_starts_anew(problem):
    made = problem(dropout=0.0)
    one = conflicting(made)
    wanted = stepped(one, [(made.train, 1.0)])
    stepped(one, [(made.train.take(slice(0, 9)), 1.0)])
    torch.testing.assert_close(stepped(one, [(made.train, 1.0)]), wanted)
    before = gradients(one)
    one.before_step()  # nothing is left to combine
    assert all(value.equal(before[name]) for name, value in gradients(one).items())


def test_own_gradients_are_means_over_processes(problem, monkeypatch):
    made = problem(dropout=0.0)
    one = conflicting(made)
    wanted = stepped(one, [(made.train, 1.0)])
    halves, sent = [made.train.take(slice(0, 22)), made.train.take(slice(22, None))], []
    monkeypatch.setattr(one.remedy, "summed", lambda values: sent.append(values.clone()) or values)
    stepped(one, [(halves[1], 1.0)])
    one.zero_grad()
    (one.loss(halves[0])).backward()
    mean = {
        name: (value + other) / 2
        for (name, value), other in zip(gradients(one).items(), plain(one, halves[1]), strict=True)
    }
    for name, parameter in one.named_parameters():
        parameter.grad.copy_(mean[name])
    monkeypatch.setattr(one.remedy, "summed", lambda values: values + sent[0])
    one.before_step()
    torch.testing.assert_close(gradients(one), wanted, rtol=1e-4, atol=1e-5)


def plain(one, batch):
    """Gradients of the sum of losses; leaves those that are there, and the rule, alone."""
    seen = Passage(one.view, batch, one.task)
    return torch.autograd.grad(seen.loss + one.remedy.own_loss(seen), list(one.parameters()))


class Widened(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.map = nn.Linear(width, dim)

    def forward(self, value, mask):
        return self.map(value).tanh(), mask


class TwoStages(Encoder):
    pass


def test_what_no_own_loss_reaches_and_what_is_frozen_keeps_its_gradient(problem):
    made, dims = problem(dropout=0.0), {"text": 8, "audio": 8}
    torch.manual_seed(1)
    encoders = {
        name: TwoStages([Widened(w, 8), Widened(8, 8)], [8, 8]) for name, w in (("text", 6), ("audio", 4))
    }
    model = FusionModel(
        encoders,
        create("concat", dims, dim=8),
        nn.Linear(8, 3),
        exchanges={0: create("cross_attention", dims)},
    )
    encoders["text"].stages[0].map.bias.requires_grad_(False)
    one = remedied(made, model)
    joint, _ = apart(one, made.train)
    found = stepped(one, [(made.train, 1.0)])
    assert "model.encoders.text.stages.0.map.bias" not in found
    for key, gradient in joint.items():
        if "stages.1" in key or "encoders" not in key:
            assert found[key].equal(gradient)
        else:
            assert not found[key].allclose(gradient)


def test_a_batch_without_a_modality_leaves_its_encoder_a_finite_gradient(problem):
    made = problem(dropout=0.0)
    made.train.masks["audio"][:] = False
    found = stepped(remedied(made), [(made.train, 1.0)])
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert found["model.encoders.text.stages.0.layers.1.weight"].abs().sum() > 0


def test_gamma_must_be_positive():
    for gamma in (0, -1, math.nan):
        with pytest.raises(OptionError, match=rf"gamma must be positive, got {gamma}\."):
            MMPareto(gamma=gamma)
