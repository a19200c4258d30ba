from itertools import pairwise

import numpy as np
import pytest

from fuseloom.comparison.evidence import Evidence, resampled_scores
from fuseloom.tasks.classification import Classification

ACCURACY = Classification.metrics["accuracy"]
LOSS = Classification.metrics["log_loss"]
AUC = Classification.metrics["auc"]


def guesses(target, right, generator):
    hit = generator.random(len(target)) < right
    return np.eye(2)[np.where(hit, target, 1 - target)] * 0.8 + 0.1


def evidence(models, targets, units=None):
    ends = np.cumsum([0, *map(len, targets)])
    apart = [np.arange(low, high) for low, high in pairwise(ends)]
    return Evidence(predictions=models, targets=targets, units=apart if units is None else units)


def test_runs_are_scored_fold_by_fold_and_seed_by_seed():
    generator = np.random.default_rng(0)
    targets = [generator.integers(2, size=size) for size in (30, 50)]
    model = [[guesses(target, 0.7, generator) for _ in range(3)] for target in targets]
    found = resampled_scores(evidence({"one": model}, targets), ACCURACY, resamples=20)["one"]
    expected = [
        [np.mean(p.argmax(1) == target) for p in fold] for fold, target in zip(model, targets, strict=True)
    ]
    np.testing.assert_allclose(found.found, expected)
    assert found.resampled.shape == (20, 2, 3)


def test_resamples_are_the_same_for_all_models():
    target = np.array([0, 1, 1])
    model = [[np.eye(2)[[0, 1, 0]]]]
    drawn = resampled_scores(evidence({"one": model, "other": model}, [target]), ACCURACY)
    assert (drawn["one"].resampled == drawn["other"].resampled).all()
    assert drawn["one"].resampled.std() > 0.1


def test_resamples_move_scores_as_far_as_the_standard_error():
    generator = np.random.default_rng(1)
    target = generator.integers(2, size=400)
    one = guesses(target, 0.8, generator)
    drawn = resampled_scores(evidence({"one": [[one]]}, [target]), ACCURACY, resamples=4000)["one"]
    hits = (one.argmax(1) == target).mean()
    assert drawn.resampled.std() == pytest.approx(np.sqrt(hits * (1 - hits) / 400), rel=0.05)


def test_blocks_of_resamples_hold_every_row_as_often_as_drawn(monkeypatch):
    generator = np.random.default_rng(0)
    targets = [generator.integers(2, size=size) for size in (5, 40)]
    given = evidence({"one": [[guesses(target, 0.8, generator)] for target in targets]}, targets)
    whole = resampled_scores(given, ACCURACY, resamples=50)["one"].resampled
    monkeypatch.setattr("fuseloom.comparison.evidence._MOST_CELLS", 64)
    np.testing.assert_allclose(resampled_scores(given, ACCURACY, resamples=50)["one"].resampled, whole)
    assert len(np.unique(whole)) > 10


def test_rows_that_folds_share_are_drawn_equally_often_in_each():
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=60)
    one = guesses(target, 0.7, generator)
    same = evidence({"one": [[one], [one]]}, [target, target], [np.arange(60)] * 2)
    drawn = resampled_scores(same, ACCURACY)["one"].resampled
    assert (drawn[:, 0] == drawn[:, 1]).all()
    apart = resampled_scores(evidence({"one": [[one], [one]]}, [target, target]), ACCURACY)["one"].resampled
    assert abs(np.corrcoef(apart[:, 0, 0], apart[:, 1, 0])[0, 1]) < 0.2


def test_folds_that_share_some_rows_draw_those_together():
    target = np.zeros(4, dtype=int)
    only = [np.eye(2)[[0, 1, 1, 1]], np.eye(2)[[1, 1, 1, 0]]]  # each right on the one shared row
    units = [np.array([0, 1, 2, 3]), np.array([4, 5, 6, 0])]
    drawn = resampled_scores(
        evidence({"one": [[only[0]], [only[1]]]}, [target] * 2, units), ACCURACY, resamples=300
    )["one"].resampled
    defined = np.isfinite(drawn).all((1, 2))
    assert ((drawn[defined, 0] > 0) == (drawn[defined, 1] > 0)).all()
    assert 0 < (drawn[defined, 0] > 0).mean() < 1


def test_groups_are_drawn_whole():
    generator = np.random.default_rng(0)
    speakers = np.repeat(np.arange(20), 30)
    target = np.zeros(600, dtype=int)
    right = (generator.random(20) < 0.5)[speakers]
    model = {"one": [[np.eye(2)[(~right).astype(int)]]]}
    by_row = resampled_scores(evidence(model, [target]), ACCURACY)["one"].resampled
    by_speaker = resampled_scores(evidence(model, [target], [speakers]), ACCURACY)["one"].resampled
    share = right.mean()
    assert by_speaker.std() == pytest.approx(np.sqrt(share * (1 - share) / 20), rel=0.15)
    assert by_speaker.std() > 4 * by_row.std()


def test_scores_are_turned_so_that_higher_is_better():
    target = np.zeros(50, dtype=int)
    sure, unsure = np.tile([0.9, 0.1], (50, 1)), np.tile([0.6, 0.4], (50, 1))
    found = resampled_scores(evidence({"sure": [[sure]], "unsure": [[unsure]]}, [target]), LOSS)
    assert (found["sure"].resampled > found["unsure"].resampled).all()
    assert found["sure"].found > found["unsure"].found


def test_an_undefined_score_is_not_a_number():
    target = np.array([0, 0, 1])
    p = np.array([[0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    drawn = resampled_scores(evidence({"one": [[p]]}, [target]), AUC)["one"]
    assert drawn.found.tolist() == [[1.0]]
    assert 0 < np.isnan(drawn.resampled).mean() < 1


@pytest.mark.parametrize(("same", "rows"), [(True, 10), (False, 20)])
def test_rows_that_all_folds_share_count_once(same, rows):
    target = np.zeros(10, dtype=int)
    given = evidence({}, [target] * 2, [np.arange(10)] * 2 if same else None)
    assert (given.shared, given.num_rows, given.num_units) == (same, rows, rows)


def test_evidence_on_some_of_the_models():
    target = np.zeros(2, dtype=int)
    model = [[np.eye(2)[target]]]
    only = evidence({"a": model, "b": model, "c": model}, [target]).only("c", "a")
    assert list(only.predictions) == ["c", "a"]
