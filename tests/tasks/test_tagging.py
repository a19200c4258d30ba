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
from fuseloom.tasks.classification import Classification
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


def test_a_constrained_path_has_no_tag_that_the_scheme_forbids():
    """An entity that begins with I- and one that goes on as another type, both more probable."""
    free = Tagging(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"])
    constrained = free.configured({"constrained": True})
    outputs = sure_of(free, np.array([[2, 0, 3, 2, 0]]), 5, scale=2.0)
    path = free.predict(outputs)[0, :, -2]
    held = constrained.predict(outputs)[0, :, -2]
    assert path.tolist() == [2, 0, 3, 2, 0]
    assert held[0] != 2
    assert (held[2], held[3]) != (3, 2)
    allowed = constrained.constraints
    assert allowed.start[int(held[0])]
    assert all(allowed.transitions[int(one), int(other)] for one, other in pairwise(held))
    np.testing.assert_array_equal(free.predict(outputs)[..., :-2], constrained.predict(outputs)[..., :-2])


def test_where_nothing_is_forbidden_a_constrained_path_is_the_same(task):
    outputs = sure_of(task, task.encode(raw()), 4)
    constrained = task.configured({"constrained": True})
    np.testing.assert_array_equal(constrained.predict(outputs), task.predict(outputs))
    again = Tagging.from_state(json.loads(json.dumps(constrained.state())))
    assert again.constraints.transitions.equal(constrained.constraints.transitions)
    assert Tagging.from_state({"tags": list(task.tags)}).constraints is None  # as before there was the option
    assert task.configured({}).constraints is None


def test_of_tags_that_mark_the_end_a_constrained_path_ends_what_it_begins():
    task = Tagging(["O", "B-PER", "E-PER", "S-PER"], constrained=True)
    path = task.predict(sure_of(task, np.array([[1, 0, 1]]), 3, scale=2.0))[0, :, -2]
    assert all(task.constraints.transitions[int(one), int(other)] for one, other in pairwise(path))
    assert task.constraints.end[int(path[-1])]


@pytest.mark.parametrize("tags", [["O", "I-PER"], ["O", "X"], ["O", "B-PER", "U-PER", "S-PER"]])
def test_tags_of_no_scheme_cannot_be_constrained(tags):
    with pytest.raises(OptionError, match="constrained must be False for tags of no scheme"):
        Tagging(tags, constrained=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"constraind": True}, r"must be of \['constrained'\], got 'constraind'\. Did you mean"),
        ({"constrained": "yes"}, "constrained must be True or False, got 'yes'"),
    ],
)
def test_options_that_are_not_known_are_refused(task, options, message):
    with pytest.raises(OptionError, match=message):
        task.configured(options)


def test_rows_of_windows_stand_beside_the_others(task):
    """Of two windows of four words, the third and the fourth word are read twice."""
    others = task.predict(sure_of(task, task.encode(raw()), 4))
    parts = raw([("O", "O", "B-LOC", "O"), ("O", "B-PER", "I-PER", "O")])
    of_windows = task.predict(sure_of(task, task.encode(parts), 4))
    whole = task.joined(others, of_windows, {1: ((0, 4), (2, 6))}, {1: 7})
    assert whole.shape == (3, 7, others.shape[2])
    np.testing.assert_array_equal(whole[::2, :4], others[::2])
    columns = task.columns(whole)
    assert columns["prediction"].tolist()[1:] == ["O O B-LOC B-PER I-PER O O", "B-LOC O"]
    assert whole[1, 4, -1] != whole[1, 4, -1]  # no entity begins there
    (place, person) = json.loads(columns["entities"][1])
    assert (place["start"], person["start"], person["end"]) == (2, 3, 5)
    assert min(place["confidence"], person["confidence"]) > 0.99
    np.testing.assert_allclose(whole[1, 6, :-1], [1 / 4] * 4 + [0])  # the word that no window has read


def test_what_is_left_of_a_divided_entity_is_as_sure_as_it_was():
    """Both windows lay an entity over the place where the other's ends."""
    task = Tagging(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"])
    of_windows = task.predict(sure_of(task, np.array([[1, 2, 2, 0], [0, 3, 4, 4]]), 4, scale=4.0))
    whole = task.joined(of_windows[:1], of_windows, {0: ((0, 4), (1, 5))}, {0: 5})
    columns = task.columns(whole)
    assert columns["prediction"].tolist() == ["B-LOC I-LOC I-LOC I-PER I-PER"]
    (_, person) = json.loads(columns["entities"][0])
    assert person["confidence"] == round(float(of_windows[1, 1, -1]), 4) < 1


def test_whole_rows_have_no_windows():
    task = Classification(["a", "b"])
    with pytest.raises(OptionError, match="A task of windows must be one of positions, got 'classification'"):
        task.joined(np.ones((1, 2)), np.ones((1, 2)), {}, {})
    with pytest.raises(OptionError, match=r"Options of classification must be none, got \['x'\]"):
        task.configured({"x": 1})
