import numpy as np
import pytest
from sklearn import metrics as oracle

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.sentiment import (
    VARIANTS,
    acc2,
    acc5,
    acc7,
    f1,
    lmf_scores,
    mag_scores,
    mmsa_scores,
    mmsa_sims_scores,
    mult_scores,
    multibench_scores,
    rounded_accuracy,
    sims_accuracy,
    weighted_accuracy,
)

REPORTS = [lmf_scores, mag_scores, mmsa_scores, mmsa_sims_scores, mult_scores, multibench_scores]
CASES = {
    "has0": (slice(None), np.greater_equal),
    "nonzero": ("kept", np.greater),
    "nonzero_ge": ("kept", np.greater_equal),
    "zero_negative": (slice(None), np.greater),
}
"""Variant -> rows and comparison with zero, once more and by hand."""


@pytest.fixture
def scored():
    generator = np.random.default_rng(3)
    target = np.round(generator.uniform(-3, 3, 200) * 5) / 5
    target[:30], target[30:40] = 0, 1
    predictions = target + generator.normal(size=200)
    predictions[20:40] = 0
    return predictions, target


def signs(predictions, target, variant):
    rows, above = CASES[variant]
    kept = target != 0 if isinstance(rows, str) else rows
    return above(predictions[kept], 0), above(target[kept], 0)


def test_every_variant_is_covered():
    assert set(CASES) == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_binary_scores_equal_scikit_learn(scored, variant):
    p, y = signs(*scored, variant)
    assert acc2(*scored, variant=variant) == pytest.approx(oracle.accuracy_score(y, p))
    assert f1(*scored, variant=variant) == pytest.approx(oracle.f1_score(y, p, average="weighted"))
    swapped = oracle.f1_score(p, y, average="weighted")
    assert f1(*scored, variant=variant, swapped=True) == pytest.approx(swapped)
    assert f1(*scored, variant=variant) != swapped


def test_the_four_variants_differ_where_zeros_are(scored):
    assert len({acc2(*scored, variant=variant) for variant in VARIANTS}) == 4


@pytest.mark.parametrize(("score", "bound"), [(acc7, 3), (acc5, 2)])
def test_whole_numbers_are_clipped_and_halves_go_to_even(score, bound):
    target = np.array([bound, 0.0, 2.0, 0.0, -bound])
    predictions = np.array([bound + 4.6, 0.5, 1.5, -0.6, -bound + 0.4])
    assert score(predictions, target) == 0.8  # only -0.6, which becomes -1, is wrong


def test_without_clipping_a_prediction_can_leave_the_scale():
    predictions, target = np.array([3.6, 2.9, -3.7]), np.array([3.0, 3.0, -3.0])
    assert rounded_accuracy(predictions, target) == pytest.approx(1 / 3)
    assert rounded_accuracy(predictions, target, bound=3) == 1


@pytest.mark.parametrize(
    ("classes", "right"), [(2, [1, 1, 0, 1, 1]), (3, [1, 1, 0, 0, 1]), (5, [1, 0, 0, 0, 1])]
)
def test_classes_of_sims_lie_between_their_edges(classes, right):
    target = np.array([0.0, -0.8, 0.2, 0.4, 1.0])
    predictions = np.array([-0.05, -0.7 + 1e-9, -0.3, 0.1, 1.4])
    assert sims_accuracy(predictions, target, classes=classes) == pytest.approx(np.mean(right))


def test_an_edge_of_sims_belongs_to_the_class_below():
    assert sims_accuracy(np.array([0.0, 0.1, -0.7]), np.array([-1.0, 0.05, -0.9])) == pytest.approx(2 / 3)
    assert sims_accuracy(np.array([0.0]), np.array([-1.0]), classes=2) == 1


def test_weighted_accuracy_is_the_mean_over_the_two_classes(scored):
    p, y = signs(*scored, "zero_negative")
    assert weighted_accuracy(*scored) == pytest.approx(oracle.balanced_accuracy_score(y, p))
    assert np.isnan(weighted_accuracy(np.ones(2), np.ones(2)))
    assert np.isnan(weighted_accuracy(np.ones(2), -np.ones(2)))


def test_each_report_names_its_variants(scored):
    names = {report.__name__: list(report(*scored)) for report in REPORTS}
    assert names["mult_scores"] == ["mae", "pearson", "acc7", "acc5", "f1_nonzero", "acc2_nonzero"]
    assert names["multibench_scores"] == ["mae", "pearson", "acc7", "f1_nonzero", "acc2_nonzero"]
    assert names["lmf_scores"] == ["mae", "pearson", "acc_rounded", "acc2_has0", "f1_has0"]
    assert names["mag_scores"] == ["acc2_nonzero_ge", "mae_nonzero", "pearson_nonzero", "f1_nonzero_ge"]
    assert names["mmsa_scores"][:4] == ["acc2_has0", "f1_has0", "acc2_nonzero", "f1_nonzero"]
    assert names["mmsa_sims_scores"][:4] == ["sims_acc2", "sims_acc3", "sims_acc5", "sims_f1"]


def test_what_two_reports_name_alike_is_the_same_number(scored):
    known = {}
    for report in (mult_scores, multibench_scores, mmsa_scores, lmf_scores):
        for name, score in report(*scored).items():
            assert known.setdefault(name, score) == score
    assert mag_scores(*scored, use_zero=True)["mae"] == known["mae"]
    assert mag_scores(*scored, use_zero=True)["acc2_has0"] == known["acc2_has0"]


def test_mag_leaves_out_zeros_from_the_error_too(scored):
    predictions, target = scored
    kept = target != 0
    scores = mag_scores(predictions, target)
    assert scores["mae_nonzero"] == pytest.approx(np.abs(predictions[kept] - target[kept]).mean())
    assert scores["pearson_nonzero"] == pytest.approx(np.corrcoef(predictions[kept], target[kept])[0, 1])


def test_sims_clips_both_sides_before_the_error():
    scores = mmsa_sims_scores(np.array([1.8, -0.4]), np.array([1.0, -1.4]))
    assert scores["mae"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("report", "decimals"),
    [(mmsa_scores, 4), (mmsa_sims_scores, 4), (lmf_scores, 5)],
)
def test_faithful_reports_round_as_the_official_code(scored, report, decimals):
    exact, faithful = report(*scored), report(*scored, faithful=True)
    changed = {name for name in exact if exact[name] != faithful[name]}
    assert "pearson" in changed
    assert all(faithful[name] == round(exact[name], decimals) for name in changed)
    assert ("mae" in changed) == (decimals == 4)


@pytest.mark.parametrize("report", [mult_scores, multibench_scores])
def test_faithful_reports_of_mult_swap_the_weights_of_f1_alone(scored, report):
    exact, faithful = report(*scored), report(*scored, faithful=True)
    assert {name for name in exact if exact[name] != faithful[name]} == {"f1_nonzero"}
    assert faithful["f1_nonzero"] == f1(*scored, swapped=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("score", [acc2, acc5, acc7, f1, rounded_accuracy, sims_accuracy, weighted_accuracy])
def test_predictions_that_are_not_finite_have_no_score(scored, score, bad):
    predictions, target = scored
    predictions[4] = bad
    assert np.isnan(score(predictions, target))


@pytest.mark.parametrize("score", [acc2, f1])
def test_a_variant_that_no_row_counts_for_has_no_score(score):
    assert np.isnan(score(np.ones(3), np.zeros(3)))
    assert not np.isnan(score(np.ones(3), np.zeros(3), variant="has0"))


def test_mag_has_no_score_where_every_target_is_zero():
    assert np.isnan(list(mag_scores(np.ones(3), np.zeros(3)).values())).all()


@pytest.mark.parametrize("score", [acc2, acc7, f1, sims_accuracy, weighted_accuracy, *REPORTS])
def test_columns_are_refused_where_rows_would_be_broadcast(score):
    with pytest.raises(DataError, match=r"must both be \[N\], got \[3, 1\] and \[3\]\. Flatten"):
        score(np.ones((3, 1)), np.array([1.0, 2.0, 3.0]))


def test_options_that_are_not_there_are_refused():
    with pytest.raises(OptionError, match=r"variant must be one of \['has0', .* got 'non0'"):
        acc2(np.ones(2), np.ones(2), variant="non0")
    with pytest.raises(OptionError, match=r"classes must be one of \[2, 3, 5\], got 7"):
        sims_accuracy(np.ones(2), np.ones(2), classes=7)
