import math
from dataclasses import replace

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Course, Passage, Remedied
from fuseloom.train.remedies._on_the_fly import modulation_factors
from fuseloom.train.remedies._scores import ScoreSums
from fuseloom.train.remedies.ogm import OGM
from fuseloom.train.step import training_loss


def gradients(model):
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def plain_gradients(made, model, batch):
    training_loss(model, batch, made.task).backward()
    found = gradients(model)
    model.zero_grad()
    return found


def naive_factors(seen, alpha):
    """The rule of the paper, number by number."""
    sums = ScoreSums()
    sums.add(seen)
    scores = {name: score.item() for name, score in sums.take(lambda values: values).items()}
    factors = {}
    for name, score in scores.items():
        ratios = [score / other for key, other in scores.items() if key != name]
        rho = sum(ratios) / len(ratios)
        factors[name] = 1 - math.tanh(alpha * rho) if rho > 1 else 1.0
    return factors


def stepped(made, model, parts, *, epoch=0, **options):
    """Gradients behind the rule, of batches that accumulate."""
    remedied = Remedied(model, OGM(**options), made.task)
    remedied.start_epoch(Course(epoch=epoch, num_steps=1))
    for part in parts:
        (remedied.loss(part) * len(part) / sum(map(len, parts))).backward()
    remedied.before_step()
    found = gradients(model)
    model.zero_grad()
    return found, remedied


def modality_of(parameter):
    return parameter.split(".")[1] if parameter.startswith("encoders.") else None


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("alpha", [0.3, 1.5])
def test_only_what_is_ahead_is_slowed_and_by_the_factor_of_the_rule(problem, count, alpha):
    made = problem(count, dropout=0.0)
    model = made.build()
    plain = plain_gradients(made, model, made.train)
    found, remedied = stepped(made, model, [made.train], alpha=alpha)
    factors = naive_factors(Passage(remedied.view, made.train, made.task), alpha)
    assert min(factors.values()) < 1 == max(factors.values())
    for name, gradient in plain.items():
        factor = factors.get(modality_of(name), 1.0) if gradient.dim() > 1 else 1.0
        torch.testing.assert_close(found[name], gradient * factor)


@pytest.mark.parametrize(("axes", "changed"), [(1, {1, 2}), (2, {2}), (4, set())])
def test_tensors_of_fewer_axes_are_left_alone(problem, axes, changed):
    made = problem(dropout=0.0)
    model = made.build()
    plain = plain_gradients(made, model, made.train)
    found, _ = stepped(made, model, [made.train], min_axes=axes)
    touched = {name for name, gradient in plain.items() if not gradient.equal(found[name])}
    assert {plain[name].dim() for name in touched} == changed
    assert len({modality_of(name) for name in touched}) == (1 if changed else 0)
    assert None not in {modality_of(name) for name in touched}


@pytest.mark.parametrize(
    ("epochs", "active"), [((0, None), [0, 1, 2, 3]), ((1, 3), [1, 2]), ((2, None), [2, 3])]
)
def test_gradients_are_changed_in_its_epochs_only(problem, epochs, active):
    made = problem(dropout=0.0)
    model = made.build()
    plain = plain_gradients(made, model, made.train)
    found = [stepped(made, model, [made.train], epoch=e, epochs=epochs)[0] for e in range(4)]
    changed = [any(not plain[n].equal(one[n]) for n in plain) for one in found]
    assert [epoch for epoch in range(4) if changed[epoch]] == active


def test_batches_that_accumulate_are_rated_together(problem):
    made = problem(3, dropout=0.0)
    model = made.build()
    whole, _ = stepped(made, model, [made.train])
    parts, _ = stepped(made, model, [made.train.take(slice(0, 22)), made.train.take(slice(22, None))])
    torch.testing.assert_close(parts, whole)


def test_each_step_is_rated_by_its_own_batches(problem):
    made = problem(dropout=0.0)
    model = made.build()
    first, second = made.train.take(slice(0, 22)), made.train.take(slice(22, None))
    wanted, _ = stepped(made, model, [second])
    remedied = Remedied(model, OGM(), made.task)
    for part in (first, second):
        model.zero_grad()
        remedied.loss(part).backward()
        remedied.before_step()
    torch.testing.assert_close(gradients(model), wanted)


def test_rows_that_lack_a_modality_do_not_rate_it(problem):
    made = problem(dropout=0.0)
    model = made.build()
    there = made.train.masks["audio"]
    other = made.train.inputs["audio"].clone()
    other[~there] = 100.0
    changed = replace(made.train, inputs={**made.train.inputs, "audio": other})
    found = [stepped(made, model, [batch])[0] for batch in (made.train, changed)]
    assert not there.all()
    torch.testing.assert_close(found[0], found[1])


def test_without_strength_a_run_is_the_plain_one(problem):
    made = problem(3)
    config = FitConfig(max_epochs=2, batch_size=16)
    model, result = fit(made.build, made.train, made.valid, made.task, config)
    same, alike = fit(made.build, made.train, made.valid, made.task, config, remedy=OGM(alpha=0.0))
    other, _ = fit(made.build, made.train, made.valid, made.task, config, remedy=OGM(alpha=1.0))
    assert alike.curve == result.curve
    for name, value in model.state_dict().items():
        assert value.equal(same.state_dict()[name])
    assert any(not value.equal(other.state_dict()[name]) for name, value in model.state_dict().items())


def test_at_equal_scores_nothing_is_slowed_and_right_above_them_the_factor_jumps():
    equal = modulation_factors({"a": torch.tensor(0.5), "v": torch.tensor(0.5)}, alpha=0.3)
    ahead = modulation_factors({"a": torch.tensor(0.50005), "v": torch.tensor(0.5)}, alpha=0.3)
    assert [factor.item() for factor in equal.values()] == [1, 1]
    assert ahead["a"].item() == pytest.approx(1 - math.tanh(0.3), abs=1e-3)
    assert ahead["v"].item() == 1


def test_a_negative_strength_is_refused():
    with pytest.raises(OptionError, match=r"alpha must not be negative, got -0\.1\."):
        OGM(alpha=-0.1)
    with pytest.raises(OptionError, match="alpha must not be negative, got nan"):
        OGM(alpha=math.nan)
