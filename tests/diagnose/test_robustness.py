import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.corruptions import CORRUPTIONS, missing
from fuseloom.diagnose.robustness import RobustnessPlan, best_constant, robustness
from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.robustness import effective_robustness, relative_robustness
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

R2, RMSE = (("r2", Regression.metrics["r2"]), ("rmse", Regression.metrics["rmse"]))
QUICK = RobustnessPlan(severities=(0.0, 0.25, 0.5, 1.0), resamples=200)


def rows(count=1000):
    used = torch.randn(count, 1, dtype=torch.float64)
    return Batch(inputs={"used": used, "ignored": torch.randn(count, 5, 3)}, target=used[:, 0])


def copy(batch):
    return np.where(batch.mask_of("used").numpy(), batch.inputs["used"][:, 0].numpy(), 0.0)


def curves_of(found):
    return {(one.modalities, one.corruption): one for one in found.curves}


def test_every_corruption_that_fits_is_tried_and_all_modalities_at_once():
    found = curves_of(robustness(copy, rows(100), model="copy", metric=R2, plan=QUICK))
    assert list(found) == [
        (("used",), "gaussian_noise"),
        (("used",), "missing"),
        (("ignored",), "gaussian_noise"),
        (("ignored",), "token_dropout"),
        (("ignored",), "missing"),
        (("used", "ignored"), "gaussian_noise"),
        (("used", "ignored"), "missing"),
    ]


def test_noise_costs_what_its_variance_says():
    """Of a copy of the target, noise of severity s leaves the share 1 - s^2 of the variance explained."""
    found = curves_of(robustness(copy, rows(), model="copy", metric=R2, plan=QUICK))
    curve = found[("used",), "gaussian_noise"]
    means = [one.mean for one in curve.scores]
    assert means == pytest.approx([1 - s**2 for s in curve.severities], abs=0.08)
    assert all(one.low <= one.mean <= one.high for one in curve.scores)
    assert [one.mean for one in curve.drops] == pytest.approx([1 - mean for mean in means])
    assert curve.drops[1].low > 0
    area = relative_robustness(np.array(means), np.array(curve.severities))
    assert curve.relative.mean == pytest.approx(area)
    assert curve.relative.low < area < curve.relative.high


def test_what_a_model_ignores_cannot_break_it():
    found = curves_of(robustness(copy, rows(), model="copy", metric=R2, plan=QUICK))
    for name in ("gaussian_noise", "token_dropout", "missing"):
        curve = found[("ignored",), name]
        assert {one.mean for one in curve.drops} == {0}
        assert (curve.collapse, curve.half) == (None, None)
        assert curve.relative.mean == pytest.approx(1)


@pytest.mark.parametrize("metric", [R2, RMSE], ids=["higher is better", "lower is better"])
def test_a_model_collapses_where_it_is_no_better_than_a_constant(metric):
    found = robustness(copy, rows(), model="copy", metric=metric, plan=QUICK)
    curve = curves_of(found)[("used",), "missing"]
    assert (curve.collapse, curve.half) == (1.0, 0.5 if metric is R2 else 0.25)
    sign = metric[1].better(1.0)
    gains = [sign * (one.mean - found.constant.mean) for one in curve.scores]
    assert gains[0] > 0
    assert gains[-1] == pytest.approx(0, abs=0.01)
    assert curve.drops[-1].mean > 0


def test_effective_robustness_is_what_is_kept_beyond_the_reference():
    def careless(batch):
        return copy(batch) * 0.9

    def steady(batch):
        return np.zeros(len(batch)) + 0.1 * rows_given.target.numpy()

    rows_given = rows()
    found = curves_of(robustness(careless, rows_given, model="one", metric=R2, reference=steady, plan=QUICK))
    curve = found[("used",), "missing"]
    own = np.array([one.mean for one in curve.scores])
    flat = np.full(4, R2[1].function(steady(rows_given), rows_given.target.numpy()))
    assert curve.effective.mean == pytest.approx(effective_robustness(own, flat))
    assert curve.effective.low < curve.effective.mean < curve.effective.high < 0
    itself = robustness(careless, rows_given, model="one", metric=RMSE, reference=careless, plan=QUICK)
    assert [one.effective.mean for one in itself.curves] == pytest.approx([0] * 7, abs=1e-12)
    worse = robustness(careless, rows_given, model="one", metric=RMSE, reference=steady, plan=QUICK)
    assert curves_of(worse)[("used",), "missing"].effective.high < 0  # also where lower is better


def test_other_corruptions_may_be_planned():
    wave = Batch(inputs={"sound": torch.randn(50, 80)}, target=torch.arange(50) % 2)
    plan = RobustnessPlan(corruptions={"sound": CORRUPTIONS["waveform"]}, severities=(0, 1), resamples=20)
    accuracy = ("accuracy", Classification.metrics["accuracy"])

    def loud(batch):
        return np.eye(2)[(batch.inputs["sound"].abs().amax(1) > 0).long().numpy()]

    found = robustness(loud, wave, model="loud", metric=accuracy, plan=plan)
    assert [one.corruption for one in found.curves] == ["gaussian_noise", "clipping", "missing"]
    own = RobustnessPlan(corruptions={"sound": {"gone": missing}}, severities=(0, 1), resamples=20)
    assert robustness(loud, wave, model="loud", metric=accuracy, plan=own).curves[0].corruption == "gone"


def test_the_best_constant_is_the_best_of_its_kind():
    classes = np.array([0, 0, 1])
    accuracy, loss = (Classification.metrics[name] for name in ("accuracy", "log_loss"))
    guess = best_constant(np.zeros((3, 2)), classes, accuracy)
    assert accuracy.function(guess, classes) == pytest.approx(2 / 3)
    assert best_constant(np.zeros((3, 2)), classes, loss) == pytest.approx(np.tile([2 / 3, 1 / 3], (3, 1)))
    numbers = np.array([0.0, 0.0, 9.0])
    assert best_constant(numbers, numbers, RMSE[1]) == pytest.approx(np.full(3, 3.0))
    assert best_constant(numbers, numbers, Regression.metrics["pearson"]) is None


def test_where_no_constant_can_be_scored_there_is_no_collapse():
    pearson = ("pearson", Regression.metrics["pearson"])
    found = robustness(copy, rows(100), model="copy", metric=pearson, plan=QUICK)
    assert found.constant is None
    assert {(one.collapse, one.half) for one in found.curves} == {(None, None)}


def test_the_same_seed_gives_the_same_and_nothing_is_changed():
    given, state = rows(100), torch.get_rng_state()
    before = {name: value.clone() for name, value in given.inputs.items()}
    first, second = (robustness(copy, given, model="copy", metric=R2, plan=QUICK) for _ in range(2))
    assert first == second
    assert torch.get_rng_state().equal(state)
    assert given.masks == {}
    assert all(given.inputs[name].equal(value) for name, value in before.items())


def test_what_cannot_be_done_is_said():
    with pytest.raises(OptionError, match=r"severities must rise from 0 to at most 1, got \(0\.1, 0\.5\)"):
        RobustnessPlan(severities=(0.1, 0.5))
    plan = RobustnessPlan(corruptions={"other": CORRUPTIONS["text"]})
    with pytest.raises(OptionError, match=r"of modalities \['ignored', 'used'\], got 'other'"):
        robustness(copy, rows(10), model="copy", metric=R2, plan=plan)
    with pytest.raises(DataError, match="rows must have a target"):
        robustness(copy, Batch(inputs={"used": torch.ones(2, 1)}), model="copy", metric=R2)
