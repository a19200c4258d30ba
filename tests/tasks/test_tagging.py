import json
import re
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from fuseloom.errors import DataError, OptionError
from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_packing import pack_chain
from fuseloom.tasks import infer_task
from fuseloom.tasks.tagging import Tagging

SENTENCES = [("B-PER", "I-PER", "O", "B-LOC"), ("O",), ("B-LOC", "O")]


def raw(sentences=SENTENCES):
    target = np.empty(len(sentences), dtype=object)
    target[:] = sentences
    return target


@pytest.fixture
def task():
    return Tagging.learn(raw())


def sure_of(task, target, length, *, scale=20.0):
    """Outputs that are sure of the tags, of sentences as long as they are."""
    tags = task.num_outputs
    padded = np.pad(target, ((0, 0), (0, max(length - target.shape[1], 0))), constant_values=-1)[:, :length]
    hot = torch.nn.functional.one_hot(torch.from_numpy(np.maximum(padded, 0)), tags).double() * scale
    chain = Chain(start=torch.zeros(tags), transitions=torch.zeros(tags, tags), end=torch.zeros(tags))
    return pack_chain(chain, hot, torch.from_numpy(padded >= 0)).numpy()


def test_tags_are_learnt_sorted_by_type_and_encoded(task):
    assert task.tags == ("O", "B-LOC", "B-PER", "I-PER")
    assert task.encode(raw()).tolist() == [[2, 3, 0, 1], [0, -1, -1, -1], [1, 0, -1, -1]]
    assert Tagging.from_state(json.loads(json.dumps(task.state()))).tags == task.tags
    assert infer_task(raw()) == "tagging"
    assert {"f1_PER", "f1_LOC", "span_f1", "span_f1_strict"} <= task.metrics.keys()


def test_true_tags_score_one_and_come_back_as_columns(task):
    target = task.encode(raw())
    predictions = task.predict(sure_of(task, target, 4))
    scores = {name: metric.function(predictions, target) for name, metric in task.metrics.items()}
    assert scores.pop("log_loss") == pytest.approx(0, abs=1e-6)
    assert set(scores.values()) == {1.0}
    columns = task.columns(predictions)
    assert list(columns["prediction"]) == ["B-PER I-PER O B-LOC", "O", "B-LOC O"]
    assert json.loads(columns["entities"][0]) == [
        {"type": "PER", "start": 0, "end": 2, "confidence": 1.0},
        {"type": "LOC", "start": 3, "end": 4, "confidence": 1.0},
    ]
    assert json.loads(columns["entities"][1]) == []
    assert list(task.target_columns(raw())["target"]) == list(columns["prediction"])


def test_probabilities_are_those_of_all_paths(task):
    """Against every path of three words: of each tag, and of an entity that ends where it ends."""
    tags = task.num_outputs
    chain = Chain(start=torch.randn(tags), transitions=torch.randn(tags, tags), end=torch.randn(tags))
    emissions = torch.randn(1, 3, tags) + torch.tensor([0.0, 0.0, 4.0, 0.0])
    emissions[0, 1] = torch.tensor([0.0, 0.0, -9.0, 9.0])  # so that a person of two words is likely
    prediction = task.predict(pack_chain(chain, emissions).numpy())[0]
    paths = list(product(range(tags), repeat=3))

    def score(path):
        inside = sum(emissions[0, place, tag] for place, tag in enumerate(path))
        moves = sum(chain.transitions[a, b] for a, b in pairwise(path))
        return (chain.start[path[0]] + inside + moves + chain.end[path[-1]]).exp().item()

    weights = np.array([score(path) for path in paths])
    weights /= weights.sum()
    for place, tag in product(range(3), range(tags)):
        expected = sum(w for w, path in zip(weights, paths, strict=True) if path[place] == tag)
        assert prediction[place, tag] == pytest.approx(expected, rel=1e-4)
    best = paths[int(weights.argmax())]
    assert tuple(prediction[:, -2]) == best
    (entity, *_) = task.entities(np.array(best))
    kept = [
        w
        for w, path in zip(weights, paths, strict=True)
        if path[entity.start : entity.end] == best[entity.start : entity.end]
        and (entity.end == 3 or task.tags[path[entity.end]] != f"I-{entity.type}")
    ]
    assert prediction[entity.start, -1] == pytest.approx(sum(kept), rel=1e-4)


def test_words_that_were_not_read_are_not_found(task):
    target = task.encode(raw())
    predictions = task.predict(sure_of(task, target, 2))
    assert task.metrics["precision"].function(predictions, target) == 1
    assert task.metrics["recall"].function(predictions, target) == pytest.approx(2 / 3)
    assert np.isfinite(task.metrics["log_loss"].function(predictions, target))
    outputs = torch.from_numpy(sure_of(task, target, 2))
    assert task.errors(outputs, torch.from_numpy(target))[0].isfinite().all()


def test_outputs_longer_than_the_targets_are_read_as_far_as_these_go(task):
    target = task.encode(raw())
    predictions = task.predict(sure_of(task, target, 6))
    assert task.metrics["span_f1"].function(predictions, target) == 1
    assert task.metrics["log_loss"].function(predictions, target) == pytest.approx(0, abs=1e-6)


def test_the_loss_is_the_mean_over_sentences_and_falls_with_confidence(task):
    target = torch.from_numpy(task.encode(raw()))
    unsure, sure = (torch.from_numpy(sure_of(task, target.numpy(), 4, scale=s)) for s in (0.0, 9.0))
    errors, weights = task.errors(unsure, target)
    words = (target >= 0).sum(1)
    torch.testing.assert_close(errors, words.double() * np.log(4.0))
    assert weights is None
    assert task.loss(sure, target) < 0.01 < task.loss(unsure, target)
    blank = task.blank_outputs(target)
    assert task.errors(blank, target)[0].shape == (3,)


def test_bad_targets_are_refused(task):
    message = "got 'B-PRE'. Did you mean 'B-PER'?"
    with pytest.raises(DataError, match=re.escape(message)):
        task.encode(raw([("B-PRE",)]))
    with pytest.raises(DataError, match="a tuple of tags in every row, got 'O'"):
        Tagging.learn(np.array(["O", "B-PER"], dtype=object))
    with pytest.raises(DataError, match=r"tags other than 'O', got \['O'\]"):
        Tagging.learn(raw([("O",), ("O",)]))
    with pytest.raises(OptionError, match="class_weight must be none for tagging"):
        task.balanced(task.encode(raw()))
    assert task.baselines(0) == []
    with pytest.raises(OptionError, match="tagging has none"):
        task.baseline_predict(None, None)


def test_the_class_names_its_metrics_and_an_instance_has_them(task):
    assert Tagging.metrics.keys() < task.metrics.keys()
    for name, metric in Tagging.metrics.items():
        assert metric.higher_is_better == task.metrics[name].higher_is_better
        assert metric.bounded == task.metrics[name].bounded
    with pytest.raises(OptionError, match=r"Use Tagging\(tags\)\.metrics"):
        Tagging.metrics["span_f1"].function(np.zeros((1, 1, 3)), np.zeros((1, 1)))
