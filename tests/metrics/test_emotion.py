import numpy as np
import pytest
from sklearn import metrics as oracle

from fuseloom.errors import DataError
from fuseloom.metrics.emotion import EMOTIONS, iemocap_scores, mmsa_class_scores


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def test_each_emotion_is_scored_alone(generator):
    logits, target = generator.normal(size=(50, 4, 2)), generator.integers(2, size=(50, 4))
    scores = iemocap_scores(logits, target)
    assert list(scores)[:2] == ["neutral_f1", "neutral_accuracy"]
    for place, name in enumerate(EMOTIONS):
        present, true = logits[:, place, 1] > logits[:, place, 0], target[:, place]
        assert scores[f"{name}_f1"] == pytest.approx(oracle.f1_score(true, present, average="weighted"))
        assert scores[f"{name}_accuracy"] == pytest.approx(oracle.accuracy_score(true, present))
    assert iemocap_scores(logits.reshape(50, 8), target) == scores


def test_three_classes_are_scored_together_and_in_two_pairs(generator):
    logits, target = generator.normal(size=(60, 3)), generator.integers(3, size=60)
    scores = mmsa_class_scores(logits, target)
    positive, rated = logits[:, 2] > logits[:, 0], target != 1
    expected = {
        "zero_negative": (target == 2, positive),
        "nonzero": ((target == 2)[rated], positive[rated]),
    }
    for name, (true, predicted) in expected.items():
        assert scores[f"acc2_{name}"] == pytest.approx(oracle.accuracy_score(true, predicted))
        assert scores[f"f1_{name}"] == pytest.approx(oracle.f1_score(true, predicted, average="weighted"))
    assert scores["acc3"] == pytest.approx(oracle.accuracy_score(target, logits.argmax(1)))
    assert scores["f1_3"] == pytest.approx(oracle.f1_score(target, logits.argmax(1), average="weighted"))


def test_the_faithful_form_never_recognises_a_positive_row_without_neutral_ones():
    logits, target = np.eye(3)[[0, 2, 2, 2]], np.array([0, 2, 2, 2])
    assert mmsa_class_scores(logits, target)["acc2_nonzero"] == 1
    faithful = mmsa_class_scores(logits, target, faithful=True)
    assert (faithful["acc2_nonzero"], faithful["f1_nonzero"]) == (0.25, 0.25)
    assert faithful["acc3"] == 1


def test_the_faithful_form_rounds_to_four_decimals():
    logits, target = np.eye(3)[[0, 1, 2]], np.array([0, 0, 2])
    assert mmsa_class_scores(logits, target)["acc3"] == 2 / 3
    assert mmsa_class_scores(logits, target, faithful=True)["acc3"] == 0.6667


def test_neutral_rows_alone_leave_one_pair_without_a_score():
    scores = mmsa_class_scores(np.eye(3), np.ones(3, dtype=int))
    assert np.isnan([scores["acc2_nonzero"], scores["f1_nonzero"]]).all()
    assert scores["acc3"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ((3, 4), (3, 4), r"logits must be \[N, 4, 2\] or \[N, 8\], got \[3, 4\]"),
        ((0, 8), (0, 4), r"logits must be \[N, 4, 2\] or \[N, 8\], got \[0, 8\]"),
        ((3, 8), (3,), r"target must be \[3, 4\] like logits, got \[3\]"),
    ],
)
def test_other_shapes_of_emotions_are_refused(logits, target, message):
    with pytest.raises(DataError, match=message):
        iemocap_scores(np.ones(logits), np.ones(target, dtype=int))


@pytest.mark.parametrize(("logits", "target"), [((3, 2), (3,)), ((3, 3), (3, 1)), ((0, 3), (0,))])
def test_other_shapes_of_classes_are_refused(logits, target):
    with pytest.raises(DataError, match=r"logits and target must be \[N, 3\] and \[N\], got"):
        mmsa_class_scores(np.ones(logits), np.ones(target, dtype=int))
