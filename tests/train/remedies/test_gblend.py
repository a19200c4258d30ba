import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom import Batch, create_remedy
from fuseloom.train.flat import flat_parameters
from fuseloom.train.remedies import Course, Passage, Remedied
from fuseloom.train.remedies.gblend import GBlend, Trial, blend_weights, blended_loss, run_trial

FAST = Trial(train=(2.0, 1.0), valid=(2.1, 1.5))
SLOW = Trial(train=(2.0, 1.8), valid=(2.0, 1.9))
OVERFIT = Trial(train=(2.0, 0.5), valid=(2.0, 2.4))


def remedied_of(problem, **options):
    torch.manual_seed(0)
    return Remedied(problem.build(), GBlend(**{"super_epoch": 2, **options}), problem.task)


def test_weights_are_gains_over_squared_overfitting():
    ratios = {"a": 0.6 / (0.5 - 0.1) ** 2, "v": 0.1 / (0.1 - 0.0) ** 2}
    found = blend_weights({"a": FAST, "v": SLOW})
    for name, ratio in ratios.items():
        assert found[name] == pytest.approx(ratio / sum(ratios.values()))


def test_a_branch_that_does_not_generalise_gets_its_even_share_only():
    trials = {"a": FAST, "v": OVERFIT}
    assert blend_weights(trials) == {"a": 1, "v": 0}
    assert blend_weights(trials, even=0.1) == pytest.approx({"a": 0.95, "v": 0.05})
    ratios = 0.6 / 0.4**2, 0.4 / 1.9**2
    assert blend_weights(trials, absolute=True)["v"] == pytest.approx(ratios[1] / sum(ratios))


@pytest.mark.parametrize("numbers", [(2.0, 2.5), (math.nan, math.nan), (2.0, math.inf)])
def test_where_none_generalises_all_weigh_the_same(numbers):
    trial = Trial(train=(2.0, 1.0), valid=numbers)
    assert blend_weights({"a": trial, "v": trial, "all": trial}) == dict.fromkeys(("a", "v", "all"), 1 / 3)


def test_no_overfitting_at_all_is_no_division_by_zero():
    perfect = Trial(train=(2.0, 1.0), valid=(2.0, 1.0))
    found = blend_weights({"a": perfect, "v": SLOW})
    assert found["a"] == pytest.approx(1, abs=1e-4)
    assert sum(found.values()) == pytest.approx(1)


def test_a_blend_is_a_weighted_sum():
    losses = {"a": torch.tensor(2.0), "v": torch.tensor(3.0)}
    assert blended_loss(losses, torch.tensor([0.25, 0.75])).item() == 0.25 * 2 + 0.75 * 3


@pytest.mark.parametrize("sums", [False, True])
def test_a_trial_notes_losses_behind_its_first_epoch_and_its_last(sums):
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
    twin, modes = copy.deepcopy(layer), []
    rows = Batch(inputs={"x": torch.randn(10, 3)}, target=torch.randn(10, 1))

    def parts(*starts):
        return lambda: [rows.take(slice(start, start + 4)) for start in starts]  # the last has two rows

    def loss_of(batch, net=layer):
        modes.append(net.training)
        return F.mse_loss(net[0](batch.inputs["x"]), batch.target)

    course = Course(
        epoch=0,
        num_steps=3,
        train=parts(0, 4, 8),
        valid=parts(4, 8),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    found = run_trial(loss_of, list(layer.parameters()), layer, course, epochs=3, sums=sums)
    assert modes == 3 * [True, True, True, False, False]
    wanted = {"train": [], "valid": []}
    for _ in range(3):
        for split, sizes in (("train", (4, 4, 2)), ("valid", (4, 2))):
            losses = []
            for batch, size in zip(getattr(course, split)(), sizes, strict=True):
                loss = loss_of(batch, twin)
                losses.append(loss.item() * (1 if sums else size / sum(sizes)))
                if split == "train":
                    grads = torch.autograd.grad(loss, list(twin.parameters()))
                    with torch.no_grad():
                        for value, grad in zip(twin.parameters(), grads, strict=True):
                            value -= 0.1 * grad
            wanted[split].append(sum(losses))
    assert found.train == pytest.approx((wanted["train"][0], wanted["train"][-1]), rel=1e-5)
    assert found.valid == pytest.approx((wanted["valid"][0], wanted["valid"][-1]), rel=1e-5)


def test_after_trials_everything_is_as_it_was_but_the_weights(problem):
    of = problem(2)
    remedied = remedied_of(of)
    remedied.model.register_module("norm", nn.BatchNorm1d(2))
    with flat_parameters(remedied) as whole:
        remedied.loss(of.train).backward()
        remedied.model.eval()
        before = {name: value.clone() for name, value in remedied.state_dict().items()}
        places = [value.data_ptr() for value in remedied.parameters()]
        gradients = [value.grad.data_ptr() for value in remedied.parameters()]
        state = torch.get_rng_state()
        remedied.start_epoch(of.course())
        assert torch.get_rng_state().equal(state)
        assert not remedied.model.training
        assert remedied.remedy.training
        changed = [n for n, value in remedied.state_dict().items() if not value.equal(before[n])]
        assert changed == ["remedy.weights"]
        assert [value.data_ptr() for value in remedied.parameters()] == places
        assert [value.grad.data_ptr() for value in remedied.parameters()] == gradients
        assert all(not value.grad.any() for value in (*remedied.parameters(), *whole))


def test_gradients_that_were_not_there_are_not_left_behind(problem):
    of = problem(2)
    remedied = remedied_of(of)
    remedied.start_epoch(of.course())
    assert all(value.grad is None for value in remedied.parameters())


def test_an_error_in_a_trial_puts_everything_back_too(problem):
    of = problem(2)
    remedied = remedied_of(of)
    before = {name: value.clone() for name, value in remedied.state_dict().items()}

    def broken():
        raise RuntimeError("no rows")

    with pytest.raises(RuntimeError, match="no rows"):
        remedied.start_epoch(replace(of.course(), valid=broken))
    assert all(value.equal(before[name]) for name, value in remedied.state_dict().items())


def naive_trial(remedied, problem, branch):
    """Two epochs of a copy."""
    twin = copy.deepcopy(remedied)
    course, found = problem.course(), []
    head, view = twin.remedy.heads, twin.view
    learner = twin.model if branch == "all" else nn.ModuleList([view.encoder(branch), head[branch]])
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.05)

    def loss_of(batch):
        outputs = twin.model(batch.inputs, batch.masks)
        if branch == "all":
            return F.cross_entropy(outputs, batch.target)
        streams, masks = twin.model.encode_alone(batch.inputs, batch.masks)
        there = masks.get(branch, torch.ones(len(batch), dtype=torch.bool))
        return F.cross_entropy(head[branch](streams[branch][there]), batch.target[there])

    for _ in range(2):
        sums = []
        for split in ("train", "valid"):
            total, rows = 0.0, 0
            for batch in getattr(course, split)():
                loss = loss_of(batch)
                total, rows = total + loss.item() * len(batch), rows + len(batch)
                if split == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            sums.append(total / rows)
        found.append(sums)
    return Trial(train=(found[0][0], found[1][0]), valid=(found[0][1], found[1][1]))


@pytest.mark.parametrize("count", [2, 3])
def test_weights_are_those_of_trials_of_copies(problem, count):
    of = problem(count, dropout=0.0)
    remedied = remedied_of(of)
    branches = (*remedied.view.modalities, "all")
    wanted = blend_weights({b: naive_trial(remedied, of, b) for b in branches}, even=0.1)
    remedied.start_epoch(of.course())
    found = dict(zip(branches, remedied.remedy.weights.tolist(), strict=True))
    assert found == pytest.approx(wanted, rel=1e-2)
    assert len({round(weight, 4) for weight in found.values()}) > 1


def test_trials_stand_before_every_few_epochs(problem):
    of = problem(2)
    remedied = remedied_of(of, super_epoch=3)
    changed = []
    for epoch in range(5):
        remedied.remedy.weights.fill_(0.5)
        remedied.start_epoch(of.course(epoch))
        changed.append(not (remedied.remedy.weights == 0.5).all().item())
    assert changed == [True, False, False, True, False]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_loss_blends_heads_and_model(problem, task):
    of = problem(2, task=task, dropout=0.0)
    remedied = remedied_of(of)
    remedied.remedy.weights.copy_(torch.tensor([0.2, 0.3, 0.5]))
    rows = replace(of.train, target=of.train.target.flatten())
    seen, error = Passage(remedied.view, rows, of.task), {}
    for name, head in remedied.remedy.heads.items():
        there = seen.present(name)
        error[name] = of.task.loss(head(seen.features(name)[there]), rows.target[there])
    wanted = 0.2 * error["text"] + 0.3 * error["audio"] + 0.5 * seen.loss
    torch.testing.assert_close(remedied.loss(rows), wanted)


def test_until_a_trial_all_branches_weigh_the_same(problem):
    assert remedied_of(problem(3)).remedy.weights.tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("name", ["train", "valid", "optimizer"])
def test_it_needs_rows_and_an_optimizer(problem, name):
    of = problem(2)
    with pytest.raises(ValueError, match=rf"{name} of the Course must be given for GBlend, got None\. Bra"):
        remedied_of(of).start_epoch(replace(of.course(), **{name: None}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"super_epoch": 1}, r"super_epoch must be 2 or more, to see losses change, got 1"),
        ({"even": 1.5}, r"even must be in \[0, 1\], got 1.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_remedy("gblend", **options)


def test_processes_share_their_gradients_in_trials(problem, monkeypatch):
    of = problem(2, dropout=0.0)
    remedied = remedied_of(of)

    def cancel(parameters, group):
        assert group == "all of us"
        for parameter in parameters:
            parameter.grad.zero_()

    # As if the other processes had the opposite gradients: nobody learns, so no branch is better.
    monkeypatch.setattr("fuseloom.train.remedies.gblend.average_gradients", cancel)
    remedied.remedy.group = "all of us"
    remedied.remedy.summed = lambda values: 2 * values
    remedied.remedy.start_epoch(remedied.view, of.course())
    assert remedied.remedy.weights.tolist() == pytest.approx([1 / 3] * 3)
