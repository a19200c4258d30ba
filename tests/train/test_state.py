from dataclasses import replace

import pytest
import torch
from torch import nn

from fuseloom import Batch
from fuseloom.errors import OptionError, RunError
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.state import FitState, Progress

TASK = Classification(["a", "b"])
CONFIG = FitConfig(lr=0.01, max_epochs=9, batch_size=16, patience=30)


class _Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, inputs, masks=None, *, trace=None):
        return self.layers(inputs["x"])


def batch(seed):
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed))
    return Batch(inputs={"x": values}, target=(values[:, 0] > 0).long())


def run(config, state=None):
    return fit(_Model, batch(0), batch(1), TASK, config, state=state)


@pytest.mark.parametrize(
    "options", [{}, {"schedule": "cosine", "warmup": 0.3, "clip_norm": 0.0}, {"select": "metric"}]
)
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(tmp_path, options):
    config = replace(CONFIG, **options)
    whole, told = run(config)
    state = tmp_path / "run.state"
    for epochs in (1, 4, 9):
        model, result = run(replace(config, max_epochs=epochs, planned_epochs=9), state)
        assert result.epochs == epochs
    assert (result.curve, result.scores) == (told.curve, told.scores)
    assert result.valid_loss == told.valid_loss
    for name, value in whole.state_dict().items():
        assert value.equal(model.state_dict()[name])


def test_a_finished_run_is_not_trained_again(tmp_path):
    state = tmp_path / "run.state"
    first, result = run(CONFIG, state)
    again, same = run(CONFIG, state)
    assert same == result
    assert again.layers[0].weight.equal(first.layers[0].weight)


def test_patience_counts_over_the_break(tmp_path):
    state = tmp_path / "run.state"
    impatient = replace(CONFIG, max_epochs=300, patience=3, lr=0.1)
    stopped = run(impatient)[1].epochs
    assert 4 < stopped < 300
    run(replace(impatient, max_epochs=stopped - 1), state)
    assert run(impatient, state)[1].epochs == stopped


def test_a_state_survives_the_file(tmp_path):
    progress = Progress(epoch=2, waited=1, best=float("inf"), train_s=0.5, curve=((0.5, 0.75), (0.25, 1.0)))
    progress = replace(progress, scores=(0.25, 0.125))
    weights = {"a.b": torch.arange(3.0)}
    state = FitState(
        progress=progress,
        weights=weights,
        best_weights={"a.b": torch.ones(3)},
        averages={"0.step": torch.tensor(2.0)},
        generator=torch.get_rng_state(),
    )
    state.save(tmp_path / "run.state")
    found = FitState.load(tmp_path / "run.state")
    assert found.progress == progress
    assert found.weights["a.b"].equal(weights["a.b"])
    assert found.averages.keys() == {"0.step"}
    assert found.generator.equal(state.generator)
    assert [path.name for path in tmp_path.iterdir()] == ["run.state"]


def test_a_state_from_before_there_were_scores_is_read(tmp_path):
    path = tmp_path / "run.state"
    progress = Progress().after((0.5, 0.75), 1.0)
    FitState(progress=progress, weights={}, best_weights={}, averages={}, generator=torch.ones(1)).save(path)
    path.write_bytes(path.read_bytes().replace(b', \\"scores\\": []', b" " * 16))
    assert b"scores" not in path.read_bytes()
    assert FitState.load(path).progress == progress


@pytest.mark.parametrize(("higher_is_better", "waited"), [(True, 1), (False, 0)])
def test_a_metric_says_which_epoch_is_better_by_its_own_direction(higher_is_better, waited):
    progress = Progress()
    for loss, score in ((0.75, float("nan")), (0.5, 0.5), (0.25, 0.25)):
        progress = progress.after((1.0, loss), 1.0, score=score, higher_is_better=higher_is_better)
    assert progress.waited == waited
    assert progress.best == (0.5 if higher_is_better else 0.25)


def test_of_equal_scores_the_one_of_the_lower_loss_is_better():
    progress = Progress()
    for loss, score in ((0.75, 0.5), (0.5, 0.5), (0.625, 0.5), (0.25, 0.25)):
        progress = progress.after((1.0, loss), 1.0, score=score)
    assert (progress.best, progress.waited) == (0.5, 2)


def test_a_damaged_state_is_refused(tmp_path):
    path = tmp_path / "run.state"
    run(replace(CONFIG, max_epochs=1), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"run\.state must be the state of a training run"):
        run(CONFIG, path)


def test_stages_leave_no_state(tmp_path):
    with pytest.raises(OptionError, match="state must be None where sequential is True"):
        run(replace(CONFIG, sequential=True), tmp_path / "run.state")
