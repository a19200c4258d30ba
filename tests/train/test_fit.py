import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fuseloom import Batch
from fuseloom.diagnose.reliance import hide
from fuseloom.errors import OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train import fit as fit_module
from fuseloom.train.fit import (
    FitConfig,
    exact_outputs,
    fit,
    make_optimizer,
    one_thread,
    predict_outputs,
)
from fuseloom.train.step import clip_gradients, training_loss, training_step

TASK = Classification(["a", "b"])


class _Model(nn.Module):
    def __init__(self, auxiliary=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))
        self.auxiliary = auxiliary

    def forward(self, inputs, masks=None, *, trace=None):
        if trace is not None:
            trace.loss("auxiliary", torch.tensor(self.auxiliary))
        return self.layers(inputs["x"])


def batch(count=40, seed=0):
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return Batch(inputs={"x": values}, target=(values[:, 0] > 0).long())


def train(seed=0, **options):
    config = FitConfig(seed=seed, lr=0.01, max_epochs=5, batch_size=16, **options)
    return fit(_Model, batch(), batch(seed=1), TASK, config)


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    one, two, other = train(0)[0], train(0)[0], train(1)[0]
    assert torch.get_rng_state().equal(state)
    for name, value in one.state_dict().items():
        assert value.equal(two.state_dict()[name])
    assert not one.layers[0].weight.equal(other.layers[0].weight)


def test_the_model_holds_the_weights_of_the_best_epoch():
    model, result = train()
    rows = batch(seed=1)
    outputs = torch.from_numpy(predict_outputs(model, rows))
    assert TASK.loss(outputs, rows.target).item() == pytest.approx(result.valid_loss)
    assert not model.training


def test_training_stops_when_validation_gets_no_better():
    noise = Batch(inputs=batch(seed=1).inputs, target=torch.randint(2, (40,)))
    config = FitConfig(lr=0.05, max_epochs=300, patience=3)
    _, result = fit(_Model, batch(), noise, TASK, config)
    assert result.epochs < 300


def overconfident(select, patience=99):
    """A run whose loss rises on validation rows of wrong targets while its accuracy still grows."""
    rows = batch(seed=1)
    valid = replace(rows, target=torch.where(torch.arange(40) % 4 == 0, 1 - rows.target, rows.target))
    config = FitConfig(lr=0.02, max_epochs=40, batch_size=16, select=select, patience=patience)
    model, told = fit(_Model, batch(), valid, TASK, config)
    accuracy = (predict_outputs(model, valid).argmax(1) == valid.target.numpy()).mean()
    return told, accuracy


def test_the_metric_may_say_which_epoch_is_the_best():
    (told, accuracy), (by_loss, lower) = overconfident("metric"), overconfident("loss")
    assert accuracy == max(told.scores) > lower
    assert told.valid_loss == told.curve[told.scores.index(accuracy)][1] > by_loss.valid_loss
    assert (told.curve, by_loss.scores) == (by_loss.curve, ())


def test_patience_waits_for_what_says_which_epoch_is_the_best():
    (told, accuracy), (by_loss, _) = (overconfident(select, patience=6) for select in ("metric", "loss"))
    assert told.epochs == told.scores.index(accuracy) + 1 + 6
    assert told.epochs != by_loss.epochs


def test_a_run_that_diverges_ends():
    broken = Batch(inputs={"x": torch.full((8, 3), torch.nan)}, target=torch.zeros(8, dtype=torch.long))
    for select in ("loss", "metric"):
        model, result = fit(_Model, broken, broken, TASK, FitConfig(patience=2, select=select))
        assert result.epochs == 2
        assert result.valid_loss == float("inf")
        assert not any(value.isnan().any() for value in model.parameters())


def test_exact_outputs_of_a_row_do_not_depend_on_the_others_or_their_order():
    model = _Model()
    rows = batch(300)
    every, order = exact_outputs(model, rows), torch.randperm(300)
    assert every.dtype == np.float64
    np.testing.assert_allclose(exact_outputs(model, rows.take(order)), every[order], rtol=1e-12)
    np.testing.assert_allclose(exact_outputs(model, rows.take(slice(7, 8))), every[7:8], rtol=1e-12)
    np.testing.assert_allclose(predict_outputs(model, rows), every, rtol=1e-4, atol=1e-5)


def test_predicting_leaves_the_model_as_it_was():
    model = _Model()
    exact_outputs(model, batch())
    predict_outputs(model, batch())
    assert model.training
    assert model.layers[0].weight.dtype == torch.float32


def test_auxiliary_losses_are_part_of_the_training_loss():
    rows, model = batch(), _Model().eval()
    alone = training_loss(model, rows, TASK)
    model.auxiliary = 3.0
    torch.testing.assert_close(training_loss(model, rows, TASK), alone + 3)


def test_further_predictions_and_feedback_are_part_of_the_training_loss():
    class Model(nn.Module):
        def forward(self, inputs, masks=None, *, trace=None):
            trace.prediction("lower", 2 * inputs["x"])
            trace.feedback("gate", lambda losses: 10 * losses.max())
            return inputs["x"]

    rows = Batch(inputs={"x": torch.randn(4, 2, requires_grad=True)}, target=torch.tensor([0, 1, 1, 0]))
    outputs = rows.inputs["x"]
    wanted = TASK.loss(outputs, rows.target) + TASK.loss(2 * outputs, rows.target)
    heard = TASK.losses(outputs, rows.target).detach().max()
    loss = training_loss(Model(), rows, TASK)
    torch.testing.assert_close(loss, wanted + 10 * heard)
    (gradient,) = torch.autograd.grad(loss, outputs, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, outputs)[0])


class _Staged(nn.Module):
    """Two weights, of which the second is fitted on what the first leaves, behind an encoder."""

    num_stages = 2

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)
        self.stage = None

    def focus(self, stage):
        self.stage = stage
        self.first.requires_grad_(stage != 1)
        self.second.requires_grad_(stage != 0)

    def forward(self, values):
        return self.first(values) + (0 if self.stage == 0 else self.second(values))


class _Sequential(nn.Module):
    def __init__(self, log=None):
        super().__init__()
        self.encoder, self.staged, self.log = nn.Linear(3, 3), _Staged(), log

    def forward(self, inputs, masks=None, *, trace=None):
        if self.training:
            trained = {name for name, value in self.named_parameters() if value.requires_grad}
            self.log.append((self.staged.stage, trained))
        return self.staged(self.encoder(inputs["x"]))


def test_stages_are_fitted_one_after_another():
    log = []
    config = FitConfig(lr=0.01, max_epochs=3, batch_size=16, sequential=True)
    model, result = fit(lambda: _Sequential(log), batch(), batch(seed=1), TASK, config)
    encoder, first, second = (
        {f"{part}.weight", f"{part}.bias"} for part in ("encoder", "staged.first", "staged.second")
    )
    stages = [stage for stage, _ in log]
    assert stages == sorted(stages)
    assert {frozenset(names) for stage, names in log if stage == 0} == {frozenset(encoder | first)}
    assert {frozenset(names) for stage, names in log if stage == 1} == {frozenset(second)}
    assert result.epochs == 6
    assert model.staged.stage is None
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_without_stages_is_not_fitted_in_stages():
    with pytest.raises(OptionError, match="sequential must be False for a model without stages"):
        train(sequential=True)


def test_a_step_clips_the_gradient():
    model = _Model()
    before = model.layers[3].bias.detach().clone()
    training_step(model, batch(), TASK, torch.optim.SGD(model.parameters(), lr=1.0), clip_norm=1e-3)
    assert 0 < (model.layers[3].bias - before).norm() <= 1e-3


def test_a_norm_of_zero_leaves_the_gradient_as_it_is():
    rows, model = batch(), _Model().eval()
    loss = training_loss(model, rows, TASK)
    wanted = torch.autograd.grad(100 * loss, model.layers[3].bias)[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.layers[3].bias.detach().clone()
    (100 * training_loss(model, rows, TASK)).backward()
    clip_gradients(optimizer, clip_norm=0.0)
    optimizer.step()
    torch.testing.assert_close(before - model.layers[3].bias, wanted)
    assert wanted.norm() > 1


def steps_of(monkeypatch, config):
    """The learning rates of a run's steps."""
    rates = []

    def step(model, rows, task, optimizer, **options):
        rates.append(optimizer.param_groups[0]["lr"])
        return training_step(model, rows, task, optimizer, **options)

    monkeypatch.setattr(fit_module, "training_step", step)
    fit(_Model, batch(), batch(seed=1), TASK, config)
    return rates


def test_the_learning_rate_of_each_step_follows_the_schedule(monkeypatch):
    config = FitConfig(lr=0.1, max_epochs=2, batch_size=10, schedule="linear", warmup=0.25)
    shares = [0.5, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert steps_of(monkeypatch, config) == pytest.approx([0.1 * share for share in shares])


def test_a_warm_up_may_begin_anywhere_and_take_a_part_of_the_fall(monkeypatch):
    config = FitConfig(lr=0.1, max_epochs=2, batch_size=10, schedule="poly", power=2.0, warmup=0.25)
    shares = [0.2, 0.6] + [((8 - step) / 8) ** 2 for step in range(2, 8)]
    found = steps_of(monkeypatch, replace(config, warmup_from=0.2, fall_from="start"))
    assert found == pytest.approx([0.1 * share for share in shares])


def test_a_run_planned_for_longer_begins_as_the_longer_one(monkeypatch):
    long = FitConfig(lr=0.1, max_epochs=4, batch_size=10, schedule="cosine", warmup=0.1)
    short = replace(long, max_epochs=2, planned_epochs=4)
    assert steps_of(monkeypatch, short) == steps_of(monkeypatch, long)[:8]


def test_one_thread_gives_the_threads_back():
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize(("rows", "size"), [(10, 32), (192, 32), (1149, 192), (1200, 200), (10**6, 512)])
def test_steps_grow_with_the_rows(rows, size):
    assert FitConfig().rows_per_step(rows) == size
    assert FitConfig(batch_size=7).rows_per_step(rows) == 7


@pytest.mark.parametrize("option", ["lr", "batch_size", "max_epochs", "patience", "power"])
def test_settings_must_be_positive(option):
    with pytest.raises(OptionError, match=f"{option} must be positive, got 0"):
        FitConfig(**{option: 0})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("class_weight", "equal", r"class_weight must be 'none' or 'balanced', got 'equal'"),
        ("modality_dropout", 1.0, r"modality_dropout must be in \[0, 1\), got 1\.0"),
        ("modality_dropout", -0.1, r"modality_dropout must be in \[0, 1\), got -0\.1"),
        ("schedule", "step", r"schedule must be 'constant', 'cosine', 'linear' or 'poly', got 'step'"),
        ("select", "score", r"select must be 'loss' or 'metric', got 'score'"),
        ("warmup", 1.5, r"warmup must be in \[0, 1\], got 1\.5"),
        ("clip_norm", -1.0, r"clip_norm must not be negative, got -1\.0"),
        ("clip_norm", float("nan"), r"clip_norm must not be negative, got nan"),
        ("warmup_from", -0.1, r"warmup_from must be in \[0, 1\], got -0\.1"),
        ("fall_from", "end", r"fall_from must be 'peak' or 'start', got 'end'"),
        ("rates", {"head": 0}, "rates must be positive, got 0 for 'head'"),
        ("no_decay", {"head": "norm"}, r"no_decay must be one of \['all', .*\], got 'norm' for 'head'"),
        ("planned_epochs", 99, r"planned_epochs must be max_epochs, 100, or more, got 99"),
    ],
)
def test_settings_of_what_is_learnt_from_must_be_known(option, value, message):
    with pytest.raises(OptionError, match=message):
        FitConfig(**{option: value})


def test_balanced_classes_weigh_alike_in_training_and_validation():
    rows = batch(200)
    rare = Batch(inputs=rows.inputs, target=(rows.inputs["x"][:, 0] > 1.5).long())
    config = FitConfig(lr=0.01, max_epochs=30, class_weight="balanced")
    model, result = fit(_Model, rare, rare, TASK, config)
    outputs = torch.from_numpy(predict_outputs(model, rare))
    each = TASK.losses(outputs, rare.target)
    balanced = (each[rare.target == 0].mean() + each[rare.target == 1].mean()) / 2
    assert result.valid_loss == pytest.approx(balanced.item(), rel=1e-5)
    plain, _ = fit(_Model, rare, rare, TASK, FitConfig(lr=0.01, max_epochs=30))
    found = [predict_outputs(one, rare).argmax(1)[rare.target == 1].mean() for one in (model, plain)]
    assert found[0] > found[1]


def test_with_modality_dropout_a_model_does_without_the_modality_it_would_lean_on():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, 1, generator=generator)
    inputs = {n: values + s * torch.randn(200, 1, generator=generator) for n, s in (("a", 0.1), ("b", 0.5))}
    rows = Batch(inputs=inputs, target=(values[:, 0] > 0).long())
    encoders = {name: {"kind": "identity", "in_dim": 1} for name in "ab"}
    config = ModelConfig(encoders=encoders, fusion="mlp", dim=16, dropout=0.0)
    losses = {}
    for p in (0.0, 0.4):
        settings = FitConfig(lr=0.03, max_epochs=30, modality_dropout=p)
        model, _ = fit(lambda: build_model(config, TASK), rows, rows, TASK, settings)
        outputs = torch.from_numpy(predict_outputs(model, hide(rows, "a")))
        losses[p] = TASK.loss(outputs, rows.target).item()
    assert losses[0.4] < 0.8 * losses[0.0]


def recorded(look, **options):
    config = FitConfig(lr=0.01, max_epochs=5, batch_size=16, modality_dropout=0.2, **options)
    return fit(_Model, batch(), batch(seed=1), TASK, config, after_epoch=look)


def test_a_look_after_each_epoch_changes_no_number():
    plain, told = recorded(None)
    seen = []

    def look(model):
        assert model.training
        torch.rand(7), np.random.rand(), random.random()  # noqa: NPY002
        outputs = torch.from_numpy(predict_outputs(model, batch(seed=1)))
        seen.append(float(TASK.loss(outputs, batch(seed=1).target)))

    watched, also_told = recorded(look)
    for name, value in plain.state_dict().items():
        assert value.equal(watched.state_dict()[name])
    assert replace(told, train_s=0.0) == replace(also_told, train_s=0.0)
    assert seen == [valid for _, valid in told.curve]  # as it stood when it was validated


def test_a_run_that_goes_on_is_looked_at_from_there_on(tmp_path):
    def looks(epochs, state):
        seen = []
        config = FitConfig(lr=0.01, max_epochs=epochs, planned_epochs=5, batch_size=16)
        rows = batch(), batch(seed=1), TASK
        fit(
            _Model, *rows, config, state=state, after_epoch=lambda m: seen.append(m.layers[0].weight.tolist())
        )
        return seen

    state, whole = tmp_path / "state", looks(5, None)
    assert [*looks(2, state), *looks(5, state)] == whole
    assert len(whole) == 5
    assert looks(5, state) == []


def test_every_epoch_of_every_stage_is_looked_at():
    stages = []
    config = FitConfig(lr=0.01, max_epochs=3, batch_size=16, sequential=True)
    fit(
        lambda: _Sequential([]),
        batch(),
        batch(seed=1),
        TASK,
        config,
        after_epoch=lambda model: stages.append(model.staged.stage),
    )
    assert stages == [0, 0, 0, 1, 1, 1]


def test_gradient_descent_has_the_momentum_of_torch():
    settings = FitConfig(optimizer="sgd", lr=0.1, weight_decay=0.0)
    found = make_optimizer([nn.Parameter(torch.ones(2))], settings)
    assert isinstance(found, torch.optim.SGD)
    assert found.param_groups[0]["momentum"] == 0.9
    with pytest.raises(OptionError, match="optimizer must be 'adamw' or 'sgd', got 'adam'"):
        FitConfig(optimizer="adam")


def test_gradient_descent_goes_on_where_it_stood(tmp_path):
    rows = tuple(Batch(inputs={"x": torch.randn(64, 2)}, target=torch.arange(64) % 2) for _ in range(2))
    settings = FitConfig(optimizer="sgd", lr=0.1, max_epochs=4, batch_size=16)

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs, masks=None, *, trace=None):
            return self.layer(inputs["x"])

    task, state = Classification(["a", "b"]), tmp_path / "state"
    whole, _ = fit(Linear, *rows, task, settings)
    fit(Linear, *rows, task, replace(settings, max_epochs=2, planned_epochs=4), state=state)
    parts, _ = fit(Linear, *rows, task, settings, state=state)
    torch.testing.assert_close(parts.layer.weight, whole.layer.weight, rtol=0, atol=0)
