import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.modality_test import modality_test
from fuseloom.errors import DataError, ModalityError, OptionError
from fuseloom.metrics.correction import holm
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

R2 = ("r2", Regression.metrics["r2"])
RMSE = ("rmse", Regression.metrics["rmse"])


def drawn(count=200, noise=0.5, seed=0):
    """A target of ``used``; ``copy`` says the same, ``idle`` nothing."""
    generator = torch.Generator().manual_seed(seed)
    used, idle, more = torch.randn(3, count, 1, generator=generator, dtype=torch.float64)
    target = used[:, 0] + noise * more[:, 0]
    return Batch(inputs={"used": used, "copy": used.clone(), "idle": idle}, target=target)


def average(rows):
    """Of two modalities that say the same; it reads no more."""
    masks = [rows.masks[n].double() if n in rows.masks else 1.0 for n in ("used", "copy")]
    values = [rows.inputs[n][:, 0] * mask for n, mask in zip(("used", "copy"), masks, strict=True)]
    return (sum(values) / 2).numpy()


@pytest.mark.parametrize("metric", [R2, RMSE], ids=["r2", "rmse"])
def test_what_is_used_and_redundant_passes_one_test_and_not_the_other(metric):
    rows = drawn()
    nothing = np.zeros(200)
    without = {"used": average(rows), "copy": average(rows), "idle": nothing}
    found = modality_test(average, rows, model="mean", metric=metric, without=without, permutations=100)
    used, copy, idle = (found.over_permuted[name] for name in rows.inputs)
    assert used.p == copy.p == pytest.approx(1 / 101)
    assert used.p_holm == pytest.approx(3 / 101)
    assert 0 < used.gain.low < used.gain.mean < used.gain.high
    assert (idle.p, idle.gain.mean, idle.gain.low, idle.gain.high) == (1, 0, 0, 0)
    assert found.over_without["used"].p == 1  # not one resample gains
    assert found.over_without["used"].gain.mean == 0
    assert found.over_without["idle"].p == pytest.approx(1 / 2001)
    expected = metric[1].better(metric[1].function(average(rows), rows.target.numpy())) - metric[1].better(
        metric[1].function(nothing, rows.target.numpy())
    )
    assert found.over_without["idle"].gain.mean == pytest.approx(expected)
    assert found.over_without["idle"].gain.low > 0
    assert (found.model, found.metric) == ("mean", metric[0])
    assert found.score == pytest.approx(metric[1].function(average(rows), rows.target.numpy()))


def test_p_values_are_corrected_for_the_number_of_modalities():
    rows = drawn(40, noise=3.0)
    found = modality_test(average, rows, model="mean", metric=R2, permutations=50)
    ps = [one.p for one in found.over_permuted.values()]
    assert [one.p_holm for one in found.over_permuted.values()] == pytest.approx(holm(ps))
    assert found.over_without == {}


@pytest.mark.slow
def test_a_modality_that_says_nothing_is_found_useful_as_often_as_chance_says():
    """The model trusts noise: its gain over permuted noise is zero on average, and p is uniform."""
    ps = []
    for seed in range(80):
        rows = drawn(30, seed=seed)
        found = modality_test(
            lambda batch: (batch.inputs["used"] + batch.inputs["idle"])[:, 0].numpy(),
            rows,
            model="trusting",
            metric=R2,
            permutations=39,
            seed=seed,
        )
        ps.append(found.over_permuted["idle"].p)
    assert (np.array(ps) <= 0.05).mean() < 0.13
    assert np.mean(ps) == pytest.approx(0.5, abs=0.12)


def test_the_gain_over_permuted_rows_is_the_mean_drop_of_all_permutations():
    rows = drawn()
    scores = []

    def predict(batch):
        scores.append(R2[1].function(average(batch), batch.target.numpy()))
        return average(batch)

    found = modality_test(predict, rows, model="mean", metric=R2, permutations=30)
    assert len(scores) == 1 + 3 * 30
    assert found.over_permuted["used"].gain.mean == pytest.approx(scores[0] - np.mean(scores[1:31]))


def test_a_modality_is_permuted_together_with_its_mask():
    rows = drawn()
    marked = Batch(inputs=rows.inputs, masks={"used": torch.arange(200) < 100}, target=rows.target)
    seen = []
    modality_test(
        lambda batch: seen.append(batch) or average(batch), marked, model="m", metric=R2, permutations=2
    )
    moved = seen[1]
    place = [marked.inputs["used"][:, 0].tolist().index(one) for one in moved.inputs["used"][:, 0].tolist()]
    assert sorted(place) == list(range(200)) != place
    assert moved.masks["used"].equal(torch.tensor(place) < 100)
    assert moved.inputs["idle"].equal(marked.inputs["idle"])


def test_the_paired_interval_is_that_of_the_hits():
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=2000)
    good = np.where(generator.random(2000) < 0.9, target, 1 - target)
    poor = np.where(generator.random(2000) < 0.5, good, generator.integers(2, size=2000))
    rows = Batch(inputs={"a": torch.zeros(2000, 1)}, target=torch.from_numpy(target))
    metric = ("accuracy", Classification.metrics["accuracy"])
    found = modality_test(
        lambda _: np.eye(2)[good],
        rows,
        model="m",
        metric=metric,
        without={"a": np.eye(2)[poor]},
        permutations=1,
    ).over_without["a"]
    difference = (good == target).astype(float) - (poor == target)
    half = 1.96 * difference.std() / 2000**0.5
    assert found.gain.mean == pytest.approx(difference.mean())
    assert [found.gain.low, found.gain.high] == pytest.approx(
        [difference.mean() - half, difference.mean() + half], abs=0.1 * half
    )


def test_a_score_that_is_not_defined_shows_nothing():
    rows = Batch(inputs={"a": torch.randn(30, 1), "b": torch.randn(30, 1)}, target=torch.ones(30))
    guess = np.zeros(30)
    found = modality_test(lambda _: guess, rows, model="m", metric=R2, without={"a": guess}, permutations=5)
    assert found.over_permuted["a"].p == found.over_without["a"].p == 1


def test_the_same_seed_gives_the_same_result_and_changes_nothing():
    rows = drawn()
    before = {name: value.clone() for name, value in rows.inputs.items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, other = (modality_test(average, rows, model="m", metric=R2, permutations=5) for _ in range(2))
    assert one == other
    assert torch.get_rng_state().equal(state)
    assert all(rows.inputs[name].equal(value) for name, value in before.items())
    assert json.loads(json.dumps(asdict(one)))["metric"] == "r2"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"permutations": 0}, OptionError, "permutations must be at least 1, got 0"),
        (
            {"without": {"use": np.zeros(200)}},
            ModalityError,
            "must name modalities .* 'use'. Did you mean 'used'",
        ),
        (
            {"rows": Batch(inputs={"a": torch.ones(3, 1)})},
            DataError,
            "rows must have a target to be scored, got none",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused(options, error, message):
    given = {"rows": drawn(), "model": "m", "metric": R2} | options
    with pytest.raises(error, match=message):
        modality_test(average, given.pop("rows"), **given)
