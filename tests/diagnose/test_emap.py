import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.data.interactions import make_interactions
from fuseloom.diagnose.emap import emap
from fuseloom.diagnose.split import Split, split
from fuseloom.errors import DataError
from fuseloom.metrics.interval import Interval
from fuseloom.models import ModelConfig, build_model
from fuseloom.registry import card, list_fusions
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.multilabel import Multilabel
from fuseloom.tasks.regression import Regression
from fuseloom.train.fit import FitConfig, fit

ACCURACY = ("accuracy", Classification.metrics["accuracy"])
TASK = Classification(["x", "y"])


def signs(count=400, seed=0):
    """Two signs of each row, of which the target is the exclusive or."""
    drawn = torch.randint(0, 2, (2, count), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    target = (drawn.prod(0) > 0).long()
    return Batch(inputs={"a": drawn[0], "b": drawn[1]}, target=target)


def logits(score):
    return torch.stack([-score, score], 1)


def product(rows):
    return logits(rows.inputs["a"] * rows.inputs["b"])


def measure(outputs, rows, **options):
    given = {"predict": TASK.predict, "metric": ACCURACY} | options
    return emap(outputs, rows, model="one", **given)


def test_of_pure_synergy_nothing_is_left():
    found = measure(product, signs())
    assert found.before == Interval(mean=1, low=1, high=1)
    assert found.after.mean == pytest.approx(0.5, abs=0.08)
    assert found.gap.low > 0.4
    assert found.gap.mean == pytest.approx(found.before.mean - found.after.mean)
    assert found.energy == pytest.approx(1, abs=0.02)
    assert found.agreement.mean == found.after.mean
    assert (found.model, found.metric, found.rows, found.modalities) == ("one", "accuracy", 400, ("a", "b"))
    assert (found.form, found.standard_error, found.combinations) == ("exact", 0, 400**2 + 408)


def test_what_is_additive_loses_nothing():
    found = measure(lambda rows: logits(rows.inputs["a"] + 0.3 * rows.inputs["b"]), signs())
    assert found.gap == Interval(mean=0, low=0, high=0)
    assert found.agreement == Interval(mean=1, low=1, high=1)
    assert found.energy < 1e-9
    assert found.before == found.after


def test_a_gap_is_positive_where_a_score_that_should_be_low_rises():
    rows = signs()
    rows = replace(rows, target=rows.inputs["a"] * rows.inputs["b"] + 0.1)
    metric = ("rmse", Regression.metrics["rmse"])
    found = measure(
        lambda b: b.inputs["a"] * b.inputs["b"], rows, metric=metric, predict=lambda outputs: outputs[:, 0]
    )
    assert found.before.mean == pytest.approx(0.1)
    assert found.before.low <= found.before.mean <= found.before.high
    assert found.after.mean == pytest.approx(1, abs=0.1)
    assert 0.8 < found.gap.low < found.gap.mean < found.gap.high < 1.1
    assert found.agreement is None
    assert found.deviation == pytest.approx(1, abs=0.05)


def test_the_interval_is_of_paired_differences():
    """Right or wrong row by row, so that the standard error of the difference is known."""
    rows = signs(1500)
    outputs = lambda b: logits(b.inputs["a"] * b.inputs["b"] + 0.8 * b.inputs["a"])  # noqa: E731
    found = measure(outputs, rows)
    target = rows.target.numpy()
    own = outputs(rows).argmax(1).numpy() == target
    partner = (rows.inputs["b"].mean() + 0.8) * rows.inputs["a"]
    plain = logits(partner + rows.inputs["a"].mean() * (rows.inputs["b"] - rows.inputs["b"].mean()))
    differences = own.astype(float) - (plain.argmax(1).numpy() == target)
    assert found.gap.mean == pytest.approx(differences.mean())
    half = 1.96 * differences.std() / 1500**0.5
    assert found.gap.high - found.gap.low == pytest.approx(2 * half, rel=0.1)
    assert half > 0.01


def test_of_labels_the_share_that_is_decided_alike():
    rows = signs()
    labels = torch.stack([rows.target, (rows.inputs["a"] > 0).long()], 1)
    task = Multilabel.learn(labels.numpy(), ["both", "a"])
    found = measure(
        lambda b: 9 * torch.stack([b.inputs["a"] * b.inputs["b"], b.inputs["a"]], 1),
        replace(rows, target=labels),
        metric=task.metric("micro_f1"),
        predict=task.predict,
    )
    assert found.agreement.mean == pytest.approx(0.75, abs=0.05)
    assert found.agreement.low < found.agreement.mean < found.agreement.high


def test_of_several_numbers_there_is_no_agreement():
    rows = signs()
    found = measure(
        lambda b: torch.stack([b.inputs["a"] * b.inputs["b"], b.inputs["a"]], 1),
        replace(rows, target=torch.stack([rows.inputs["a"] * 3, rows.inputs["b"]], 1)),
        metric=("mae", Regression.metrics["mae"]),
        predict=lambda outputs: outputs,
    )
    assert found.agreement is None


def test_with_partners_the_error_is_stated_and_the_answer_is_the_same():
    found = measure(product, signs(), partners=100)
    assert found.form == "monte carlo"
    assert 0 < found.standard_error < 0.2 * found.deviation
    assert found.gap.low > 0.4
    assert found.energy == pytest.approx(1, abs=0.05)


def test_a_result_is_plain():
    found = measure(product, signs(20))
    assert json.loads(json.dumps(asdict(found)))["gap"].keys() == {"mean", "low", "high"}


def test_rows_and_generators_are_left_as_they_were():
    rows, state = signs(50), torch.get_rng_state()
    before = {name: value.clone() for name, value in rows.inputs.items()}
    measure(product, rows, partners=7)
    assert all(rows.inputs[name].equal(value) for name, value in before.items())
    assert torch.get_rng_state().equal(state)


def test_rows_without_a_target_are_refused():
    with pytest.raises(DataError, match="rows must have a target to be scored, got none"):
        measure(product, Batch(inputs=signs().inputs))


def learnt(fusion, data):
    """A model fitted to the training rows, and the test rows."""
    target = torch.from_numpy((data.target == "s1").astype(np.int64))
    rows = Batch(inputs={n: torch.from_numpy(v) for n, v in data.streams.items()}, target=target)
    train, valid, test = (
        rows.take(torch.from_numpy(np.flatnonzero(data.split == part))) for part in ("train", "valid", "test")
    )
    encoders = {name: {"kind": "identity", "in_dim": value.shape[1]} for name, value in rows.inputs.items()}
    model = ModelConfig(encoders=encoders, fusion=fusion, dim=16, dropout=0.0)
    config = FitConfig(max_epochs=40, lr=1e-2, batch_size=64)
    return fit(lambda: build_model(model, TASK), train, valid, TASK, config)[0], test


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["low_rank", "product", "mlp"])
def test_a_model_that_learnt_pure_synergy_has_a_large_gap(fusion):
    model, rows = learnt(fusion, make_interactions(2000, synergistic=1.0))
    found = measure(split(model), rows)
    assert found.before.mean > 0.9
    assert found.gap.low > 0.3
    assert found.after.low < 0.5 < found.after.high + 0.05
    assert found.energy > 0.5


@pytest.mark.parametrize("name", [n for n in list_fusions(kind="merge") if card(n).interaction == "additive"])
def test_the_gap_of_every_additive_merge_is_zero(name):
    encoders = {key: {"kind": "embedding", "in_dim": 4} for key in "ab"}
    model = build_model(ModelConfig(encoders=encoders, fusion=name, dim=8), TASK)
    rows = Batch(inputs={key: torch.randn(60, 4) for key in "ab"}, target=torch.arange(60) % 2)
    metric = ("log_loss", Classification.metrics["log_loss"])
    claimed, computed = (measure(split(model), rows, metric=metric, partners=some) for some in (None, "all"))
    assert (claimed.form, claimed.gap, claimed.energy) == ("additive", Interval(mean=0, low=0, high=0), 0)
    assert computed.form == "exact"
    assert max(map(abs, (computed.gap.mean, computed.gap.low, computed.gap.high))) < 1e-6
    assert computed.energy < 1e-10


def test_anything_can_be_measured_in_two_parts():
    parts = Split(
        alone=lambda rows: Batch(inputs={name: value * 2 for name, value in rows.inputs.items()}),
        together=product,
    )
    assert measure(parts, signs(60)).gap == measure(product, signs(60)).gap
