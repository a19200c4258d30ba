from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.comparison.insight import calibrated, confused, disagreements, fitted, learning_curves
from fuseloom.metrics.calibration import tempered
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression


def drawn(rows, *, seed=0):
    """Probabilities of three classes, and classes drawn by them."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([1, 1, 1], size=rows)
    target = (probabilities.cumsum(-1) < generator.random(rows)[:, None]).sum(-1)
    return probabilities, np.minimum(target, 2)


def test_a_temperature_of_validation_rows_mends_a_model_that_is_too_sure():
    valid, test = drawn(4000), drawn(4000, seed=1)
    found = calibrated("sum", (tempered(valid[0], 0.4), valid[1]), (tempered(test[0], 0.4), test[1]))
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.after.error < 0.03 < found.before.error
    assert found.after.error_equal_mass < found.before.error_equal_mass
    assert found.after.log_loss < found.before.log_loss
    assert sum(one.count for one in found.before.curve) == 4000


def test_test_rows_have_no_say_in_the_temperature():
    valid = drawn(500)
    flipped = drawn(300, seed=2)
    one = calibrated("sum", valid, flipped)
    other = calibrated("sum", valid, (flipped[0], 2 - flipped[1]))
    assert one.temperature == other.temperature
    assert one.before.log_loss != other.before.log_loss


def test_confusion_counts_rows_by_true_and_predicted_class():
    target = np.array([0, 0, 0, 1, 1, 2])
    chosen = np.array([0, 1, 1, 1, 2, 0])
    found = confused("sum", np.eye(3)[chosen], target, ["a", "b", "c"])
    assert found.counts == ((1, 2, 0), (0, 1, 1), (1, 0, 0))
    assert [(p.true, p.predicted, p.rows, p.share) for p in found.pairs] == [
        ("a", "b", 2, pytest.approx(2 / 3)),
        ("b", "c", 1, 0.5),
        ("c", "a", 1, 1.0),
    ]


def test_of_many_classes_only_the_most_confused_pairs_are_kept():
    generator = np.random.default_rng(0)
    target, chosen = generator.integers(100, size=(2, 5000))
    found = confused("sum", np.eye(100)[chosen], target, [f"class {k}" for k in range(100)])
    assert found.counts == ()
    assert len(found.pairs) == 20
    rows = [pair.rows for pair in found.pairs]
    assert rows == sorted(rows, reverse=True)
    first = found.pairs[0]
    true, predicted = (int(name.split()[1]) for name in (first.true, first.predicted))
    assert first.rows == ((target == true) & (chosen == predicted)).sum()


def test_a_model_without_error_confuses_nothing():
    assert confused("sum", np.eye(2), np.array([0, 1]), ["a", "b"]).pairs == ()


@given(st.integers(1, 3000))
def test_points_are_pairs_of_the_data_each_at_most_once(count):
    target = np.arange(count, dtype=float)
    found = fitted("sum", target + 0.5, target)
    assert found.rows == count
    assert len(set(found.true)) == len(found.true) == min(count, 1000)
    assert all(p == t + 0.5 for p, t in zip(found.predicted, found.true, strict=True))


def test_rows_are_ordered_by_how_far_sure_modalities_are_apart():
    task = Classification(["no", "yes"])
    alone = {
        "text": np.array([[0.9, 0.1], [1.0, 0.0], [0.5, 0.5], [0.8, 0.2]]),
        "image": np.array([[0.9, 0.1], [0.0, 1.0], [0.5, 0.5], [0.3, 0.7]]),
    }
    found = disagreements(
        task, alone, ("sum", np.array([[0.2, 0.8]] * 4)), ids=["r0", "r1", "r2", "r3"], target=["no"] * 4
    )
    assert [(one.row, round(one.degree, 3)) for one in found] == [("r1", 1.0), ("r3", 0.191)]
    assert [(guess.model, guess.prediction, guess.confidence) for guess in found[0].alone] == [
        ("text", "no", 1.0),
        ("image", "yes", 1.0),
    ]
    assert (found[0].fused.prediction, found[0].fused.confidence) == ("yes", 0.8)


def test_the_divergence_is_that_of_scipy():
    from scipy.spatial.distance import jensenshannon

    one, other = drawn(50)[0], drawn(50, seed=5)[0]
    found = disagreements(
        Classification("abc"),
        {"a": one, "b": other},
        ("sum", one),
        ids=list(map(str, range(50))),
        target="x" * 50,
    )
    expected = jensenshannon(one, other, base=2, axis=1) ** 2
    for row in found:
        assert row.degree == pytest.approx(expected[int(row.row)])


def test_numbers_disagree_by_their_range():
    alone = {"a": np.array([1.0, 2.0]), "b": np.array([1.5, -2.0]), "c": np.array([1.2, 0.0])}
    found = disagreements(Regression(0, 1), alone, ("sum", np.zeros(2)), ids=["x", "y"], target=["1", "2"])
    assert [(one.row, one.degree) for one in found] == [("y", 4.0), ("x", 0.5)]
    assert [guess.prediction for guess in found[0].alone] == ["2", "-2", "0"]
    assert found[0].fused.confidence is None


def test_a_curve_for_every_run_with_the_epoch_that_was_kept():
    nan = float("nan")
    run = SimpleNamespace(
        candidate=SimpleNamespace(name="sum"),
        curves=(
            (((2.0, 1.0), (1.0, 0.5), (0.5, 0.7)), ((nan, nan),)),
            (((1.0, 3.0),), ((1.0, 2.0), (1.0, nan))),
        ),
    )
    found = learning_curves(run)
    assert [(one.fold, one.seed, one.best_epoch) for one in found] == [
        (0, 0, 2),
        (0, 1, 0),
        (1, 0, 1),
        (1, 1, 1),
    ]
    assert (found[0].train, found[0].valid) == ((2.0, 1.0, 0.5), (1.0, 0.5, 0.7))
