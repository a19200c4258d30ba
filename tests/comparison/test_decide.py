import numpy as np
import pytest

from fuseloom.comparison.decide import decide, ranking, rows_to_settle
from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.result import Entry, Interval
from fuseloom.comparison.statistics import Statistics
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

MODELS = {
    "text": ("unimodal", "none", 100),
    "audio": ("unimodal", "none", 90),
    "concat": ("fusion", "additive", 300),
    "sum": ("fusion", "additive", 310),
    "low_rank": ("fusion", "multiplicative", 200),
}
ACCURACY = Classification.metrics["accuracy"]


def scores(text, audio, concat, sum_, low_rank):
    return dict(zip(MODELS, (text, audio, concat, sum_, low_rank), strict=True))


def decided(valid, test=None, *, rows=4000, valid_rows=None, margin=0.01, nested=True):
    """The recommendation for given accuracies; nested: models err on the same rows as far as they can."""
    parts = [
        accuracies(valid, rows if valid_rows is None else valid_rows, nested),
        accuracies(test or valid, rows, nested),
    ]
    return recommended(parts, ("accuracy", ACCURACY), margin)


def accuracies(shares, rows, nested):
    generator = np.random.default_rng(0)
    predictions = {}
    for model, share in shares.items():
        right = np.arange(rows) < round(share * rows)
        right = right if nested else generator.permutation(right)
        predictions[model] = [[np.eye(2)[(~right).astype(int)]]]
    return Evidence(predictions=predictions, targets=[np.zeros(rows, dtype=int)], units=[np.arange(rows)])


def recommended(parts, metric, margin):
    valid, test = (Statistics(part, metric[1]) for part in parts)
    entries = [entry(model, valid.score(model), test.score(model)) for model in parts[0].predictions]
    return decide(entries, valid, parts[1], metric, margin)


def entry(model, valid, test):
    role, interaction, parameters = MODELS[model]
    return Entry(
        name=model,
        role=role,
        modalities=(model,) if role == "unimodal" else ("text", "audio"),
        interaction=interaction,
        learning_rate=0.001,
        valid=valid,
        test=test,
        valid_by_run=(valid.mean,),
        test_by_run=(test.mean,),
        parameters=parameters,
        train_s=1.0,
        latency_ms=1.0,
        memory_mb=1.0,
    )


def test_a_modality_alone_is_preferred_where_it_is_shown_to_be_as_good():
    found = decided(scores(0.800, 0.5, 0.8, 0.8, 0.801))
    assert found.name == "text"
    assert found.verdict == "fusing does not pay"
    assert found.sentence.startswith(
        "Use text alone (0.800 accuracy on test data): it is the simplest model that validation data show to "
        "be as good as low_rank, the best there, give or take 0.010. Fusing does not pay: it gains less than "
        "0.010 (low_rank against text alone: +0.001 accuracy, 95 % interval "
    )


def test_the_simplest_of_equal_fusions_is_recommended_then_the_smallest():
    found = decided(scores(0.7, 0.5, 0.9, 0.9, 0.901))
    assert found.name == "concat"
    assert (found.best_fusion, found.best_unimodal) == ("low_rank", "text")
    assert found.verdict == "fusing pays"
    assert found.sentence.startswith(
        "Use concat on text and audio (0.900 accuracy on test data): it is the simpl"
    )
    assert "Fusing pays (low_rank against text alone: +0.201 accuracy, 95 % interval" in found.sentence
    assert found.rows_needed is None


def test_what_is_clearly_better_is_recommended_however_complex():
    found = decided(scores(0.7, 0.5, 0.8, 0.8, 0.9))
    assert found.name == "low_rank"
    assert "it is the best on validation data, and nothing simpler is as good." in found.sentence
    assert not any(contender.as_good for contender in found.contenders)


def test_the_best_stays_where_the_rows_cannot_show_a_simpler_model_to_be_as_good():
    found = decided(scores(0.6, 0.5, 0.8, 0.8, 0.802), valid_rows=500, nested=False)
    assert found.name == "low_rank"
    assert (
        "it is the best on validation data; 500 validation rows cannot tell whether the simpler concat or 1 "
        "more would be as good." in found.sentence
    )


def test_a_model_close_to_the_best_is_as_good_only_with_the_rows_to_show_it():
    close = scores(0.6, 0.5, 0.8, 0.7, 0.802)
    assert decided(close, rows=300).name == "low_rank"
    assert decided(close, rows=10_000).name == "concat"


def test_models_are_as_good_where_the_corrected_test_says_so():
    found = decided(scores(0.7, 0.5, 0.8985, 0.895, 0.9), rows=4000)
    by_name = {contender.name: contender for contender in found.contenders}
    assert [contender.name for contender in found.contenders] == ["concat", "sum", "text", "audio"]
    assert by_name["concat"].as_good
    assert by_name["concat"].behind.mean == pytest.approx(-0.0015)
    assert by_name["concat"].p_value <= 0.025 < by_name["text"].p_value
    assert by_name["text"].p_value == 1.0


def test_more_models_need_more_to_be_as_good():
    few = {"concat": 0.8965, "low_rank": 0.9, "text": 0.5}
    p_values = [
        next(c.p_value for c in decided(accuracy, rows=6000).contenders if c.name == "concat")
        for accuracy in (few, few | {"sum": 0.6, "audio": 0.6})
    ]
    assert p_values[1] == pytest.approx(2 * p_values[0])


def test_a_wider_margin_lets_more_models_be_as_good():
    close = scores(0.79, 0.5, 0.795, 0.7, 0.802)
    assert decided(close, margin=0.001).name == "low_rank"
    assert decided(close, margin=0.05).name == "text"


def test_a_model_that_scores_as_the_best_is_as_good_only_with_rows_enough():
    tie = scores(0.9, 0.5, 0.9, 0.9, 0.9)
    assert decided(tie, rows=10_000).name == "text"
    few = decided({**tie, "text": 0.875}, rows=40)
    assert not any(contender.as_good for contender in few.contenders)


def test_few_test_rows_leave_the_question_open_and_say_how_many_would_not():
    found = decided(scores(0.6, 0.5, 0.7, 0.6, 0.6), scores(0.7, 0.5, 0.75, 0.7, 0.7), rows=100, nested=False)
    assert found.verdict == "these data cannot tell"
    assert found.gain.low < 0 < found.margin < found.gain.high
    assert found.rows_needed > 100
    assert found.sentence.endswith(f"about {found.rows_needed:,} would.")
    assert (
        "Whether fusing pays, 100 test rows cannot tell (concat against text alone: +0.050" in found.sentence
    )


def test_as_many_rows_as_are_said_to_be_needed_do_settle_it():
    test = scores(0.7, 0.5, 0.75, 0.7, 0.7)
    few = decided(scores(0.6, 0.5, 0.7, 0.6, 0.6), test, rows=100, nested=False)
    enough = decided(scores(0.6, 0.5, 0.7, 0.6, 0.6), test, rows=2 * few.rows_needed, nested=False)
    assert enough.verdict == "fusing pays"


def test_a_gain_too_small_to_matter_does_not_pay_however_certain():
    found = decided(scores(0.8, 0.5, 0.806, 0.7, 0.7), rows=10_000)
    assert 0 < found.gain.low < found.gain.high < found.margin
    assert found.verdict == "fusing does not pay"


def test_a_fusion_chosen_on_validation_data_that_fails_on_test_data_is_said_so():
    found = decided(scores(0.7, 0.5, 0.9, 0.8, 0.8), test=scores(0.8, 0.5, 0.7, 0.7, 0.7))
    assert found.name == "concat"
    assert found.gain.high < 0
    assert "Fusing does not pay: it gains less than 0.010" in found.sentence
    assert found.sentence.endswith("text alone would do.")


def test_a_modality_alone_that_fails_on_test_data_is_said_so():
    found = decided(scores(0.8, 0.5, 0.8, 0.8, 0.8), test=scores(0.7, 0.5, 0.9, 0.9, 0.9))
    assert found.name == "text"
    assert "Yet on test data fusing pays, which validation data did not show" in found.sentence


def test_few_rows_without_an_error_are_no_proof_that_fusing_does_not_pay():
    found = decided(scores(1.0, 0.5, 1.0, 1.0, 1.0), rows=60)
    assert found.verdict == "these data cannot tell"
    assert decided(scores(1.0, 0.5, 1.0, 1.0, 1.0), rows=4000).verdict == "fusing does not pay"


def test_an_undefined_score_ranks_last():
    undefined = {"text": np.nan, "sum": 0.5, "concat": 0.7}
    entries = [entry(name, Interval(mean=mean), Interval(mean=0.0)) for name, mean in undefined.items()]
    assert [e.name for e in ranking(entries, Regression.metrics["r2"])] == ["concat", "sum", "text"]
    assert [e.name for e in ranking(entries, Regression.metrics["rmse"])] == ["sum", "concat", "text"]


def test_a_model_that_diverged_is_never_as_good():
    target = np.arange(50.0)
    predictions = {
        "text": [[target * np.nan]],
        "concat": [[target + 1]],
        "audio": [[target + np.sin(target)]],
    }
    part = Evidence(predictions=predictions, targets=[target], units=[np.arange(50)])
    found = recommended([part, part], ("rmse", Regression.metrics["rmse"]), 0.01)
    broken = next(contender for contender in found.contenders if contender.name == "text")
    assert (broken.p_value, broken.as_good, broken.behind.low) == (1.0, False, None)
    assert found.best_unimodal == "audio"


@pytest.mark.parametrize(("metric", "expected"), [("r2", 0.1), ("rmse", 0.1 * 2.0)])
def test_margin_is_a_share_of_the_best_where_the_metric_has_units(metric, expected):
    target = np.arange(100.0)
    name, score = metric, Regression.metrics[metric]
    models = ("text", "audio", "concat")
    part = Evidence(
        predictions={model: [[target + 2]] for model in models}, targets=[target], units=[np.arange(100)]
    )
    found = recommended([part, part], (name, score), 0.1)
    assert found.margin == pytest.approx(expected)
    said = "+0.000 r2" if metric == "r2" else "rmse lower by +0.000"
    assert f"concat against text alone: {said}, 95 % interval" in found.sentence
    assert found.name == "audio"  # all are equal: the fewest parameters


def test_lower_errors_win():
    target = np.linspace(0, 10, 400)
    off = {"text": 2.0, "audio": 3.0, "concat": 1.0, "low_rank": 0.5}
    waves = np.sin(np.arange(400))
    part = Evidence(
        predictions={model: [[target + size * waves]] for model, size in off.items()},
        targets=[target],
        units=[np.arange(400)],
    )
    found = recommended([part, part], ("mae", Regression.metrics["mae"]), 0.01)
    assert (found.name, found.verdict) == ("low_rank", "fusing pays")
    assert found.gain.mean == pytest.approx(1.5 * np.abs(waves).mean())
    assert "mae lower by +0.9" in found.sentence


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ((0.02, -0.02, 0.06), 2000),  # half as wide puts it above zero
        ((-0.01, -0.05, 0.03), 2000),  # or below the margin
        ((0.004, -0.036, 0.044), 20_000),  # the nearer bound counts
        ((0.02, -0.001, 0.06), 600),  # more than there are, if but little
        ((0.02, -0.03, 0.03), 3000),  # rounded to one digit
        ((0.0, -1e-9, 0.0), None),  # on neither side of a bound that is the same
    ],
)
def test_rows_that_would_settle_it_follow_from_the_width(gain, expected):
    mean, low, high = gain
    bounds = (0.0, 0.0) if expected is None else (0.0, 0.01)
    found = rows_to_settle(Interval(mean=mean, low=low, high=high), 500, bounds=bounds)
    assert found == expected


def test_a_gain_next_to_a_bound_is_settled_by_no_number_of_rows_in_reach():
    assert rows_to_settle(Interval(mean=1e-6, low=-0.1, high=0.1), 500, bounds=(0.0, 0.0)) is None
    assert rows_to_settle(Interval(mean=0.1), 500, bounds=(0.0, 0.01)) is None
    found = decided(scores(0.6, 0.5, 0.7, 0.6, 0.6), scores(0.7, 0.5, 0.7, 0.7, 0.7), margin=0.0)
    assert found.verdict == "these data cannot tell"
    assert "no number of rows in reach would." in found.sentence
