import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fuseloom import Batch
from fuseloom.diagnose.complementarity import complementarity
from fuseloom.errors import DataError, ModalityError
from fuseloom.metrics.interval import Interval


def probabilities(chosen, sure=0.9, classes=2):
    """Sure of the chosen classes."""
    rest = (1 - sure) / (classes - 1)
    return np.where(np.eye(classes)[chosen] > 0, sure, rest)


def classes(seed=0, count=400, hits=(0.7, 0.6), fused=0.85, independent=True):
    """Predictions that are right with given probabilities, of a class that is always 1."""
    generator = np.random.default_rng(seed)
    luck = generator.random((3, count)) if independent else np.tile(generator.random(count), (3, 1))
    right = [(luck[k] < p).astype(int) for k, p in enumerate((*hits, fused))]
    guesses = [probabilities(one) for one in right]
    rows = Batch(inputs={}, target=torch.ones(count, dtype=torch.int64))
    return {"a": guesses[0], "b": guesses[1]}, guesses[2], rows, np.array(right) > 0


def test_rescues_and_harm_are_counted_as_they_are_defined():
    alone, fused, rows, (a, b, f) = classes()
    found = complementarity(alone, fused, rows, model="sum")
    expected = {
        "differ": a != b,
        "rescued": ~a & ~b & f,
        "harmed": (a | b) & ~f,
        "spoiled": a & b & ~f,
    }
    for name, which in expected.items():
        share = getattr(found, name)
        wilson = binomtest(int(which.sum()), 400).proportion_ci(method="wilson")
        assert share.rows == which.sum() > 0
        assert [share.share.mean, share.share.low, share.share.high] == pytest.approx(
            [which.mean(), wilson.low, wilson.high], abs=1e-6
        )
    assert (found.model, found.measure, found.rows, found.left_out) == ("sum", "accuracy", 400, 0)
    assert found.alone["a"].mean == pytest.approx(a.mean())
    assert found.fused.mean == pytest.approx(f.mean())
    assert found.oracle.mean == pytest.approx((a | b).mean())
    assert found.headroom.mean == pytest.approx((a | b).mean() - f.mean())
    # What fusion has over the oracle are rescues, what it lacks is harm.
    assert found.headroom.mean == pytest.approx(found.harmed.share.mean - found.rescued.share.mean)


def test_intervals_are_those_of_means_over_rows():
    alone, fused, rows, (a, _, f) = classes(count=2000)
    found = complementarity(alone, fused, rows, model="sum")
    for interval, values in ((found.alone["a"], a), (found.fused, f)):
        half = 1.96 * values.std() / 2000**0.5
        assert [interval.low, interval.high] == pytest.approx(
            [values.mean() - half, values.mean() + half], abs=0.1 * half
        )


def test_errors_that_are_independent_are_told_from_those_that_are_shared():
    for independent in (True, False):
        alone, fused, rows, (a, b, _) = classes(count=3000, independent=independent)
        (pair,) = complementarity(alone, fused, rows, model="sum").pairs
        assert pair.modalities == ("a", "b")
        assert pair.correlation.mean == pytest.approx(np.corrcoef(~a, ~b)[0, 1])
        assert pair.double_fault.mean == pytest.approx((~a & ~b).mean())
        for measure in (pair.q, pair.kappa, pair.correlation):
            assert (measure.low < 0 < measure.high) == independent
            assert measure.low <= measure.mean <= measure.high
    assert pair.q.mean == pytest.approx(1)


def test_of_numbers_the_distance_to_the_truth_counts():
    target = torch.tensor([0.0, 0.0, 0.0, 0.0])
    alone = {"a": np.array([1.0, 1.0, -1.0, 2.0]), "b": np.array([2.0, 3.0, 2.0, 2.0])}
    fused = np.array([0.5, 2.0, 2.5, 2.0])  # nearer than both, between, farther than both, the same
    found = complementarity(alone, fused, Batch(inputs={}, target=target), model="sum", ids=list("wxyz"))
    assert found.measure == "mean absolute error"
    assert [found.rescued.rows, found.harmed.rows, found.spoiled.rows, found.differ.rows] == [1, 2, 1, 1]
    assert found.alone["b"].mean == pytest.approx(9 / 4)
    assert (found.fused.mean, found.oracle.mean) == pytest.approx((7 / 4, 5 / 4))
    assert found.headroom.mean == pytest.approx(1 / 2)
    assert [(one.row, one.kind, one.margin, one.disagreement) for one in found.samples] == [
        ("w", "rescued", 0.5, 1.0), ("x", "harmed", 1.0, 2.0), ("y", "spoiled", 1.5, 3.0)
    ]  # fmt: skip
    assert found.samples[0].alone == {"a": 1.0, "b": 2.0}
    assert (found.samples[0].fused, found.samples[0].target) == (0.5, 0.0)
    (pair,) = found.pairs
    assert pair.correlation.mean == pytest.approx(np.corrcoef(alone["a"], alone["b"])[0, 1])
    assert (pair.double_fault, pair.q, pair.kappa) == (None, None, None)


def test_a_modality_that_a_row_lacks_does_not_count_there():
    alone, fused, rows, (a, b, f) = classes()
    there = np.arange(400) >= 100
    alone["b"][:100] = np.nan
    masks = {"b": torch.from_numpy(there)[:, None].expand(400, 3)}
    found = complementarity(alone, fused, Batch(inputs={}, masks=masks, target=rows.target), model="sum")
    none_right = ~a & ~(b & there)
    assert found.rescued.rows == (none_right & f).sum()
    assert found.spoiled.rows == (a & (b | ~there) & ~f).sum()
    assert found.differ.rows == ((a != b) & there).sum()
    assert found.alone["b"].mean == pytest.approx(b[there].mean())
    assert found.pairs[0].rows == 300
    assert found.pairs[0].correlation.mean == pytest.approx(np.corrcoef(a[there], b[there])[0, 1])
    lacking = [one for one in found.samples if int(one.row) < 100]
    assert lacking
    assert all(one.alone.keys() == {"a"} for one in lacking)


def test_rows_with_nothing_to_compare_are_left_out():
    alone, fused, rows, _ = classes()
    masks = {name: torch.arange(400) >= 10 for name in alone}
    found = complementarity(alone, fused, Batch(inputs={}, masks=masks, target=rows.target), model="sum")
    assert (found.rows, found.left_out) == (390, 10)
    numbers = {name: one[:, 0] for name, one in alone.items()}
    target = rows.target.double()
    target[:7] = torch.nan
    found = complementarity(numbers, fused[:, 0], Batch(inputs={}, target=target), model="sum")
    assert (found.rows, found.left_out) == (393, 7)
    assert {int(one.row) for one in found.samples} <= set(range(7, 400))


def test_samples_have_the_largest_margins_of_their_kind_and_ids_of_the_rows():
    alone, fused, rows, (a, b, f) = classes(count=300)
    fused = probabilities(f.astype(int), sure=0.6)
    fused[:, 1] += np.linspace(0, 0.3, 300)
    fused[:, 0] = 1 - fused[:, 1]
    f = fused.argmax(-1) == 1
    numbered = Batch(inputs={}, target=rows.target, ids=torch.arange(300) + 1000)
    found = complementarity(alone, fused, numbered, model="sum")
    rescued = [one for one in found.samples if one.kind == "rescued"]
    assert len(rescued) == 20 < found.rescued.rows
    margins = fused[:, 1] - 0.1
    which = np.flatnonzero(~a & ~b & f)
    assert [one.margin for one in rescued] == pytest.approx(np.sort(margins[which])[::-1][:20])
    assert {int(one.row) - 1000 for one in rescued} <= set(which)
    assert all(one.fused == one.target == 1 and set(one.alone.values()) == {0} for one in rescued)


def test_three_modalities_have_three_pairs():
    alone, fused, rows, _ = classes()
    found = complementarity(alone | {"c": alone["a"]}, fused, rows, model="sum")
    assert [one.modalities for one in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.pairs[1].correlation.mean == pytest.approx(1)
    assert json.loads(json.dumps(asdict(found)))["pairs"][1]["modalities"] == ["a", "c"]


def test_measures_of_who_never_errs_are_not_defined():
    alone, fused, rows, _ = classes(hits=(1.0, 0.5))
    (pair,) = complementarity(alone, fused, rows, model="sum").pairs
    assert (pair.q, pair.correlation) == (None, None)
    assert (pair.kappa.mean, pair.double_fault) == (0, Interval(mean=0, low=0, high=0))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 500), st.booleans())
def test_an_oracle_is_no_worse_than_any_modality_and_a_copy_rescues_nothing(seed, numbers):
    alone, fused, rows, _ = classes(seed, count=60)
    if numbers:
        generator = np.random.default_rng(seed)
        alone = {name: generator.normal(size=60) for name in alone}
        fused, rows = generator.normal(size=60), Batch(inputs={}, target=torch.zeros(60))
    found = complementarity(alone, fused, rows, model="any", resamples=50)
    alone_means = [one.mean for one in found.alone.values()]
    assert found.oracle.mean <= min(alone_means) if numbers else found.oracle.mean >= max(alone_means)
    assert found.spoiled.rows <= found.harmed.rows
    copy = complementarity(alone, alone["a"], rows, model="copy", resamples=50)
    assert (copy.rescued.rows, copy.spoiled.rows) == (0, 0)
    assert copy.headroom.mean >= 0


def test_nothing_given_is_changed():
    alone, fused, rows, _ = classes()
    before = {name: one.copy() for name, one in alone.items()}
    one, other = (complementarity(alone, fused, rows, model="sum", seed=3) for _ in range(2))
    assert one == other
    assert all(np.array_equal(alone[name], before[name]) for name in alone)


def test_a_modality_that_no_row_has_is_refused_and_one_that_few_have_is_scored_on_them():
    alone, fused, rows, (_, b, _) = classes()
    few = torch.arange(400) < 2
    found = complementarity(alone, fused, Batch(inputs={}, masks={"b": few}, target=rows.target), model="m")
    assert found.alone["b"].mean == b[:2].mean()
    assert found.alone["b"].low is not None
    with pytest.raises(DataError, match="modalities that some row has, got 'b', which none has"):
        complementarity(
            alone, fused, Batch(inputs={}, masks={"b": few & ~few}, target=rows.target), model="m"
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a, f, t: ({"a": a["a"]}, f, t), ModalityError, r"two or more modalities, got \['a'\]"),
        (lambda a, f, t: (a, f, None), DataError, "one number or class per row, got None"),
        (lambda a, f, t: (a, f, t[:, None].expand(-1, 2)), DataError, r"got \[400, 2\]. Ask of one target"),
        (
            lambda a, f, t: (a, f[:, 0], t),
            DataError,
            r"shape of the fusion's, \(400,\), got \{'a': \(400, 2\)",
        ),
        (lambda a, f, t: (a, f, t[:7]), DataError, "must be of 7 rows, as the target is, got 400"),
        (
            lambda a, f, t: ({n: p[:, 0] for n, p in a.items()}, f[:, 0], torch.full((400,), torch.nan)),
            DataError,
            "must have a modality and a target, got none",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(change, error, message):
    alone, fused, rows, _ = classes()
    alone, fused, target = change(alone, fused, rows.target)
    with pytest.raises(error, match=message):
        complementarity(alone, fused, Batch(inputs={}, target=target), model="sum")


def test_a_rescue_that_gives_the_truth_less_probability_comes_last_with_a_margin_below_zero():
    alone = np.array([[0.45, 0.4, 0.15], [0.6, 0.2, 0.2], [0.3, 0.4, 0.3]])  # wrong, wrong, right
    fused = np.array([[0.32, 0.35, 0.33], [0.1, 0.8, 0.1], [0.42, 0.41, 0.17]])  # right, right, wrong
    rows = Batch(inputs={}, target=torch.tensor([1, 1, 1]))
    found = complementarity({"a": alone, "b": alone}, fused, rows, model="sum", ids=["x", "y", "z"])
    said = [(one.row, one.place, one.kind) for one in found.samples]
    assert said == [("y", 1, "rescued"), ("x", 0, "rescued"), ("z", 2, "spoiled")]
    assert [one.margin for one in found.samples] == pytest.approx([0.6, -0.05, -0.01])


def test_places_count_the_rows_that_were_left_out():
    alone, fused, rows, _ = classes(count=40)
    there = torch.arange(40) % 3 > 0
    held = Batch(inputs={}, masks={"a": there, "b": there}, target=rows.target)
    found = complementarity(alone, fused, held, model="sum")
    assert found.samples
    assert all(one.row == str(one.place) and one.place % 3 for one in found.samples)
