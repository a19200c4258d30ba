"""The task of making a picture from others of its scene."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.generation import frechet_distance, kernel_distance, random_features
from fuseloom.metrics.resampled import resampled
from fuseloom.tasks import infer_task
from fuseloom.tasks.translation import Translation


@dataclass(frozen=True)
class Given:
    """A picture in memory."""

    values: NDArray[np.float32]
    limits: tuple[float, float] | None = None

    def read(self, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
        assert size is None or size == self.values.shape[1:], "these are not resized"
        return self.values


def pictures(*values: object, limits: tuple[float, float] | None = None) -> NDArray[np.object_]:
    items = np.empty(len(values), dtype=object)
    items[:] = [Given(np.array(one, dtype=np.float32), limits) for one in values]
    return items


TASK = Translation(3, size=(6, 8), low=0, high=255)
rng = np.random.default_rng(0)
MADE = rng.uniform(-1, 1, (5, 3, 6, 8)).astype(np.float32)
REAL = rng.uniform(-1, 1, (5, 3, 6, 8)).astype(np.float32)
HOLED = REAL.copy()
HOLED[0, :, :3] = np.nan


def test_the_range_is_that_of_bytes_or_of_the_numbers_that_are_known() -> None:
    bytes_of = pictures([[[0, 100]]], [[[50, 200]]], limits=(0.0, 255.0))
    assert infer_task(bytes_of) == "translation"
    learnt = Translation.learn(bytes_of)
    assert (learnt.channels, learnt.size, learnt.low, learnt.high) == (1, (1, 2), 0, 255)
    assert learnt.notes == ("1 channels of 0 to 255, at 1 x 2 pixels",)
    maps = pictures([[[2, np.nan]]], [[[6, 10]]], [[[np.nan, np.nan]]])
    learnt = Translation.learn(maps)
    assert (learnt.low, learnt.high) == (2, 10)
    np.testing.assert_allclose(learnt.encode(maps)[:2], [[[[-1, np.nan]]], [[[0, 1]]]])
    again = Translation.from_state(learnt.state())
    assert again.state() == learnt.state()
    assert learnt.resized(3, 4).size == (3, 4)


def test_numbers_go_there_and_back_also_by_their_logarithms() -> None:
    for task in (TASK, TASK.configured({"log": True, "low": 1, "high": 99})):
        numbers = rng.uniform(task.low, task.high, (3, 6, 8)).astype(np.float32)
        encoded = task.encode(pictures(numbers))
        assert -1 <= encoded.min() < encoded.max() <= 1
        np.testing.assert_allclose(task.numbers(encoded)[0], numbers, rtol=1e-4, atol=1e-3)
    outside = TASK.encode(pictures(np.full((3, 6, 8), 300.0)))
    assert (outside == 1).all()


def test_the_loss_adds_up_predictions_and_leaves_out_what_is_not_known() -> None:
    outputs, target = torch.from_numpy(MADE), torch.from_numpy(HOLED)
    known = ~target.isnan()
    expected = (outputs - target)[known].abs().mean()
    torch.testing.assert_close(TASK.loss(outputs, target), expected)
    several = torch.stack([outputs, outputs * 0.5], 1)
    both = expected + (outputs * 0.5 - target)[known].abs().mean()
    torch.testing.assert_close(TASK.loss(several, target), both)
    weight = torch.tensor([0.0, 1, 0, 0, 0])
    torch.testing.assert_close(TASK.loss(outputs, target, weight), (outputs - target)[1].abs().mean())
    torch.testing.assert_close(TASK.losses(outputs, target)[0], (outputs - target)[0][known[0]].abs().mean())
    nothing = torch.full_like(target, torch.nan)
    assert TASK.loss(outputs, nothing) == 0
    assert TASK.blank_outputs(target).shape == target.shape


def test_scores_are_those_of_their_formulas() -> None:
    scores = {name: metric.function(MADE, HOLED) for name, metric in TASK.metrics.items()}
    known = ~np.isnan(HOLED)
    apart = (MADE - HOLED)[known].astype(np.float64)
    assert scores["mae"] == pytest.approx(np.abs(apart).mean(), rel=1e-6)
    assert scores["mse"] == pytest.approx((apart**2).mean(), rel=1e-6)
    assert scores["psnr"] == pytest.approx(10 * np.log10(4 / (apart**2).mean()), rel=1e-6)
    made = random_features(torch.from_numpy(np.where(known, MADE, 0)))
    real = random_features(torch.from_numpy(np.nan_to_num(HOLED)))
    assert scores["fid_random"] == pytest.approx(frechet_distance(made, real), rel=1e-6)
    assert scores["kid_random"] == pytest.approx(kernel_distance(made, real), rel=1e-6)
    assert not TASK.metrics["mae"].higher_is_better
    assert TASK.metrics["psnr"].higher_is_better
    exact = {name: metric.function(REAL, REAL) for name, metric in TASK.metrics.items()}
    assert exact["psnr"] == np.inf
    assert exact["mae"] == 0
    assert exact["fid_random"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(TASK.metrics["kid_random"].function(MADE[:1], REAL[:1]))
    assert np.isnan(TASK.metrics["fid_random"].function(MADE[:1], REAL[:1]))


def test_resamples_count_each_picture_once() -> None:
    counts = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 2, 0]])
    for name in ("mae", "psnr", "fid_random"):
        metric = TASK.metrics[name].function
        drawn = np.repeat(np.arange(5), counts[1])
        expected = [metric(MADE, REAL), metric(MADE[drawn], REAL[drawn])]
        np.testing.assert_allclose(resampled(metric, MADE, REAL, counts), expected, rtol=1e-6)


def test_columns_are_mean_numbers_of_the_files() -> None:
    found = TASK.columns(TASK.predict(np.stack([np.zeros((3, 6, 8)), np.full((3, 6, 8), 7.0)])))
    np.testing.assert_allclose(found["prediction"], [127.5, 255])
    target = TASK.target_columns(pictures(np.full((3, 6, 8), 20.0), np.where(np.eye(3, 48) > 0, np.nan, 5)))
    np.testing.assert_allclose(target["target"], [20, 5])
    assert TASK.baselines(0) == []
    assert TASK.baseline_name == "none"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pictures([[[1]]], [[[1]], [[2]]]), r"one number of channels in all rows, got \[1, 2\]"),
        (pictures([[[4, 4]]]), "pixels of different numbers, got none"),
        (pictures([[[np.nan]]]), "pixels of different numbers, got none"),
        (pictures(), "must have a picture, got no row"),
        (np.array(["a.png"], dtype=object), r"a picture in every row, got 'a.png'.*--kind COLUMN=image"),
    ],
)
def test_what_cannot_be_learnt_from_is_named(wrong: NDArray[np.object_], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Translation.learn(wrong)


def test_other_channels_and_options_are_refused() -> None:
    with pytest.raises(DataError, match="3 channels as in training, got 1"):
        TASK.encode(pictures(np.zeros((1, 6, 8))))
    with pytest.raises(OptionError, match="low must be below high, got 5 and 5"):
        Translation(1, size=(1, 1), low=5, high=5)
    with pytest.raises(OptionError, match="above -1 where log is True, got -3"):
        Translation(1, size=(1, 1), low=-3, high=5, log=True)
    with pytest.raises(OptionError, match=r"Options of translation .* got 'hgih'\. Did you mean 'high'"):
        TASK.configured({"hgih": 3})
    with pytest.raises(OptionError, match="which has no classes"):
        TASK.balanced(REAL)
    with pytest.raises(OptionError, match="translation has none"):
        TASK.baseline_predict(None, None)
