import pytest
import torch
from torch.nn import functional as F

from fuseloom import create_remedy
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Course, Passage, Remedied
from fuseloom.train.remedies.mla import MLA, gating_weights, next_projection, projected


def remedied_of(problem, **options):
    torch.manual_seed(0)
    return Remedied(problem.build(), MLA(**options), problem.task)


def some_projection(dim=5, seed=0):
    torch.manual_seed(seed)
    root = torch.randn(dim, dim, dtype=torch.float64)
    return root @ root.T + torch.eye(dim, dtype=torch.float64)


def test_before_it_is_scaled_the_projection_is_that_of_recursive_least_squares():
    projection, mean = some_projection(), torch.randn(5, dtype=torch.float64)
    # By the lemma of Sherman, Morrison and Woodbury an update of the inverse of a correlation matrix.
    wanted = torch.linalg.inv(torch.linalg.inv(projection) + torch.outer(mean, mean) / 0.1)
    found = next_projection(projection, mean, decay=0.1)
    torch.testing.assert_close(found, wanted / wanted.norm())


def test_entry_by_entry_it_is_the_official_division():
    projection, mean = some_projection(), torch.randn(5, dtype=torch.float64)
    gain = [sum(projection[i, j] * mean[j] for j in range(5)) for i in range(5)]
    wanted = projection.clone()
    for i in range(5):
        for j in range(5):
            wanted[i, j] -= gain[i] * gain[j] / (0.1 + gain[i] * mean[j])
    found = next_projection(projection, mean, decay=0.1, by_entry=True)
    torch.testing.assert_close(found, wanted / wanted.square().sum().sqrt())


def test_steps_after_it_hardly_change_outputs_of_the_features_before():
    mean, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    projection = next_projection(torch.eye(3), mean, decay=1e-4)
    step = projected(torch.outer(torch.ones(2), mean + other), projection)
    assert (step @ mean).abs().max() < 1e-3 * (step @ other).abs().min()


def test_a_gradient_is_replaced_or_added_to():
    gradient, projection = torch.randn(2, 5, dtype=torch.float64), some_projection()
    wanted = torch.stack([projection @ row for row in gradient])
    torch.testing.assert_close(projected(gradient, projection), wanted)
    torch.testing.assert_close(projected(gradient, projection, add=True), gradient + wanted)


def test_weights_follow_entropies_of_those_that_are_present():
    outputs = {name: torch.randn(3, 4, dtype=torch.float64) for name in "avt"}
    rows = torch.tensor([True, False, False])
    present = {"a": ~rows | rows, "v": rows, "t": torch.tensor([True, True, False])}
    found = gating_weights(outputs, present)
    for row in range(3):
        certain = {}
        for name in outputs:
            if present[name][row]:
                p = outputs[name][row].softmax(-1)
                certain[name] = float(torch.exp((p * p.log()).sum()))
        for name in outputs:
            wanted = certain.get(name, 0) / sum(certain.values())
            assert found[name][row].item() == pytest.approx(wanted)


def test_rows_without_any_modality_weigh_nothing():
    nothing = torch.zeros(1, dtype=torch.bool)
    found = gating_weights({"a": torch.ones(1, 2), "v": torch.ones(1, 2)}, dict.fromkeys("av", nothing))
    assert [weight.item() for weight in found.values()] == [0, 0]


@pytest.mark.parametrize("count", [2, 3])
def test_each_phase_trains_one_modality_and_the_head(problem, count):
    of = problem(count, dropout=0.0)
    remedied = remedied_of(of)
    assert remedied.phases == remedied.view.modalities
    for name in remedied.phases:
        remedied.zero_grad()
        loss = remedied.loss(of.train, name)
        loss.backward()
        seen = Passage(remedied.view, of.train, of.task)
        there = seen.present(name)
        outputs = remedied.remedy.head(seen.features(name)[there])
        torch.testing.assert_close(loss, F.cross_entropy(outputs, of.train.target[there]))
        learning = {n for n in remedied.phases for v in remedied.view.parameters(n) if v.grad is not None}
        assert learning == {name}
        assert all(value.grad is None for value in remedied.model.merge.parameters())


def test_steps_project_gradients_from_the_second_on(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of, decay=0.2)
    remedied.start_epoch(of.course(size=11))  # 4 batches
    head, projection, seen = remedied.remedy.head, torch.eye(8), 0
    for step, batch in enumerate(list(of.course(size=11).train())[:2]):
        for name in remedied.phases:
            remedied.zero_grad()
            remedied.loss(batch, name).backward()
            before, bias = head.weight.grad.clone(), head.bias.grad.clone()
            remedied.before_step()
            assert head.bias.grad.equal(bias)
            if seen == 0:
                assert head.weight.grad.equal(before)
                assert remedied.remedy.projection.equal(torch.eye(8))
            else:
                passage = Passage(remedied.view, batch, of.task)
                mean = passage.features(name)[passage.present(name)].mean(0).detach()
                projection = next_projection(projection, mean, decay=0.2 ** (1 + step / 4))
                torch.testing.assert_close(remedied.remedy.projection, projection)
                torch.testing.assert_close(head.weight.grad, before @ projection.T)
            seen += 1
    assert remedied.remedy.steps.item() == 4


def test_halves_of_a_batch_make_the_same_projection(problem):
    of = problem(2, dropout=0.0)
    found = []
    for sizes in ((44,), (20, 24)):
        remedied = remedied_of(of)
        remedied.start_epoch(Course(epoch=0, num_steps=10**9))  # the decay hardly changes
        remedied.remedy.steps.fill_(1)
        for start, size in zip((0, 20), sizes, strict=False):
            remedied.loss(of.train.take(slice(start, start + size)), "audio").backward()
        remedied.before_step()
        found.append(remedied.remedy.projection)
    torch.testing.assert_close(*found)
    assert (found[0] - torch.eye(8) / 8**0.5).abs().max() > 0.01


def test_a_phase_without_its_modality_leaves_weights_as_they_are(problem):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of)
    rows = of.train.take(slice(0, 6))
    rows.masks["audio"] = torch.zeros(6, dtype=torch.bool)
    for _ in range(2):
        loss = remedied.loss(rows, "audio")
        loss.backward()
        remedied.before_step()
        assert loss.item() == 0
    assert all(v.grad is None or not v.grad.any() for v in remedied.parameters())
    torch.testing.assert_close(remedied.remedy.projection, torch.eye(8) / 8**0.5)


def test_it_predicts_by_the_weighted_outputs_of_the_head(problem):
    of = problem(3)
    remedied = remedied_of(of).eval()
    seen = Passage(remedied.view, of.valid, of.task)
    outputs = {n: remedied.remedy.head(seen.features(n)) for n in seen.modalities}
    weights = gating_weights(outputs, {n: seen.present(n) for n in outputs})
    wanted = sum(weights[n][:, None] * outputs[n] for n in outputs)
    torch.testing.assert_close(remedied(of.valid.inputs, of.valid.masks), wanted)
    assert remedied.finished() is remedied


def test_its_state_holds_head_projection_and_steps(problem):
    of = problem(2)
    model, _ = fit(
        of.build, of.train, of.valid, of.task, FitConfig(max_epochs=1, batch_size=22), remedy=MLA()
    )
    state = model.state_dict()
    assert state["remedy.steps"] == 4
    torch.testing.assert_close(state["remedy.projection"].norm(), torch.tensor(1.0))
    fresh = remedied_of(of)
    fresh.load_state_dict(state)
    assert fresh.remedy.head.weight.equal(model.remedy.head.weight)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_options_out_of_range_are_refused(decay):
    with pytest.raises(ValueError, match=rf"decay must be in \(0, 1\), got {decay}"):
        create_remedy("mla", decay=decay)
