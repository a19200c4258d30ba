"""Every diagnosis of a model at once: what applies is found, what does not says why, and the model stays."""

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fuseloom.comparison.diagnosis import DIAGNOSES, Diagnosis, Subject, diagnose_model, some_rows
from fuseloom.errors import DataError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit
from fuseloom.types import Batch, Selection

TASK = Classification(["minus", "plus"])


def batch(count: int, seed: int) -> Batch:
    """The class is the sign of the product of two numbers; a third is noise."""
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    target = (values[:, 0] * values[:, 1] > 0).long()
    return Batch(inputs={name: values[:, [place]] for place, name in enumerate("abn")}, target=target)


@pytest.fixture(scope="module")
def subject() -> Subject:
    encoder = {"kind": "embedding", "in_dim": 1}
    config = ModelConfig(encoders=dict.fromkeys("abn", encoder), fusion="attention_pool", dim=16, dropout=0.0)
    train, valid, test = batch(1500, 0), batch(300, 1), batch(150, 2)
    model, _ = fit(lambda: build_model(config, TASK), train, valid, TASK, FitConfig(lr=5e-3, max_epochs=25))
    alone = {name: np.full((150, 2), 0.5) for name in "abn"}
    return Subject(name="pool", model=model, task=TASK, metric=TASK.metric(None), rows=test, alone=alone)


@pytest.fixture(scope="module")
def found(subject: Subject) -> Diagnosis:
    return diagnose_model(subject)


def test_all_that_applies_is_found(found: Diagnosis) -> None:
    assert found.not_told == {}
    assert (found.model, found.metric, found.rows, found.modalities) == (
        "pool",
        "accuracy",
        150,
        ("a", "b", "n"),
    )
    assert {f.name for f in fields(Diagnosis)} >= DIAGNOSES.keys()
    assert found.emap is not None
    assert found.emap.gap.low is not None
    assert found.emap.gap.low > 0.1  # the product is no sum
    assert [one.sources for one in found.pid] == [("a", "b"), ("a", "n"), ("b", "n")]
    assert found.pid[0].data.synergistic.mean > max(one.data.synergistic.mean for one in found.pid[1:])
    assert found.reliance is not None
    assert found.reliance.shuffled["n"].mean < 0.1 < found.reliance.shuffled["a"].mean
    assert found.modality_test is not None
    assert (
        found.modality_test.over_permuted["a"].p_holm < 0.05 < found.modality_test.over_permuted["n"].p_holm
    )
    assert found.attention is not None
    assert found.complementarity is not None
    assert {one.layer for one in found.shared_space} == {"before merge"}


def test_orders_are_of_three_modalities_or_more(found: Diagnosis) -> None:
    assert found.interaction_orders is not None
    single, pairs, triples = found.interaction_orders.orders
    assert pairs.energy > max(single.energy, triples.energy)


def test_what_does_not_apply_says_why(subject: Subject) -> None:
    pair = replace(
        subject, rows=replace(subject.rows, inputs={n: subject.rows.inputs[n] for n in "ab"}), alone={}
    )
    said = diagnose_model(pair, only=["interaction_orders", "complementarity"])
    assert said.interaction_orders is None
    assert "Of two modalities EMAP says it all" in said.not_told["interaction_orders"]
    assert "got none of a, b" in said.not_told["complementarity"]


def test_some_are_made_and_told(subject: Subject) -> None:
    lines: list[str] = []
    said = diagnose_model(subject, only=["shapley"], progress=lines.append)
    assert said.shapley is not None
    assert said.emap is None
    assert lines == ["diagnosing: shapley"]


def test_the_model_stays_as_it_was(subject: Subject) -> None:
    before, mode = copy.deepcopy(subject.model.state_dict()), subject.model.training
    state = torch.random.get_rng_state()
    diagnose_model(subject)
    assert all(value.equal(before[name]) for name, value in subject.model.state_dict().items())
    assert subject.model.training == mode
    assert not subject.model._forward_hooks
    assert torch.random.get_rng_state().equal(state)


def test_a_diagnosis_is_the_same_again(subject: Subject, found: Diagnosis) -> None:
    assert diagnose_model(subject, only=["emap", "reliance", "shapley"]).shapley == found.shapley


def test_rows_without_a_target_and_unknown_names_are_refused(subject: Subject) -> None:
    with pytest.raises(DataError, match="rows must have a target to diagnose a model on"):
        diagnose_model(replace(subject, rows=replace(subject.rows, target=None)))
    with pytest.raises(OptionError, match=r"Unknown diagnosis 'emaps'\. Did you mean 'emap'"):
        diagnose_model(subject, only=["emaps"])


def test_of_many_rows_a_sample_is_taken_in_order_and_of_large_ones_fewer() -> None:
    many = Batch(inputs={"x": torch.zeros(3000, 2)})
    places = some_rows(many)
    assert len(places) == 1000
    assert places.equal(places.unique())
    assert some_rows(many, seed=1).tolist() != places.tolist()
    assert some_rows(Batch(inputs={"x": torch.zeros(50, 2)})).tolist() == list(range(50))
    large = Selection(
        batch=Batch(inputs={"x": torch.zeros(1).expand(900, 3, 224, 224)}), rows=torch.arange(900)
    )
    assert len(some_rows(large)) == 200
