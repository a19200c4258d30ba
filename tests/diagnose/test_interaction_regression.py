import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom import Batch
from fuseloom.diagnose.interaction_regression import interaction_regression
from fuseloom.errors import DataError, ModalityError, OptionError

WEIGHTS = (1.0, 0.5, -1.0, 2.0)


def drawn(count=300, names="ab", seed=0, weights=WEIGHTS, noise=0.5):
    """``w0 + w1 a + w2 b + w3 a b`` and noise; other modalities say nothing."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {n: torch.randn(count, 1, generator=generator, dtype=torch.float64) + 1 for n in names}
    a, b = inputs["a"][:, 0], inputs["b"][:, 0]
    target = weights[0] + weights[1] * a + weights[2] * b + weights[3] * a * b
    return Batch(inputs=inputs, target=target + noise * torch.randn(count, generator=generator).double())


def estimates(model):
    return {one.term: one.estimate.mean for one in model.coefficients}


def test_the_true_weights_lie_in_their_intervals_and_the_product_is_needed():
    found = interaction_regression(drawn())
    assert [model.formula for model in found.models] == ["a", "a + b", "a + b + a x b"]
    for one, true in zip(found.models[-1].coefficients, WEIGHTS, strict=True):
        assert one.estimate.low < true < one.estimate.high
    assert found.interaction == found.tests[-1]
    assert found.interaction.p < 1e-50
    assert found.interaction.robust_p < 1e-50
    assert found.interaction.gain == pytest.approx(found.models[2].r2 - found.models[1].r2)
    assert (found.rows, found.left_out, found.models[-1].degrees) == (300, 0, 296)
    assert found.target == "target"
    assert interaction_regression(drawn(), target="score").target == "score"


@pytest.mark.slow
def test_a_product_that_is_not_there_is_found_as_often_as_chance_says():
    """P-values are uniform where the additive model is true."""
    ps = [interaction_regression(drawn(40, seed=s, weights=(1, 1, 1, 0))).interaction.p for s in range(150)]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.1
    assert np.mean(ps) == pytest.approx(0.5, abs=0.08)


def test_centring_changes_the_single_terms_and_never_the_largest_product():
    rows = drawn()
    raw, centred = interaction_regression(rows), interaction_regression(rows, centre=True)
    one, other = (estimates(found.models[-1]) for found in (raw, centred))
    assert other["a", "b"] == pytest.approx(one["a", "b"])
    means = {name: value.mean().item() for name, value in rows.inputs.items()}
    assert centred.centres == pytest.approx(means)
    assert raw.centres == {"a": 0, "b": 0}
    assert other[("a",)] == pytest.approx(one[("a",)] + one["a", "b"] * means["b"])
    assert centred.interaction.p == pytest.approx(raw.interaction.p)
    inflations = [found.models[-1].coefficients[-1].inflation for found in (raw, centred)]
    assert inflations[0] > 2 > inflations[1]
    columns = {name: value[:, 0].numpy() for name, value in rows.inputs.items()}
    np.testing.assert_allclose(raw.predict(columns), centred.predict(columns))
    for left, right in zip(raw.slopes, centred.slopes, strict=True):
        assert left.slope.mean == pytest.approx(right.slope.mean)
        assert left.error == pytest.approx(right.error)
    np.testing.assert_allclose(raw.effects[0].expected, centred.effects[0].expected)


def test_slopes_at_a_moderator_of_two_values_are_those_of_each_group():
    rows = drawn()
    group = (torch.arange(300) % 3 == 0).double()
    rows = Batch(inputs={"a": rows.inputs["a"], "group": group * 5 - 2}, target=rows.target)
    found = interaction_regression(rows)
    slopes = {one.value: one.slope.mean for one in found.slopes if one.modality == "a"}
    for value, side in ((-2.0, group == 0), (3.0, group == 1)):
        x, y = rows.inputs["a"][side, 0].numpy(), rows.target[side].numpy()
        assert slopes[value] == pytest.approx(np.polyfit(x, y, 1)[0])


def test_a_slope_is_the_derivative_of_what_is_expected_and_has_the_error_of_its_sum():
    found = interaction_regression(drawn())
    full = found.models[-1]
    covariance = np.array(full.covariance)
    slopes = [one for one in found.slopes if one.modality == "a"]
    assert len(slopes) == 3
    assert slopes[2].value - slopes[1].value == pytest.approx(slopes[1].value - slopes[0].value)
    for one in slopes:
        at = {"a": np.array([0.0, 1.0]), "b": np.full(2, one.value)}
        assert one.slope.mean == pytest.approx(np.diff(found.predict(at)).item())
        variance = covariance[1, 1] + 2 * one.value * covariance[1, 3] + one.value**2 * covariance[3, 3]
        assert one.error == pytest.approx(variance**0.5)
        assert one.slope.low < one.slope.mean < one.slope.high
        assert one.statistic == pytest.approx(one.slope.mean / one.error)


def test_the_lines_are_what_the_largest_model_expects():
    rows = drawn(names="abc")
    found = interaction_regression(rows, order=3)
    means = {name: value.mean().item() for name, value in rows.inputs.items()}
    for one in found.effects:
        at = {name: np.full(len(one.x), mean) for name, mean in means.items()}
        at |= {one.modality: np.array(one.x), one.moderator: np.full(len(one.x), one.value)}
        np.testing.assert_allclose(one.expected, found.predict(at))
        assert (np.array(one.low) < one.expected).all()
        assert (np.array(one.high) > one.expected).all()
        values = rows.inputs[one.modality]
        assert (one.x[0], one.x[-1]) == pytest.approx((values.min().item(), values.max().item()))
    assert {(one.modality, one.moderator) for one in found.effects} == {
        (one, other) for one in "abc" for other in "abc" if one != other
    }


def test_three_modalities_have_products_of_two_and_on_request_of_three():
    rows = drawn(names="abc")
    pairwise, triple = interaction_regression(rows), interaction_regression(rows, order=3)
    assert pairwise.models[-1].formula == "a + b + c + a x b + a x c + b x c"
    assert triple.models[-1].formula == pairwise.models[-1].formula + " + a x b x c"
    assert (pairwise.interaction.smaller, pairwise.interaction.degrees) == ("a + b + c", 3)
    assert (triple.interaction.smaller, triple.interaction.degrees) == ("a + b + c", 4)
    assert (triple.tests[-1].smaller, triple.tests[-1].degrees) == (pairwise.models[-1].formula, 1)
    assert triple.interaction.p < 1e-50
    assert triple.tests[-1].p > 0.001


def test_standardised_coefficients_are_in_standard_deviations_whatever_the_units():
    rows = drawn()
    moved = Batch(
        inputs={"a": 10 * rows.inputs["a"] - 3, "b": rows.inputs["b"] / 7}, target=100 * rows.target
    )
    one, other = (interaction_regression(given).models[-1].coefficients for given in (rows, moved))
    assert one[0].standardised is None
    assert one[0].inflation is None
    for left, right in zip(one[1:], other[1:], strict=True):
        assert left.standardised == pytest.approx(right.standardised)
    alone = interaction_regression(rows).models[0].coefficients[1]
    a, y = rows.inputs["a"][:, 0].numpy(), rows.target.numpy()
    assert alone.standardised == pytest.approx(np.corrcoef(a, y)[0, 1])


@pytest.mark.parametrize("family", ["linear", "logistic"])
def test_units_of_any_size_and_far_from_zero_lose_no_digits(family):
    """In these units the terms themselves are the same to fifteen digits; nothing that is told may suffer."""
    rows = drawn(noise=2.0)
    target = rows.target if family == "linear" else (rows.target > 2).double()
    a, b = rows.inputs["a"], rows.inputs["b"]
    moved = Batch(inputs={"a": 1e12 * a + 1e15, "b": 1e-6 * b + 3}, target=target)
    one, other = (
        interaction_regression(given, family=family)
        for given in (Batch(inputs=rows.inputs, target=target), moved)
    )
    left, right = one.models[-1].coefficients[-1], other.models[-1].coefficients[-1]
    for value, mate in (
        (left.estimate.mean, right.estimate.mean * 1e6),
        (left.error, right.error * 1e6),
        (left.statistic, right.statistic),
        (left.robust_p, right.robust_p),
        (one.interaction.statistic, other.interaction.statistic),
        (one.interaction.robust_p, other.interaction.robust_p),
    ):
        assert value == pytest.approx(mate, rel=1e-6)
    for slope, moved_slope in zip(one.slopes, other.slopes, strict=True):
        unit = 1e12 if slope.modality == "a" else 1e-6
        assert slope.slope.mean == pytest.approx(moved_slope.slope.mean * unit, rel=1e-5, abs=1e-6)
    for line, moved_line in zip(one.effects, other.effects, strict=True):
        np.testing.assert_allclose(line.low, moved_line.low, rtol=1e-5, atol=1e-6)


def test_a_sum_of_all_that_is_known_has_no_error_and_no_robust_test():
    """Where the target is exactly what the terms say, nothing is left over to judge them by."""
    found = interaction_regression(drawn(12, noise=0.0))
    full = found.models[-1]
    assert full.r2 == pytest.approx(1)
    for one, true in zip(full.coefficients, WEIGHTS, strict=True):
        assert one.estimate.mean == pytest.approx(true)
        assert one.error == pytest.approx(0, abs=1e-9)


def test_robust_errors_hold_where_the_spread_differs():
    """The usual error of a mean slope is too small where rows far out are noisier."""
    rows = drawn(2000)
    noisy = torch.randn(2000, generator=torch.Generator().manual_seed(1)).double()
    rows = Batch(inputs=rows.inputs, target=rows.target + noisy * rows.inputs["a"][:, 0] ** 2)
    slope = interaction_regression(rows).models[0].coefficients[1]
    assert slope.robust_error > 1.5 * slope.error


@pytest.mark.parametrize("values", [(0.0, 1.0), (3.0, 8.0)])
def test_a_target_of_two_values_is_read_in_log_odds(values):
    rows = drawn(4000, noise=0)
    likely = torch.sigmoid(rows.target)
    chosen = torch.rand(4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64) < likely
    target = torch.where(chosen, values[1], values[0])
    found = interaction_regression(Batch(inputs=rows.inputs, target=target), family="logistic")
    full = found.models[-1]
    for one, true in zip(full.coefficients, WEIGHTS, strict=True):
        assert one.estimate.mean == pytest.approx(true, abs=3.5 * one.error)
    assert (full.degrees, full.adjusted_r2, full.variance) == (None, None, None)
    assert found.interaction.p < 1e-20
    line = found.effects[0]
    at = {line.modality: np.array(line.x), line.moderator: np.full(len(line.x), line.value)}
    np.testing.assert_allclose(line.expected, 1 / (1 + np.exp(-found.predict(at))))
    assert 0 <= min(line.low) < max(line.high) <= 1


def test_rows_that_lack_a_modality_or_the_target_are_left_out_and_counted():
    rows = drawn()
    expected = interaction_regression(rows.take(slice(10, None)))
    holes = {name: value.clone() for name, value in rows.inputs.items()}
    holes["a"][:3], holes["b"][3:5] = torch.nan, torch.inf
    target = rows.target.clone()
    target[5:7] = torch.nan
    masked = Batch(inputs=holes, masks={"b": torch.arange(300) >= 10}, target=target)
    found = interaction_regression(masked)
    assert (found.rows, found.left_out) == (290, 10)
    assert estimates(found.models[-1]) == pytest.approx(estimates(expected.models[-1]))
    assert masked.inputs["a"].isnan().sum() == 3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_exchanging_the_modalities_exchanges_their_rows_of_the_table(seed):
    rows = drawn(60, seed=seed)
    turned = Batch(inputs={name: rows.inputs[name] for name in "ba"}, target=rows.target)
    one, other = interaction_regression(rows), interaction_regression(turned)
    first, second = estimates(one.models[-1]), estimates(other.models[-1])
    second["a", "b"] = second.pop(("b", "a"))
    assert first == pytest.approx(second)
    assert one.interaction.p == pytest.approx(other.interaction.p, rel=1e-6)


def test_the_result_is_plain():
    found = interaction_regression(drawn(50, names="abc"), order=3)
    assert json.loads(json.dumps(asdict(found)))["models"][0]["formula"] == "a"


def batch(target, **inputs):
    return Batch(inputs={name: torch.tensor(value) for name, value in inputs.items()}, target=target)


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (drawn(names="ab"), {"order": 3}, OptionError, "order must be from 2 to 2, the modalities, got 3"),
        (drawn(), {"order": 1}, OptionError, "order must be from 2 to 2"),
        (drawn(), {"family": "probit"}, OptionError, r"family must be one of \['linear', 'logistic'\], got"),
        (drawn(), {"family": "logistic"}, DataError, "target must have two values .* got 300. Use family"),
        (drawn(4), {}, DataError, "rows must be at least 5 for 4 coefficients, got 4 complete ones"),
        (
            batch(torch.ones(9), a=[[1.0, 2.0]] * 9, b=[[1.0]] * 9),
            {},
            ModalityError,
            r"one number per row and modality, got shapes \{'a': \[2\]\} per row. Give what a model",
        ),
        (batch(torch.ones(9), a=[1.0] * 9), {}, ModalityError, r"two or more modalities, got \['a'\]"),
        (batch(None, a=[1.0] * 9, b=[1.0] * 9), {}, DataError, "one number per row, got None"),
        (batch(torch.ones(9, 2), a=[1.0] * 9, b=[1.0] * 9), {}, DataError, r"got \[9, 2\]. Regress one"),
        (
            batch(torch.arange(9), a=[1.0] * 9, b=list(range(9))),
            {},
            DataError,
            "must vary, got always the same 'a'",
        ),
        (
            batch(torch.arange(9) % 4, a=list(range(9)), b=list(range(2, 20, 2))),
            {},
            DataError,
            "Terms must not determine one another, got 'b' as a sum",
        ),
        (
            batch(
                torch.arange(9) % 4,
                a=list(range(9)),
                b=np.array([value + 1e-8 * (value % 2) for value in range(9)]),
            ),
            {},
            DataError,
            "must not determine one another, got 'b' as",
        ),
        (
            batch(torch.arange(9) % 4, a=[0.0, 1.0, 0.0] * 3, b=[0.0, 0.0, 1.0] * 3),
            {},
            DataError,
            "must not determine one another, got 'a x b' as",
        ),
    ],
)
def test_what_cannot_be_regressed_is_refused(rows, options, error, message):
    with pytest.raises(error, match=message):
        interaction_regression(rows, **options)
