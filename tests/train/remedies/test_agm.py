import copy
import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Passage, Remedied, view_of
from fuseloom.train.remedies.agm import AGM, error_sums, modality_shares, modulation, steering_loss
from fuseloom.train.step import training_loss

FUSION = "tensor"
"""Not additive, so that what a modality adds depends on the others."""


def passage(made, model=None, batch=None):
    model = model if model is not None else made.build()
    return Passage(view_of(model), batch if batch is not None else made.train, made.task)


def naive_shares(seen):
    """Mean over all orders of what each adds on joining; and an equal part of what none gives."""
    names = seen.modalities
    shares = dict.fromkeys(names, seen.outputs_of([]) / len(names))
    orders = list(permutations(names))
    for order in orders:
        for place, name in enumerate(order):
            gain = seen.outputs_of(order[: place + 1]) - seen.outputs_of(order[:place])
            shares[name] = shares[name] + gain / len(orders)
    return shares


def naive_factors(errors, usual, alpha):
    found = []
    for place in range(len(errors)):
        leads = []
        for values in (usual, errors):
            others = [value for other, value in enumerate(values) if other != place]
            leads.append(math.exp(sum(others) / len(others) - values[place]))
        found.append(math.exp(alpha * min(leads[0] - leads[1], 10)))
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_shapley_values_that_add_up_to_the_outputs(problem, count):
    seen = passage(problem(count, fusion=FUSION, dropout=0.0))
    shares = modality_shares(seen)
    torch.testing.assert_close(shares, naive_shares(seen))
    torch.testing.assert_close(sum(shares.values()), seen.outputs)


def test_of_two_modalities_they_are_those_of_the_paper(problem):
    seen = passage(problem(fusion=FUSION))
    text, audio = (seen.outputs_of([name]) for name in seen.modalities)
    shares = modality_shares(seen)
    torch.testing.assert_close(shares["text"], (seen.outputs - audio + text) / 2)
    torch.testing.assert_close(shares["audio"], (seen.outputs - text + audio) / 2)


def test_errors_are_those_of_the_rows_that_have_the_modality(problem):
    seen = passage(problem(3, dropout=0.0))
    shares = {name: 200 * value for name, value in modality_shares(seen).items()}
    for name, (total, rows) in zip(seen.modalities, error_sums(seen, shares), strict=True):
        found = []
        for row, label, there in zip(shares[name], seen.target, seen.present(name), strict=True):
            likely = row.double().softmax(0)[label].item()
            found += [-math.log(max(likely, 1e-8))] * bool(there)
        assert rows == len(found)
        assert total.item() == pytest.approx(sum(found), rel=1e-5)
        assert max(found) == pytest.approx(-math.log(1e-8))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_factors_are_those_of_the_rule(alpha, count):
    errors, usual = torch.rand(2, count) * 3
    wanted = naive_factors(errors.tolist(), usual.tolist(), alpha)
    assert modulation(errors, usual, alpha=alpha).tolist() == pytest.approx(wanted, rel=1e-5)


def test_a_factor_does_not_grow_beyond_the_bound():
    factors = modulation(torch.tensor([18.0, 0.0]), torch.tensor([0.0, 12.0]), alpha=0.5)
    assert factors.tolist() == pytest.approx([math.exp(5), 0], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("count", [2, 3])
def test_the_gradient_through_each_share_is_multiplied(problem, count):
    made = problem(count, fusion=FUSION, dropout=0.0)
    model = made.build()
    parameters = list(model.parameters())
    factors = torch.tensor([0.6, 1.4, 0.1][:count])
    seen = passage(made, model)
    shares = modality_shares(seen)
    outputs = seen.outputs.detach().requires_grad_()
    (pull,) = torch.autograd.grad(seen.loss_of(outputs), outputs)
    wanted = [torch.zeros_like(value) for value in parameters]
    for name, factor in zip(seen.modalities, factors, strict=True):
        through = torch.autograd.grad((shares[name] * pull).sum(), parameters, retain_graph=True)
        wanted = [value + factor * part for value, part in zip(wanted, through, strict=True)]
    steered = seen.loss + steering_loss(seen, shares, factors)
    assert steered.equal(seen.loss)
    found = torch.autograd.grad(steered, parameters)
    torch.testing.assert_close(list(found), wanted)


def test_only_from_the_second_batch_on_gradients_differ_and_losses_never(problem):
    made = problem(fusion=FUSION, dropout=0.0)
    model, halves = made.build(), [made.train.take(slice(0, 22)), made.train.take(slice(22, None))]
    remedied = Remedied(model, AGM(alpha=2.0), made.task)
    for place, batch in enumerate(halves):
        found = []
        for loss in (remedied.loss(batch), training_loss(model, batch, made.task)):
            model.zero_grad()
            loss.backward()
            found.append((loss, [value.grad.clone() for value in model.parameters()]))
        assert found[0][0].equal(found[1][0])
        same = all(one.equal(other) for one, other in zip(found[0][1], found[1][1], strict=True))
        assert same == (place == 0)


def test_usual_errors_are_means_over_batches_and_the_next_is_held_against_them(problem):
    made = problem(3, fusion=FUSION, dropout=0.0)
    model, size = made.build(), 11
    remedy = AGM(alpha=1.5)
    remedied, seen_errors = Remedied(model, remedy, made.task), []
    for start in range(0, 44, size):
        batch = made.train.take(slice(start, start + size))
        seen = passage(made, model, batch)
        sums = error_sums(seen, modality_shares(seen))
        errors = sums[:, 0] / sums[:, 1]
        usual = torch.stack(seen_errors).mean(0) if seen_errors else errors
        remedied.zero_grad()
        remedied.loss(batch).backward()
        found = [value.grad.clone() for value in model.parameters()]
        factors = torch.tensor(naive_factors(errors.tolist(), usual.tolist(), 1.5))
        wanted = seen.loss + steering_loss(seen, modality_shares(seen), factors)
        torch.testing.assert_close(found, list(torch.autograd.grad(wanted, list(model.parameters()))))
        seen_errors.append(errors)
        torch.testing.assert_close(remedy.usual, torch.stack(seen_errors).mean(0))
        assert remedy.batches.tolist() == [len(seen_errors)] * 3


def test_a_batch_without_a_modality_says_nothing_of_it(problem):
    made = problem(dropout=0.0)
    remedied = Remedied(made.build(), AGM(), made.task)
    absent = replace(made.train, masks={"audio": torch.zeros(44, dtype=torch.bool)})
    remedied.loss(absent).backward()
    assert remedied.remedy.batches.tolist() == [1, 0]
    remedied.loss(made.train)
    usual = remedied.remedy.usual.clone()
    remedied.zero_grad()
    remedied.loss(absent).backward()
    assert remedied.remedy.batches.tolist() == [3, 1]
    assert remedied.remedy.usual[1] == usual[1]
    assert all(value.grad.isfinite().all() for value in remedied.parameters())


def test_its_state_is_all_that_a_run_that_goes_on_needs(problem):
    made = problem(dropout=0.0)
    first = Remedied(made.build(), AGM(alpha=2.0), made.task)
    first.loss(made.train.take(slice(0, 10)))
    second = Remedied(copy.deepcopy(first.model), AGM(alpha=2.0), made.task)
    second.load_state_dict(first.state_dict())
    fresh = Remedied(copy.deepcopy(first.model), AGM(alpha=2.0), made.task)
    found = []
    for one in (first, second, fresh):
        one.loss(made.train.take(slice(10, None))).backward()
        found.append(torch.cat([value.grad.flatten() for value in one.model.parameters()]))
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_processes_rate_modalities_by_all_their_rows(problem, monkeypatch):
    made = problem(dropout=0.0)
    model = made.build()
    halves = [made.train.take(slice(0, 9)), made.train.take(slice(9, None))]
    whole, mine = AGM(), AGM()
    Remedied(model, whole, made.task).loss(made.train)
    remedied = Remedied(model, mine, made.task)
    other = passage(made, model, halves[1])
    sent = error_sums(other, modality_shares(other))
    monkeypatch.setattr(mine, "summed", lambda values: values + sent)
    remedied.loss(halves[0])
    torch.testing.assert_close(mine.usual, whole.usual)


def test_without_strength_a_run_is_the_plain_one(problem):
    made = problem(3, fusion=FUSION)
    config = FitConfig(max_epochs=2, batch_size=16)
    model, result = fit(made.build, made.train, made.valid, made.task, config)
    same, alike = fit(made.build, made.train, made.valid, made.task, config, remedy=AGM(alpha=0.0))
    other, _ = fit(made.build, made.train, made.valid, made.task, config, remedy=AGM(alpha=2.0))
    assert alike.curve == result.curve
    for name, value in model.state_dict().items():
        assert value.equal(same.state_dict()[name])
    assert any(not value.equal(other.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_negative_strength_is_refused():
    with pytest.raises(OptionError, match=r"alpha must not be negative, got -1\."):
        AGM(alpha=-1)
