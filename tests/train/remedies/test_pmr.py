from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from fuseloom import create_remedy
from fuseloom.train.remedies import Course, Passage, Remedied
from fuseloom.train.remedies.pmr import PMR, Prototypes, class_sums, true_class_sum

FEATURES = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
TARGET = torch.tensor([0, 2, 0, 2])


def remedied_of(problem, **options):
    torch.manual_seed(0)
    return Remedied(problem.build(), PMR(**options), problem.task)


def test_sums_are_over_the_rows_of_each_class_that_count():
    rows = torch.tensor([True, True, True, False])
    assert class_sums(FEATURES, TARGET, rows, 3).tolist() == [[6, 8, 2], [0, 0, 0], [3, 4, 1]]


def test_new_means_are_mixed_with_old_ones_and_classes_without_rows_stay():
    prototypes = Prototypes(3, 2)
    every = torch.ones(4, dtype=torch.bool)
    prototypes.refresh(class_sums(FEATURES, TARGET, every, 3), momentum=0.25)
    assert prototypes.mean.tolist() == [[3, 4], [0, 0], [5, 6]]
    assert prototypes.known.tolist() == [True, False, True]
    prototypes.refresh(class_sums(FEATURES + 4, TARGET - TARGET, every, 3), momentum=0.25)
    assert prototypes.mean.tolist() == [[0.75 * 8 + 0.25 * 3, 0.75 * 9 + 0.25 * 4], [0, 0], [5, 6]]


def test_similarities_are_negative_distances_and_unknown_classes_are_out_of_reach():
    prototypes = Prototypes(3, 2)
    prototypes.refresh(class_sums(FEATURES, TARGET, torch.ones(4, dtype=torch.bool), 3), momentum=0.2)
    near = prototypes.similarities(FEATURES)
    for row, feature in enumerate(FEATURES):
        for k in (0, 2):
            wanted = -(float(sum((feature - prototypes.mean[k]) ** 2)) ** 0.5)
            assert near[row, k].item() == pytest.approx(wanted)
    assert (near.softmax(-1)[:, 1] == 0).all()


def test_a_feature_that_is_its_prototype_has_a_finite_gradient():
    prototypes = Prototypes(2, 2)
    prototypes.refresh(torch.tensor([[1.0, 2.0, 1.0], [5.0, 5.0, 1.0]]), momentum=0.2)
    feature = torch.tensor([[1.0, 2.0]], requires_grad=True)
    prototypes.similarities(feature).log_softmax(-1)[0, 1].backward()
    assert feature.grad.isfinite().all()
    assert feature.grad.abs().sum() > 0


def test_the_score_sums_the_probability_of_the_true_class_over_rows():
    near, rows = torch.randn(4, 3), torch.tensor([True, False, True, True])
    found = true_class_sum(near, TARGET, rows)
    wanted = sum(near[row].softmax(-1)[TARGET[row]] for row in (0, 2, 3))
    torch.testing.assert_close(found, torch.stack([wanted, torch.tensor(3.0)]))


@pytest.mark.parametrize("count", [2, 3])
def test_prototypes_are_means_over_spread_rows_in_evaluation_mode(problem, count):
    of = problem(count)
    remedied = remedied_of(of).train()
    state = torch.get_rng_state()
    remedied.start_epoch(of.course(size=11))  # 4 batches: every fourth row of each
    assert torch.get_rng_state().equal(state)
    assert all(part.training for part in remedied.modules())
    rows = torch.tensor([start + step for start in range(0, 44, 11) for step in range(0, 11, 4)])
    remedied.eval()
    encoded = remedied.view.encode(of.train.take(rows))
    for name in remedied.view.modalities:
        there = encoded.present(name)
        for k in range(3):
            own = encoded.features(name)[there & (of.train.target[rows] == k)]
            prototypes = remedied.remedy.of(name)
            assert prototypes.known[k] == (len(own) > 0)
            if len(own):
                torch.testing.assert_close(prototypes.mean[k], own.mean(0))


@pytest.mark.parametrize("count", [2, 3])
def test_the_loss_of_prototypes_goes_to_those_that_are_behind(problem, count):
    of = problem(count, dropout=0.0)
    remedied = remedied_of(of, alpha=0.7, share=1.0)
    remedied.start_epoch(of.course())
    seen = Passage(remedied.view, of.train, of.task)
    near = {n: remedied.remedy.of(n).similarities(seen.features(n)) for n in seen.modalities}
    there = {n: seen.present(n) for n in near}
    scores = {n: z.softmax(-1)[range(44), seen.target][there[n]].mean().item() for n, z in near.items()}
    wanted, behind = seen.loss, 0
    for name, score in scores.items():
        others = [other for n, other in scores.items() if n != name]
        if sum(score / other for other in others) / len(others) < 1:
            behind += 1
            wanted = wanted + 0.7 * F.cross_entropy(near[name][there[name]], seen.target[there[name]])
    assert 0 < behind < count
    torch.testing.assert_close(remedied.loss(of.train), wanted)


def test_only_those_that_are_behind_learn_from_prototypes(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of, share=1.0)
    remedied.start_epoch(of.course())
    plain = torch.autograd.grad(
        Passage(remedied.view, of.train, of.task).loss, list(remedied.model.encoders.parameters())
    )
    found = torch.autograd.grad(remedied.loss(of.train), list(remedied.model.encoders.parameters()))
    changed = [not a.equal(b) for a, b in zip(plain, found, strict=True)]
    half = len(changed) // 2
    assert any(changed[:half]) != any(changed[half:])


def test_without_weight_the_loss_and_its_gradients_are_the_plain_ones(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of, alpha=0)
    remedied.start_epoch(of.course())
    loss, plain = remedied.loss(of.train), Passage(remedied.view, of.train, of.task).loss
    assert loss.equal(plain)
    weights = list(remedied.model.parameters())
    for own, wanted in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(plain, weights), strict=True
    ):
        assert own.equal(wanted)


def test_rows_of_unknown_classes_teach_nothing(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of)
    one = of.train.take(of.train.target == 0)
    remedied.start_epoch(replace(of.course(), train=lambda: [one]))
    rest = of.train.take(of.train.target != 0)
    torch.testing.assert_close(remedied.loss(rest), Passage(remedied.view, rest, of.task).loss)


def test_before_prototypes_are_taken_the_loss_is_the_plain_one(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of)
    torch.testing.assert_close(remedied.loss(of.train), Passage(remedied.view, of.train, of.task).loss)


def test_prototypes_are_part_of_the_state(problem):
    of = problem(2)
    remedied, fresh = remedied_of(of), remedied_of(of)
    remedied.start_epoch(of.course())
    fresh.load_state_dict(remedied.state_dict())
    assert fresh.remedy.of("text").mean.equal(remedied.remedy.of("text").mean)
    assert fresh.remedy.of("text").known.any()


def test_it_needs_training_rows(problem):
    with pytest.raises(ValueError, match=r"train of the Course must be given for PMR, got None\. It is"):
        remedied_of(problem(2)).start_epoch(Course(epoch=0, num_steps=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, r"alpha must not be negative, got -1.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"share": 0.0}, r"share must be in \(0, 1\], got 0.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_remedy("pmr", **options)
