import numpy as np
import pytest

from fuseloom.comparison.decide import Evidence, decide, ranking
from fuseloom.comparison.result import Entry
from fuseloom.comparison.statistics import over_runs
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

ROWS = 2000
MODELS = {
    "text": ("unimodal", "none", 100),
    "audio": ("unimodal", "none", 90),
    "concat": ("fusion", "additive", 300),
    "sum": ("fusion", "additive", 310),
    "low_rank": ("fusion", "multiplicative", 200),
}


def decided(valid, test=None, rows=ROWS, margin=0.01, nested=True):
    """The recommendation for given accuracies; nested: fusions err where single modalities do."""
    parts = {"valid": evidence(valid, rows, nested), "test": evidence(test or valid, rows, nested)}
    name, metric = Classification.metric("accuracy")
    entries = [
        entry(
            m,
            *([metric.function(seed, e.targets[0]) for seed in e.predictions[m][0]] for e in parts.values()),
        )
        for m in MODELS
    ]
    return decide(entries, parts["valid"], parts["test"], (name, metric), margin)


def entry(model, valid, test):
    role, interaction, parameters = MODELS[model]
    return Entry(
        name=model,
        role=role,
        modalities=(model,) if role == "unimodal" else ("text", "audio"),
        interaction=interaction,
        learning_rate=0.001,
        valid=over_runs([valid]),
        test=over_runs([test]),
        valid_by_run=tuple(valid),
        test_by_run=tuple(test),
        parameters=parameters,
        train_s=1.0,
        latency_ms=1.0,
        memory_mb=1.0,
    )


def evidence(accuracies, rows, nested):
    target = np.zeros(rows, dtype=int)
    right = {model: np.arange(rows) < round(share * rows) for model, share in accuracies.items()}
    if not nested:
        right |= {model: hit[::-1] for model, hit in right.items() if MODELS[model][0] == "fusion"}
    return Evidence(
        predictions={m: [[np.eye(2)[(~hit).astype(int)]]] for m, hit in right.items()}, targets=[target]
    )


def scores(text, audio, concat, sum_, low_rank):
    return dict(zip(MODELS, (text, audio, concat, sum_, low_rank), strict=True))


def test_a_modality_alone_is_preferred_where_fusing_gains_less_than_the_margin():
    found = decided(scores(0.800, 0.5, 0.805, 0.8, 0.806))
    assert found.name == "text"
    assert found.verdict == "fusing does not pay"
    assert found.sentence.startswith(
        "Use text alone (0.800 accuracy on test data): audio adds nothing measurable"
    )
    assert "low_rank against text alone: +0.006 accuracy" in found.sentence


def test_the_simplest_of_equal_fusions_is_recommended_then_the_smallest():
    found = decided(scores(0.7, 0.5, 0.895, 0.9, 0.9))
    assert found.name == "concat"
    assert (found.best_fusion, found.best_unimodal) == ("sum", "text")
    assert found.verdict == "fusing pays"
    assert found.sentence.startswith(
        "Use concat on text and audio (0.895 accuracy on test data), on validation data as good as sum and "
        "simpler: fusing pays (sum against text alone: +0.200 accuracy"
    )


def test_a_more_complex_fusion_is_recommended_where_it_is_clearly_better():
    assert decided(scores(0.7, 0.5, 0.8, 0.8, 0.9)).name == "low_rank"


def test_a_gain_that_too_few_test_rows_cannot_rule_out_is_not_denied():
    found = decided(scores(0.800, 0.5, 0.805, 0.8, 0.806), rows=100, nested=False)
    assert found.name == "text"
    assert found.sentence.endswith("; 100 test rows cannot rule out a gain.")


def test_few_validation_rows_widen_what_counts_as_equal():
    close = scores(0.8, 0.5, 0.84, 0.84, 0.84)
    assert decided(close, rows=2000, nested=False).name == "concat"
    assert decided(close, rows=25, nested=False).name == "text"


def test_few_test_rows_leave_the_question_open():
    found = decided(scores(0.7, 0.5, 0.75, 0.7, 0.7), rows=100, test=scores(0.7, 0.5, 0.72, 0.7, 0.7))
    assert found.verdict == "these data cannot tell"
    assert found.gain.low == 0 < found.margin < found.gain.high
    tied = decided(scores(0.6, 0.5, 0.9, 0.7, 0.7), test=scores(0.6, 0.5, 0.601, 0.6, 0.6), rows=400)
    assert tied.name == "concat"
    assert tied.verdict == "fusing does not pay"


def test_a_fusion_chosen_on_validation_data_that_fails_on_test_data_is_said_so():
    found = decided(scores(0.7, 0.5, 0.9, 0.9, 0.9), test=scores(0.8, 0.5, 0.7, 0.7, 0.7))
    assert found.name == "concat"
    assert "on test data fusing gains nothing" in found.sentence
    assert found.gain.high < 0


def test_a_modality_alone_that_fails_on_test_data_is_said_so():
    found = decided(scores(0.8, 0.5, 0.8, 0.8, 0.8), test=scores(0.7, 0.5, 0.9, 0.9, 0.9))
    assert found.name == "text"
    assert "yet on test data fusing gains" in found.sentence


def test_an_undefined_score_ranks_last():
    entries = [entry("text", [np.nan], [0.0]), entry("sum", [0.5], [0.0]), entry("concat", [0.7], [0.0])]
    assert [e.name for e in ranking(entries, Regression.metric("r2")[1])] == ["concat", "sum", "text"]
    assert [e.name for e in ranking(entries, Regression.metric("rmse")[1])] == ["sum", "concat", "text"]


@pytest.mark.parametrize(("metric", "expected"), [("r2", 0.1), ("rmse", 0.1 * 2.0)])
def test_margin_is_a_share_of_the_best_where_the_metric_has_units(metric, expected):
    target = np.arange(100.0)
    name, score = Regression.metric(metric)
    models = ("text", "audio", "concat")
    parts = Evidence(predictions={model: [[target + 2]] for model in models}, targets=[target])
    entries = [entry(model, [score.function(target + 2, target)], [0.0]) for model in models]
    found = decide(entries, parts, parts, (name, score), 0.1)
    assert found.margin == pytest.approx(expected)
    said = "+0.000 r2" if metric == "r2" else "rmse lower by +0.000"
    assert f"concat against text alone: {said}, 95 % interval" in found.sentence
