import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom import Batch
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import OptionError
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Passage, Remedied, view_of
from fuseloom.train.remedies.uniform_loss import UniformLoss

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4, "video": 3}


def model_of(names, *, outputs=3):
    torch.manual_seed(0)
    encoders = {name: EmbeddingEncoder(WIDTHS[name], dim=5, dropout=0.0) for name in names}
    return FusionModel(encoders, Concat(dict.fromkeys(names, 5), outputs), nn.Identity())


def rows_of(names):
    generator = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(30, WIDTHS[name], generator=generator) for name in names}
    return Batch(inputs=inputs, target=torch.randint(3, (30,), generator=generator))


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("names", [("text", "audio"), tuple(WIDTHS)])
def test_the_loss_is_that_of_all_and_of_a_head_on_each(names, weight):
    model, batch = model_of(names), rows_of(names)
    remedy = UniformLoss(weight=weight)
    remedied = Remedied(model, remedy, TASK)
    wanted = F.cross_entropy(model(batch.inputs), batch.target)
    for name in names:
        head, (features, _) = remedy.heads[name], model.encoders[name](batch.inputs[name])
        wanted = wanted + weight * F.cross_entropy(features @ head.weight.T + head.bias, batch.target)
    torch.testing.assert_close(remedied.loss(batch), wanted)


def test_an_encoder_learns_by_its_own_head_even_if_the_model_ignores_it():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names)
    with torch.no_grad():
        model.merge.weight["audio"].zero_()
    Passage(view_of(model), batch, TASK).loss.backward()
    assert all(value.grad.abs().sum() == 0 for value in model.encoders["audio"].parameters())
    remedied = Remedied(model, UniformLoss(), TASK)
    remedied.loss(batch).backward()
    assert all(value.grad.abs().sum() > 0 for value in model.encoders["audio"].parameters())
    assert all(value.grad.abs().sum() > 0 for value in remedied.remedy.parameters())


def test_the_model_that_comes_out_is_a_plain_one_and_knows_more_of_each_modality(problem):
    made = problem()
    build, train, valid, task = made.build, made.train, made.valid, made.task
    config = FitConfig(max_epochs=3, lr=1e-2)
    plain, _ = fit(build, train, valid, task, config)
    trained, _ = fit(build, train, valid, task, config, remedy=UniformLoss())
    assert type(trained) is type(plain)
    assert trained.state_dict().keys() == plain.state_dict().keys()
    assert any(not value.equal(plain.state_dict()[name]) for name, value in trained.state_dict().items())


def test_heads_are_as_wide_as_the_task():
    names = ("text", "audio")
    batch = rows_of(names)
    target = torch.randn(30, generator=torch.Generator().manual_seed(2))
    task = Regression.learn(target.numpy())
    model = model_of(names, outputs=1)
    remedied = Remedied(model, UniformLoss(), task)
    rows = Batch(inputs=batch.inputs, target=target)
    alone = [remedied.remedy.heads[n](model.encoders[n](batch.inputs[n])[0]) for n in names]
    wanted = sum((task.loss(outputs, target) for outputs in alone), task.loss(model(batch.inputs), target))
    torch.testing.assert_close(remedied.loss(rows), wanted)


@pytest.mark.parametrize("weight", [0, -1])
def test_a_weight_that_is_not_positive_is_refused(weight):
    with pytest.raises(OptionError, match=f"weight must be positive, got {weight}."):
        UniformLoss(weight=weight)
