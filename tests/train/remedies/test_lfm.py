import math

import numpy as np
import pytest
import torch
from torch import nn

from fuseloom import Batch
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import DataError, OptionError
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Course, Passage, Remedied, view_of
from fuseloom.train.remedies.lfm import LFM, alignment, curvature_along, fitted_share

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4, "video": 3}


def model_of(names, dropout=0.0):
    torch.manual_seed(0)
    encoders = {name: EmbeddingEncoder(WIDTHS[name], dim=5, dropout=dropout) for name in names}
    return FusionModel(encoders, Concat(dict.fromkeys(names, 5), 3), nn.Identity())


def rows_of(names, *, absent=True, count=40):
    generator = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(count, WIDTHS[name], generator=generator) for name in names}
    masks = {name: torch.rand(count, generator=generator) > 0.4 for name in names} if absent else {}
    return Batch(inputs=inputs, masks=masks, target=torch.randint(3, (count,), generator=generator))


def apart(first, second):
    """Half the sum of both Kullback-Leibler divergences from the mean of two rows of probabilities."""
    p, q = (np.exp(np.array(z)) / np.exp(np.array(z)).sum() for z in (first, second))
    middle = (p + q) / 2
    return 0.5 * float((middle * np.log(middle / p)).sum() + (middle * np.log(middle / q)).sum())


@pytest.mark.parametrize("epoch", [0, 30, 199])
@pytest.mark.parametrize("names", [("text", "audio"), tuple(WIDTHS)])
def test_the_loss_is_that_of_the_rule_row_by_row(names, epoch):
    model, batch = model_of(names), rows_of(names)
    seen = Passage(view_of(model), batch, TASK)
    split, pairs = seen.split(), []
    for place, m in enumerate(names):
        for n in names[place + 1 :]:
            both = (batch.masks[m] & batch.masks[n]).nonzero().flatten().tolist()
            pairs.append(np.mean([apart(split[m][i].tolist(), split[n][i].tolist()) for i in both]))
    remedied = Remedied(model, LFM(), TASK)
    remedied.start_epoch(Course(epoch=epoch, num_steps=1))
    share = fitted_share(epoch)
    wanted = 2 * (share * seen.loss.item() + (1 - share) * np.mean(pairs))
    assert remedied.loss(batch).item() == pytest.approx(wanted, rel=1e-5)


def test_alignment_is_zero_for_equal_beliefs_only_and_survives_certainty():
    torch.manual_seed(0)
    first, second = torch.randn(20, 4), torch.randn(20, 4)
    assert (alignment(first, second) > 1e-3).all()
    torch.testing.assert_close(alignment(first, first + 3), torch.zeros(20), atol=1e-6, rtol=0)
    torch.testing.assert_close(alignment(first, second), alignment(second, first))
    sure = torch.tensor([[1e4, 0.0]], requires_grad=True)
    apart = alignment(sure, torch.tensor([[0.0, 1e4]]))
    apart.sum().backward()
    assert apart.isfinite().all()
    assert sure.grad.isfinite().all()


def test_the_fitted_share_is_stretched_to_the_run_and_held_behind_it():
    shares = [LFM(epochs=50).share(epoch).item() for epoch in (0, 25, 49, 50, 500)]
    wanted = [fitted_share(epoch) for epoch in (0, 100, 196, 200, 200)]
    assert shares == pytest.approx(wanted, rel=1e-5)
    assert all(0.2 < fitted_share(epoch) <= 1 for epoch in range(201))


def test_curvature_is_a_row_of_blocks_of_the_hessian_times_the_gradient():
    torch.manual_seed(0)
    values = [torch.randn(3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)]
    mix = torch.randn(5, 5, dtype=torch.float64)

    def loss(flat):
        return (mix @ flat).tanh().square().sum() + flat.prod()

    def other(flat):
        return (flat**3).sum() * flat[0]

    whole = torch.cat(values)
    wanted = torch.autograd.functional.hessian(loss, whole) @ torch.func.grad(other)(whole)
    first, second = (value.clone().requires_grad_() for value in values)
    flat = torch.cat([first, second])
    found = [curvature_along(loss(flat), other(flat), order) for order in ([first, second], [second, first])]
    torch.testing.assert_close(torch.cat(found), wanted)


def test_curvature_at_a_parameter_that_neither_loss_reads_is_zero():
    used, idle = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    loss = (used**3).sum()
    assert curvature_along(loss, loss, [idle, used]).equal(torch.zeros(3))


def test_the_learnt_share_moves_by_the_mean_curvature_once_an_epoch_and_its_rate_halves():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names)
    remedy = LFM(learned=True, lr=0.5)
    remedied = Remedied(model, remedy, TASK)
    assert remedy.share(7).item() == pytest.approx(0.95)
    remedy.aligned.fill_(0.5)
    for epoch, rate in ((3, 0.5), (25, 0.25), (40, 0.125)):
        seen = Passage(view_of(model), batch, TASK)
        mixed = remedy.share(epoch) * seen.loss + remedy.aligned * remedy.gap(seen)
        step = curvature_along(mixed, seen.loss, list(model.parameters())).mean().item()
        before = remedy.aligned.item()
        remedied.start_epoch(Course(epoch=epoch, num_steps=1, valid=lambda: iter([batch])))
        assert abs(step) > 1e-5
        assert remedy.aligned.item() - before == pytest.approx(-rate * step, abs=1e-6)
        assert remedy.share(epoch).item() == pytest.approx(1 - remedy.aligned.item())


@pytest.mark.parametrize(("curvature", "limit"), [(-1e9, 0.95), (1e9, 0.05)])
def test_the_learnt_share_has_limits(curvature, limit):
    remedy = LFM(learned=True)
    remedy.aligned.fill_(0.5)
    remedy.move(torch.tensor(curvature), 0)
    assert remedy.aligned.item() == pytest.approx(limit)


def test_learning_the_share_leaves_weights_gradients_and_draws_alone():
    names = ("text", "audio")
    model, batch = model_of(names, dropout=0.5), rows_of(names)
    remedied = Remedied(model, LFM(learned=True, lr=1.0), TASK)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    remedied.train()
    state, aligned = torch.get_rng_state(), remedied.remedy.aligned.fill_(0.5).item()
    remedied.start_epoch(Course(epoch=0, num_steps=1, valid=lambda: iter([batch])))
    assert torch.get_rng_state().equal(state)
    assert remedied.remedy.aligned.item() != aligned
    assert all(part.training for part in remedied.modules())
    assert all(value.grad is None for value in model.parameters())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_the_share_is_learnt_behind_attention_too_and_the_state_holds_it():
    encoders = {name: {"kind": "embedding", "in_dim": WIDTHS[name]} for name in ("text", "audio")}
    config = ModelConfig(encoders=encoders, fusion="cross_attention+attention_pool", dim=8, dropout=0.1)
    tokens = {name: torch.randn(20, 3, WIDTHS[name]) for name in encoders}
    batch = Batch(inputs=tokens, target=torch.arange(20) % 3)
    remedied = Remedied(build_model(config, TASK), LFM(learned=True, lr=10.0), TASK)
    remedied.remedy.aligned.fill_(0.5)
    remedied.start_epoch(Course(epoch=0, num_steps=1, valid=lambda: iter([batch])))
    other = Remedied(build_model(config, TASK), LFM(learned=True), TASK)
    other.load_state_dict(remedied.state_dict())
    assert other.remedy.share(0).item() == remedied.remedy.share(0).item() != pytest.approx(0.5)


def test_a_run_with_a_learnt_share_goes_on_as_one_that_never_stopped(problem, tmp_path):
    made, shares = problem(), []

    def run(epochs, state=None):
        remedy = LFM(learned=True, lr=10.0)
        remedy.aligned.fill_(0.5)
        config = FitConfig(max_epochs=epochs, planned_epochs=3, batch_size=22)
        model, _ = fit(made.build, made.train, made.valid, made.task, config, remedy=remedy, state=state)
        shares.append(remedy.aligned.item())
        return model.state_dict()

    undisturbed = run(3)
    run(2, tmp_path / "state")
    resumed = run(3, tmp_path / "state")
    assert len({0.05, 0.5, 0.95, *shares}) == 5
    assert shares[2] == shares[0]
    assert all(resumed[name].equal(value) for name, value in undisturbed.items())


def test_rows_that_lack_a_modality_align_nothing():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names, absent=False)
    alone = Batch(
        inputs=batch.inputs, masks={"audio": torch.zeros(40, dtype=torch.bool)}, target=batch.target
    )
    seen = Passage(view_of(model), alone, TASK)
    assert LFM().gap(seen).item() == 0
    loss = Remedied(model, LFM(), TASK).loss(alone)
    torch.testing.assert_close(loss, 2 * fitted_share(0) * seen.loss)


def test_what_it_cannot_learn_from_is_refused():
    remedied = Remedied(model_of(("text", "audio")), LFM(learned=True), TASK)
    with pytest.raises(
        OptionError, match=r"learned must be False for a run without validation rows, got True"
    ):
        remedied.start_epoch(Course(epoch=0, num_steps=1))
    with pytest.raises(DataError, match=r"valid must have a batch to learn the share from, got none"):
        remedied.start_epoch(Course(epoch=0, num_steps=1, valid=lambda: iter(())))


@pytest.mark.parametrize("option", ["epochs", "lr"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_options_that_are_not_positive_are_refused(option, value):
    with pytest.raises(OptionError, match=f"{option} must be positive, got {value}."):
        LFM(**{option: value})


def test_the_share_is_stretched_to_the_epochs_that_the_run_has_planned() -> None:
    remedy = LFM()
    remedy.plan(Course(epoch=0, num_steps=1, num_epochs=20))
    assert remedy.share(10).item() == pytest.approx(fitted_share(100))
    remedy.plan(Course(epoch=0, num_steps=1))
    assert remedy.share(10).item() == pytest.approx(fitted_share(10))
    assert LFM(epochs=40).share(10).item() == pytest.approx(fitted_share(50))
