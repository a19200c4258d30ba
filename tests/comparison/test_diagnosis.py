"""Every diagnosis of a model at once: what applies is found, what does not says why, and the model stays."""

import copy
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from fuseloom.comparison.diagnosis import DIAGNOSES, Diagnosis, Subject, diagnose_model, some_rows
from fuseloom.data import Dataset, load
from fuseloom.data.dataset import Image, Text
from fuseloom.errors import DataError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.models.dense_systems import build_dense
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.multilabel import Multilabel
from fuseloom.tasks.regression import Regression
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.tasks.tagging import Tagging
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
    assert test.target is not None
    test.target[::40] = 1 - test.target[::40]  # or the product would separate the classes of a regression
    model, _ = fit(lambda: build_model(config, TASK), train, valid, TASK, FitConfig(lr=5e-3, max_epochs=25))
    alone = {name: np.full((150, 2), 0.5) for name in "abn"}
    return Subject(name="pool", model=model, task=TASK, metric=TASK.metric(None), rows=test, alone=alone)


@pytest.fixture(scope="module")
def found(subject: Subject) -> Diagnosis:
    return diagnose_model(subject)


def test_all_that_applies_is_found(found: Diagnosis) -> None:
    assert not found.not_told
    assert found.exchanged is None  # there is no exchange to ask about
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
    assert [one.modality for one in found.attention_quality] == ["a", "b", "n"]
    assert found.interaction_regression is not None
    assert found.interaction_regression.family == "logistic"
    assert found.interaction_regression.target == "target = plus"
    assert found.complementarity is not None
    assert {one.layer for one in found.shared_space} == {"before merge"}


@pytest.fixture(scope="module")
def tagger() -> Subject:
    """Of sentences whose entities only the word tells, with a picture that says nothing; exchanging both."""
    words = torch.zeros(120, 5, 4, dtype=torch.int32)
    words[..., 0] = torch.randint(1, 9, (120, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) < torch.randint(2, 6, (120, 1), generator=torch.Generator().manual_seed(1))
    photos = torch.randint(256, (120, 3, 16, 16), generator=torch.Generator().manual_seed(2)).byte()
    target = torch.where(mask, (words[..., 0] > 5).long(), -1)
    rows = Batch(inputs={"text": words, "photo": photos}, masks={"text": mask}, target=target)
    task = Tagging(["O", "B-PER"])
    texts = [" ".join(f"word{number}" for number in row[:, 0].tolist()) for row in words]
    dataset = replace(
        load("reviews"),
        modalities={
            "text": Text(values=np.array(texts, dtype=object)),
            "photo": Image(items=np.array([None] * 120, dtype=object)),
        },
        ids=[f"row {row}" for row in range(120)],
    )
    encoders = {
        "text": {"kind": "words", "num_words": 9},
        "photo": {"kind": "image", "channels": 3, "body": "patch", "patch": 4},
    }
    config = ModelConfig(encoders=encoders, fusion="cls_exchange+concat", dim=8, dropout=0.0, anchor="text")
    model, _ = fit(lambda: build_model(config, task), rows, rows, task, FitConfig(lr=2e-2, max_epochs=12))
    return Subject(
        name="tagger",
        model=model,
        task=task,
        metric=task.metric(None),
        rows=rows,
        dataset=dataset,
        ids=dataset.ids,
        places=list(range(120)),
    )


@pytest.fixture(scope="module")
def tagged(tagger: Subject) -> Diagnosis:
    left_out = {"modality_test", "shapley", "shared_space", "gradients"}  # to be quick
    return diagnose_model(tagger, only=[name for name in DIAGNOSES if name not in left_out])


def test_of_tags_what_needs_one_answer_for_each_row_says_so(tagged: Diagnosis) -> None:
    needy = {"emap", "pid", "interaction_regression", "complementarity"}
    for name in needy:
        assert tagged.not_told[name] == (
            "It needs one answer for each row, and tagging answers at each word of its text."
        )
    assert tagged.not_told.keys() == {*needy, "interaction_orders", "attention_quality", "modality_maps"}


def test_of_tags_it_is_shown_where_words_look(tagger: Subject, tagged: Diagnosis) -> None:
    assert tagged.attention is not None
    assert [layer.name for layer in tagged.attention.layers] == ["anchor.photo.attention"]
    assert len(tagged.attention.looks) == 3
    for look in tagged.attention.looks:
        words, patches = look.row.streams
        assert look.row.row
        assert len(words.words) == len(look.weights) == words.positions
        assert patches.picture is not None
        assert all(abs(sum(weights) - 1) < 0.01 for weights in look.weights)
    hidden = diagnose_model(replace(tagger, show_rows=False), only=["attention"]).attention
    assert hidden is not None
    assert all(not one.words and one.picture is None for look in hidden.looks for one in look.row.streams)


def test_of_tags_reliance_and_robustness_are_in_span_f1(tagger: Subject, tagged: Diagnosis) -> None:
    assert tagger.rows.target is not None
    own = tagger.task.metrics["span_f1"].function(tagger.predict(tagger.rows), tagger.rows.target.numpy())
    assert own > 0.9
    assert tagged.reliance is not None
    assert tagged.robustness is not None
    assert tagged.reliance.score.mean == tagged.robustness.score.mean == own
    assert tagged.reliance.hidden["text"].mean == pytest.approx(own)  # without a word there is no entity
    assert tagged.reliance.shuffled["text"].mean > 0.3
    assert abs(tagged.reliance.shuffled["photo"].mean) < 0.1
    assert tagged.robustness.constant is None
    assert {curve.corruption for curve in tagged.robustness.curves if curve.modalities == ("photo",)} == {
        "gaussian_noise",
        "blur",
        "block_mask",
        "missing",
    }
    (dropped,) = (one for one in tagged.robustness.curves if one.corruption == "token_dropout")
    means = [score.mean for score in dropped.scores]
    assert means == sorted(means, reverse=True)


def test_exchanged_words_and_patches_are_shown_unless_rows_are_private(
    tagger: Subject, tagged: Diagnosis
) -> None:
    assert tagged.exchanged is not None
    assert tagger.rows.target is not None
    sample = tagged.exchanged.samples[0]
    text, photo = sample.streams
    count = int((tagger.rows.target[sample.place] >= 0).sum())
    assert (sample.row, text.positions, len(text.words)) == (f"row {sample.place}", count, count)
    assert text.words[0] == f"word{int(tagger.rows.inputs['text'][sample.place, 0, 0])}"
    assert photo.grid == (4, 4)
    assert photo.picture is not None
    hidden = diagnose_model(replace(tagger, show_rows=False), only=["exchanged"]).exchanged
    assert hidden is not None
    assert all(not one.words and one.picture is None for row in hidden.samples for one in row.streams)


def test_of_tags_a_modality_is_tested_by_permuting_what_it_says_and_not_where(tagger: Subject) -> None:
    few = replace(tagger, rows=tagger.rows.take(slice(0, 40)))
    said = diagnose_model(few, only=["modality_test"]).modality_test
    assert said is not None
    assert said.over_permuted["text"].gain.mean > 0.3
    assert said.over_permuted["text"].p < 0.1 < said.over_permuted["photo"].p


def test_gradients_are_of_the_model_as_it_stands_where_its_training_is_not_known(
    subject: Subject, found: Diagnosis
) -> None:
    assert found.gradients is not None
    (look,) = found.gradients.gradients
    assert (found.gradients.epochs, found.gradients.learnt_from) == ((), False)
    assert (look.rows, look.parts, look.shares.keys()) == (150, 4, {"a", "b", "n"})
    known = replace(found.gradients, note="Of the training.")
    said = diagnose_model(replace(subject, course=lambda: known), only=["gradients"])
    assert said.gradients is known
    lone = replace(subject.rows, inputs={"a": subject.rows.inputs["a"]})
    untold = diagnose_model(replace(subject, rows=lone, course=lambda: known), only=["gradients"])
    assert untold.gradients is None
    assert "shared between two modalities or more, got one" in untold.not_told["gradients"]


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


def reviewed(subject: Subject, **changes: Any) -> Subject:
    """Of the reviews, by whatever model: the regression is of the data."""
    rows = Batch(
        inputs={name: torch.zeros(9, 1) for name in ("smiling", "critic")}, target=torch.zeros(9).double()
    )
    task = Regression.learn(np.arange(9.0))
    told = replace(subject, task=task, metric=task.metric(None), rows=rows, dataset=load("reviews"))
    return replace(told, **changes)


def test_the_regression_is_of_all_data_in_their_own_units(subject: Subject) -> None:
    said = diagnose_model(reviewed(subject), only=["interaction_regression"]).interaction_regression
    assert said is not None
    assert (said.target, said.family, said.rows) == ("score", "linear", 300)
    assert [round(one.estimate.mean, 2) for one in said.models[-1].coefficients] == [5.79, 0.68, -2.94, 1.29]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": Classification(["a", "b", "c"])}, "a number or one of two classes, got 3 classes"),
        ({"task": Multilabel(["a", "b"])}, "a number or one of two classes, got several classes of a row"),
        ({"dataset": load("digits")}, "one number per row, but 'top' holds 32 features"),
    ],
)
def test_what_cannot_be_regressed_says_why(subject: Subject, changes: dict[str, Any], reason: str) -> None:
    told = reviewed(subject, **changes)
    if "dataset" in changes:
        told = replace(
            told, rows=replace(told.rows, inputs={n: torch.zeros(9, 32) for n in ("top", "bottom")})
        )
    said = diagnose_model(told, only=["interaction_regression"])
    assert said.interaction_regression is None
    assert reason in said.not_told["interaction_regression"]


def test_many_modalities_are_not_multiplied(subject: Subject) -> None:
    inputs = {f"m{number}": torch.randn(9, 1) for number in range(7)}
    told = reviewed(subject, dataset=None, rows=Batch(inputs=inputs, target=torch.zeros(9)))
    said = diagnose_model(told, only=["interaction_regression"])
    assert said.not_told == {"interaction_regression": "At most 6 modalities are multiplied, got 7."}


def test_a_model_without_attention_says_so_in_plain_words(subject: Subject) -> None:
    encoder = {"kind": "embedding", "in_dim": 1}
    model = build_model(ModelConfig(encoders=dict.fromkeys("abn", encoder), fusion="concat", dim=4), TASK)
    said = diagnose_model(
        replace(subject, name="concat", model=model), only=["attention", "attention_quality"]
    )
    assert set(said.not_told) == {"attention", "attention_quality"}
    assert all(
        reason.startswith("concat keeps no record of attention: there is nothing to see of where it looks.")
        for reason in said.not_told.values()
    )


def test_modalities_that_no_layer_can_turn_from_are_left_out(subject: Subject) -> None:
    """Of three modalities each stream looks at the two others, of two at one."""
    encoder = {"kind": "embedding", "in_dim": 1}
    config = ModelConfig(encoders=dict.fromkeys("abn", encoder), fusion="cross_attention+concat", dim=4)
    said = diagnose_model(
        replace(subject, name="crossed", model=build_model(config, TASK)), only=["attention_quality"]
    )
    assert [one.modality for one in said.attention_quality] == ["a", "b", "n"]
    assert all(len(one.correlations) == 2 for one in said.attention_quality)


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


def held(subject: Subject, count: int) -> Dataset:
    """The rows of a subject as data that were read: those at the odd places of twice as many."""
    values = {name: np.zeros((2 * count, 1), np.float32) for name in "abn"}
    for name in "abn":
        values[name][1::2] = subject.rows.inputs[name].numpy()
    target = np.zeros(2 * count)
    target[1::2] = np.asarray(subject.rows.target)
    return load(values, target=target)


def test_samples_show_the_rows_of_the_data_they_are(subject: Subject) -> None:
    places = [2 * row + 1 for row in range(150)]
    said = diagnose_model(
        replace(subject, dataset=held(subject, 150), places=places), only=["complementarity"]
    ).complementarity
    assert said is not None
    shown = [sample for sample in said.samples if sample.inputs]
    assert shown
    for sample in shown:
        for name, cell in sample.inputs.items():
            number = float(subject.rows.inputs[name][sample.place, 0])
            assert cell.words == f"1 number from {number:.3g} to {number:.3g}"
    kinds = [sample.kind for sample in said.samples]
    assert len(shown) == sum(min(kinds.count(kind), 6) for kind in set(kinds)) < len(kinds)


def test_without_the_data_samples_show_nothing(found: Diagnosis) -> None:
    assert found.complementarity is not None
    assert found.complementarity.samples
    assert not any(sample.inputs for sample in found.complementarity.samples)


def test_scenes_of_labelled_pixels_are_drawn_unless_they_are_private(subject: Subject) -> None:
    task = Segmentation(["a", "b"], size=(32, 32))
    encoders = {"rgb": {"kind": "image", "channels": 3}, "depth": {"kind": "map", "channels": 1}}
    size = {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1]}
    own = {"geminifusion": {"size": size, "head_dim": 8}}
    model = build_dense(ModelConfig(encoders=encoders, fusion="geminifusion", options=own), task).eval()
    inputs = {"rgb": torch.zeros(5, 3, 32, 32, dtype=torch.uint8), "depth": torch.randn(5, 1, 32, 32)}
    rows = Batch(inputs=inputs, target=torch.randint(0, 2, (5, 32, 32)).to(torch.uint8))
    dense = Subject(name="mine", model=model, task=task, metric=task.metric(None), rows=rows)
    shown = diagnose_model(dense, only=["modality_maps"]).modality_maps
    assert shown is not None
    assert [one.pictures.keys() >= {"rgb"} for one in shown.scenes] == [True] * 4
    hidden = diagnose_model(replace(dense, show_rows=False), only=["modality_maps"]).modality_maps
    assert hidden is not None
    assert hidden.scenes == ()
    assert hidden.streams == shown.streams
    other = diagnose_model(subject, only=["modality_maps"])
    assert "of which pool predicts none" in other.not_told["modality_maps"]
