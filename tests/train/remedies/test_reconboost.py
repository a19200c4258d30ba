import pytest
import torch
from torch.nn import functional as F

from fuseloom import create_remedy
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import Passage, Remedied
from fuseloom.train.remedies.reconboost import ReconBoost, boosted_sum, boosting_losses, disagreement

TARGET = torch.tensor([0, 2, 1])


def remedied_of(problem, task=None, **options):
    torch.manual_seed(0)
    return Remedied(problem.build(), ReconBoost(**options), task or problem.task)


def outputs_of(remedied, batch, task):
    seen = Passage(remedied.view, batch, task)
    found = {name: remedied.remedy.head(seen.features(name)) for name in seen.modalities}
    return found, {name: seen.present(name) for name in found}


def test_a_loss_is_the_official_sum_over_one_hot_targets():
    own, others = torch.randn(3, 4), torch.randn(3, 4)
    hot, logs = F.one_hot(TARGET, 4).float(), own.log_softmax(-1)
    wanted = -5 * (hot * logs).mean(-1) + 2 * (hot * others.softmax(-1) * logs).mean(-1)
    errors = F.cross_entropy(own, TARGET, reduction="none")
    torch.testing.assert_close(boosting_losses(errors, others, TARGET, own=5, reconcile=2), wanted)


def test_nothing_is_learnt_through_the_others():
    own, others = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    errors = F.cross_entropy(own, TARGET, reduction="none")
    (boosting_losses(errors, others, TARGET) + disagreement(own, others)).sum().backward()
    assert others.grad is None
    assert own.grad.abs().sum() > 0


def test_disagreement_is_the_squared_difference_of_probabilities():
    own, previous = torch.randn(3, 4), torch.randn(3, 4)
    wanted = F.mse_loss(own.softmax(-1), previous.softmax(-1))
    torch.testing.assert_close(disagreement(own, previous).mean(), wanted)
    assert disagreement(own, own).abs().max() == 0


def test_a_sum_is_over_what_is_present():
    outputs = {"a": torch.tensor([[1.0], [float("nan")]]), "v": torch.tensor([[3.0], [5.0]])}
    present = {"a": torch.tensor([True, False]), "v": torch.tensor([True, True])}
    assert boosted_sum(outputs, present, torch.tensor(0.5)).tolist() == [[2.0], [2.5]]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.5)])
def test_each_turn_is_the_loss_of_one_modality_against_the_others(problem, count, weights):
    of = problem(count, dropout=0.0)
    task = Classification(of.task.classes, weights=weights)
    remedied = remedied_of(of, task, own=4, reconcile=2, consolidate=0.3, boost_rate=0.8)
    batch = of.train
    batch.extras["weight"] = torch.rand(len(batch))
    outputs, there = outputs_of(remedied, batch, task)
    names = list(outputs)
    factor = batch.extras["weight"] * (1 if weights is None else torch.tensor(weights)[batch.target])
    for place, name in enumerate(names):
        known = 0.8 * sum(outputs[n] * there[n][:, None] for n in names if n != name)
        sure = known.softmax(-1)[range(len(batch)), batch.target]
        errors = F.cross_entropy(outputs[name], batch.target, reduction="none") * (4 - 2 * sure) / 3
        apart = (outputs[name].softmax(-1) - outputs[names[place - 1]].softmax(-1)).square().mean(-1)
        both = factor * there[name] * there[names[place - 1]]
        rows = factor * there[name]
        wanted = (errors * rows).sum() / rows.sum() + 0.3 * (apart * both).sum() / both.sum()
        torch.testing.assert_close(remedied.loss(batch, name), wanted)


@pytest.mark.parametrize("count", [2, 3])
def test_a_turn_trains_one_encoder_and_the_last_phase_trains_all(problem, count):
    of = problem(count)
    remedied = remedied_of(of)
    *turns, together = remedied.phases
    assert tuple(turns) == remedied.view.modalities
    for phase in remedied.phases:
        remedied.zero_grad()
        remedied.loss(of.train, phase).backward()
        learning = {n for n in turns for v in remedied.view.parameters(n) if v.grad is not None}
        assert learning == (set(turns) if phase == together else {phase})
        assert (remedied.remedy.boost_rate.grad is not None) is (phase == together)
        assert remedied.remedy.head.weight.grad.abs().sum() > 0


def test_the_last_phase_is_the_loss_of_what_it_predicts(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of, boost_rate=0.6)
    outputs, there = outputs_of(remedied, of.train, of.task)
    wanted = 0.6 * sum(outputs[n] * there[n][:, None] for n in outputs)
    torch.testing.assert_close(remedied(of.train.inputs, of.train.masks), wanted)
    loss = remedied.loss(of.train, remedied.phases[-1])
    torch.testing.assert_close(loss, F.cross_entropy(wanted, of.train.target))


def test_its_state_holds_head_and_rate(problem):
    of = problem(2)
    trained, fresh = remedied_of(of), remedied_of(of)
    of.learn(trained)
    assert trained.remedy.boost_rate.item() != 1
    fresh.load_state_dict(trained.state_dict())
    assert fresh.remedy.boost_rate.equal(trained.remedy.boost_rate)
    assert fresh.remedy.head.weight.equal(trained.remedy.head.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"own": 1.0}, r"reconcile must be in \[0, own\), so below 1.0, got 1.0"),
        ({"reconcile": -1.0}, r"reconcile must be in \[0, own\), so below 5.0, got -1.0"),
        ({"consolidate": -0.5}, r"consolidate must not be negative, got -0.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_remedy("reconboost", **options)
