"""What every remedy owes: each clause runs for each name of the registry."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from fuseloom import Batch, list_remedies
from fuseloom.errors import FuseloomError, ModalityError, OptionError
from fuseloom.registry import lookup
from fuseloom.train.fit import FitConfig, fit, predict_outputs
from fuseloom.train.remedies import Remedied

REMEDIES = list_remedies()
CONFIG = FitConfig(max_epochs=4, lr=2e-2, batch_size=16)
BASELINES = {"uniform_loss"}
"""Without a paper of their own."""
LINEAR = ["ogm", "rolling_query", "uniform_loss"]
"""Whose gradient of a batch is the mean of those of its halves."""

every_remedy = pytest.mark.parametrize("name", REMEDIES)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.equal(second[name]), name


def finite(module):
    return all(value.isfinite().all() for value in module.state_dict().values() if value.is_floating_point())


def run(problem, name, *, config=CONFIG, **options):
    return fit(problem.build, problem.train, problem.valid, problem.task, config, **options)


def mean_loss(problem, model):
    outputs = torch.from_numpy(predict_outputs(model, problem.valid))
    return float(problem.task.loss(outputs, problem.valid.target))


@every_remedy
@pytest.mark.parametrize("kind", ["embedding", "projection"])
@pytest.mark.parametrize("count", [2, 3])
def test_it_trains(problem_for, name, count, kind):
    fusion = "attention_pool" if kind == "projection" else "concat"
    problem = problem_for(name, count, kind=kind, fusion=fusion, rows=90)
    if problem is None:
        with pytest.raises(ModalityError, match="must have 2 modalities"):
            problem_for(name, 2).remedied(name, encoders=problem_for("ogm", count).config.encoders)
        return
    untrained, _ = run(problem, name, config=replace(CONFIG, lr=1e-12), remedy=problem.remedy(name))
    model, result = run(problem, name, config=replace(CONFIG, max_epochs=8), remedy=problem.remedy(name))
    assert all(math.isfinite(loss) for losses in result.curve for loss in losses)
    assert mean_loss(problem, model) < mean_loss(problem, untrained)
    assert finite(model)


@every_remedy
def test_equal_seeds_give_equal_weights(problem_for, name):
    problem = problem_for(name)
    first, second = (
        run(problem, name, config=replace(CONFIG, max_epochs=2), remedy=seeded_remedy(problem, name))[0]
        for _ in range(2)
    )
    assert_same(state_of(first), state_of(second))


def seeded_remedy(problem, name):
    torch.manual_seed(7)
    return problem.remedy(name)


@every_remedy
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(tmp_path, problem_for, name):
    problem, path = problem_for(name), tmp_path / "state.safetensors"
    whole, wanted = run(problem, name, remedy=seeded_remedy(problem, name))
    for epochs in (1, 3, 4):
        config = replace(CONFIG, max_epochs=epochs, planned_epochs=4)
        model, result = run(problem, name, config=config, remedy=seeded_remedy(problem, name), state=path)
    assert_same(state_of(whole), state_of(model))
    assert result.curve == wanted.curve


def plain(value):
    return isinstance(value, bool | int | float | str | tuple | type(None))


def look_of(model):
    """Everything in a model but the values of its weights."""
    look = {}
    for path, part in model.named_modules():
        own = vars(part)
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            assert not own[name], f"{path}: {name}"
        look[path] = type(part), sorted(own), {name: value for name, value in own.items() if plain(value)}
    for path, parameter in model.named_parameters():
        assert not parameter._backward_hooks, path
        look[path] = parameter.shape, parameter.dtype, parameter.requires_grad
    return look | {path: buffer.shape for path, buffer in model.named_buffers()}


@every_remedy
@pytest.mark.parametrize("kind", ["embedding", "projection"])
def test_it_leaves_nothing_in_the_model_but_weights(problem_for, name, kind):
    problem = problem_for(name, kind=kind)
    model = problem.build().train()
    before, weights = look_of(model), state_of(model)
    remedied = Remedied(model, problem.remedy(name), problem.task)
    problem.learn(remedied, epochs=2)
    assert remedied.released() is (remedied if "outputs" in remedied.remedy.card.touches else model)
    assert look_of(model) == before
    assert any(not value.equal(weights[path]) for path, value in model.state_dict().items())


@every_remedy
def test_gradients_of_several_batches_accumulate(problem_for, name):
    problem = problem_for(name, rows=16, dropout=0.0)
    problem = replace(problem, train=replace(problem.train, masks={}))
    found = []
    for parts in (1, 2):
        remedied = problem.remedied(name)
        remedied.start_epoch(replace(problem.course(), num_steps=parts))
        size = len(problem.train) // parts
        optimizer = torch.optim.SGD(remedied.parameters(), lr=0.1)
        for phase in remedied.phases:
            for place in range(parts):
                rows = problem.train.take(slice(place * size, (place + 1) * size))
                (remedied.loss(rows, phase) / parts).backward()
            remedied.before_step()
            optimizer.step()
            optimizer.zero_grad()
        remedied.end_epoch()
        assert finite(remedied)
        found.append({path: value.detach() for path, value in remedied.named_parameters()})
    if name in LINEAR:
        for path, value in found[0].items():
            torch.testing.assert_close(value, found[1][path], msg=path)


@every_remedy
def test_it_works_in_mixed_precision(problem_for, name):
    problem = problem_for(name, kind="projection")
    remedied = problem.remedied(name)
    before = state_of(remedied.model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = problem.learn(remedied, epochs=2)
    assert all(math.isfinite(loss) for loss in losses)
    assert finite(remedied)
    assert any(not value.equal(before[path]) for path, value in remedied.model.state_dict().items())


@every_remedy
def test_it_works_in_double_precision(problem_for, name):
    problem = problem_for(name)
    double = {path: value.double() for path, value in problem.train.inputs.items()}
    valid = {path: value.double() for path, value in problem.valid.inputs.items()}
    problem = replace(
        problem,
        train=replace(problem.train, inputs=double),
        valid=replace(problem.valid, inputs=valid),
    )
    torch.manual_seed(0)
    teachers_too = problem.remedy(name)
    remedied = Remedied(problem.build().double(), teachers_too, problem.task)
    assert all(math.isfinite(loss) for loss in problem.learn(remedied, epochs=2))
    assert {value.dtype for value in remedied.parameters()} == {torch.float64}


@every_remedy
def test_its_state_goes_into_a_fresh_one(tmp_path, problem_for, name):
    problem = problem_for(name)
    remedied = problem.remedied(name)
    problem.learn(remedied, epochs=2)
    torch.save(remedied.state_dict(), tmp_path / "state.pt")
    fresh = problem.remedied(name, seed=1)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same(state_of(remedied), state_of(fresh))
    first, second = (predict_outputs(one.finished(), problem.valid) for one in (remedied, fresh))
    assert (first == second).all()


@every_remedy
def test_a_trained_one_can_be_copied(problem_for, name):
    problem = problem_for(name)
    remedied = problem.remedied(name)
    problem.learn(remedied)
    twin = copy.deepcopy(remedied)
    assert twin.view is not remedied.view
    assert (predict_outputs(twin, problem.valid) == predict_outputs(remedied, problem.valid)).all()


@every_remedy
def test_what_it_predicts_is_what_the_model_says_unless_its_card_says_so(problem_for, name):
    problem = problem_for(name)
    remedied = problem.remedied(name)
    problem.learn(remedied)
    remedied.eval()
    rows = problem.valid
    own, models = remedied(rows.inputs, rows.masks), remedied.model(rows.inputs, rows.masks)
    assert own.shape == models.shape
    assert own.equal(models) == ("outputs" not in remedied.remedy.card.touches)
    alone = [remedied(row.inputs, row.masks) for row in (rows.take(slice(n, n + 1)) for n in range(4))]
    torch.testing.assert_close(own[:4], torch.cat(alone))


@every_remedy
@pytest.mark.parametrize("absent", [("audio",), ("text", "audio")])
def test_rows_of_which_nobody_has_a_modality_do_no_harm(problem_for, name, absent):
    problem = problem_for(name, rows=16)
    masks = {modality: torch.zeros(16, dtype=torch.bool) for modality in absent}
    problem = replace(problem, train=replace(problem.train, masks=masks))
    remedied = problem.remedied(name)
    assert all(math.isfinite(loss) for loss in problem.learn(remedied, epochs=2))
    assert finite(remedied)


@every_remedy
def test_a_last_batch_of_one_row_does_no_harm(problem_for, name):
    problem = problem_for(name, rows=17)
    remedied = problem.remedied(name)
    assert all(math.isfinite(loss) for loss in problem.learn(remedied, epochs=2))
    assert finite(remedied)


@every_remedy
def test_rows_that_all_weigh_one_count_as_rows_without_weights(problem_for, name):
    problem = problem_for(name, rows=24)
    weighed = replace(problem, train=replace(problem.train, extras={"weight": torch.ones(24)}))
    first, second = (problem.remedied(name) for _ in range(2))
    losses = []
    for given, remedied in ((problem, first), (weighed, second)):
        torch.manual_seed(1)
        losses.append(given.learn(remedied))
    torch.testing.assert_close(*losses)
    for path, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[path], msg=path)


@every_remedy
def test_it_steps_once_for_each_of_its_phases(problem_for, name):
    problem = problem_for(name, rows=16)
    remedied = problem.remedied(name)
    assert len(set(remedied.phases)) == len(remedied.phases) >= 1
    assert len(problem.learn(remedied)) == len(remedied.phases)
    assert remedied._step == 1
    assert (len(remedied.phases) > 1) <= ("order" in remedied.remedy.card.touches)


@every_remedy
def test_its_card_is_complete(name):
    cls = lookup(name, kind="remedy")
    card = cls.card
    assert cls.name == name
    assert cls.__module__.rpartition(".")[2] == name
    assert card.summary.endswith(".")
    assert len(card.summary) <= 100
    assert card.touches
    assert set(card.touches) <= {"gradients", "loss", "features", "order", "outputs"}
    assert card.cost
    assert not card.cost.endswith(".")
    known = {"classes", "encoders", "equal widths", "training rows", "validation rows", "teachers"}
    assert set(card.needs) <= known
    assert 2 == card.arity[0] <= (card.arity[1] or 2)
    assert bool(card.paper) == (name not in BASELINES)
    assert not card.code or card.code.startswith("https://")
    assert not card.differs or card.differs.endswith(".")


@every_remedy
def test_one_modality_is_refused(problem, problem_for, name):
    fusion = problem_for(name).config.fusion
    with pytest.raises(ModalityError, match=r"must have 2( or more| to \d+)? modalities, got \['text'\]"):
        problem(1, fusion=fusion).remedied(name)


@every_remedy
def test_a_task_without_classes_is_refused_or_learnt(problem_for, name):
    problem = problem_for(name, task="regression")
    if "classes" in lookup(name, kind="remedy").card.needs:
        with pytest.raises(OptionError, match=r"must have one class per row .*got the task 'regression'"):
            problem.remedied(name)
        return
    remedied = problem.remedied(name)
    losses = problem.learn(remedied, epochs=2)
    assert all(math.isfinite(loss) for loss in losses)
    assert finite(remedied)


@every_remedy
def test_frozen_encoders_are_refused_or_left_alone(problem_for, name):
    problem = problem_for(name)
    if "encoders" in lookup(name, kind="remedy").card.needs:
        with pytest.raises(OptionError, match=r"must have encoders to train, got none for \['audio'\]"):
            problem.remedied(name, frozen=["audio"])
        return
    remedied = problem.remedied(name, frozen=["audio"])
    before = state_of(remedied.model.encoders["audio"])
    problem.learn(remedied)
    assert_same(before, state_of(remedied.model.encoders["audio"]))


@every_remedy
def test_what_it_cannot_do_without_is_asked_for(problem_for, name):
    problem = problem_for(name)
    remedied = problem.remedied(name)
    needs = remedied.remedy.card.needs
    for need, rows in (("training rows", "train"), ("validation rows", "valid")):
        if need not in needs:
            continue
        with pytest.raises(FuseloomError, match=rows):
            some_epochs(remedied, replace(problem.course(), **{rows: None}), problem.train)


def some_epochs(remedied, course, batch):
    for epoch in range(3):
        remedied.start_epoch(replace(course, epoch=epoch))
        remedied.loss(batch)
        remedied.end_epoch()


@every_remedy
def test_rows_are_left_as_they_were(problem_for, name):
    problem = problem_for(name, rows=16)
    before = copy.deepcopy(problem.train)
    problem.learn(problem.remedied(name))
    assert isinstance(before, Batch)
    for kind in ("inputs", "masks"):
        assert_same(getattr(before, kind), getattr(problem.train, kind))
    assert before.target.equal(problem.train.target)
