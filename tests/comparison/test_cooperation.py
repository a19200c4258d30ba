"""What remedies do to fusions: their runs, their verdicts and what is looked at."""

from dataclasses import replace

import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.comparison.cooperation import _listed, cooperation, treated_runs
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.run import run_comparison
from fuseloom.data import load
from fuseloom.errors import OptionError, UnknownNameError
from fuseloom.registry import list_remedies
from fuseloom.train.saved import SavedModel

ENCODERS = {name: {"kind": "embedding", "in_dim": 2} for name in "ab"}


def test_named_fusions_are_trained_with_each_remedy_once_more():
    config = CompareConfig(fusions=("sum", "all"), remedies=("ogm", "uniform_loss"))
    assert config.remedied == {
        "sum with ogm": ("sum", "ogm"),
        "sum with uniform_loss": ("sum", "uniform_loss"),
    }
    every = CompareConfig(remedies=("all", "ogm")).remedied
    assert {fusion for fusion, _ in every.values()} == {"concat", "attention_pool"}
    assert len(every) == 2 * len(list_remedies())


def test_a_treated_candidate_is_its_fusion_with_a_remedy():
    config = CompareConfig(fusions=("attention_pool", "sum"), remedies=("ogm", "mla"))
    found = {one.name: one for one in candidates(ENCODERS, config)}
    plain, treated = found["attention_pool"], found["attention_pool with ogm"]
    assert treated.role == "remedy"
    assert treated.model == replace(plain.model, remedy="ogm")
    assert plain.watched
    assert treated.watched
    assert not found["sum"].watched, "without a class token there is nothing to watch"
    assert not found["a"].watched
    assert not found["attention_pool with mla"].watched, "it predicts without the fusion"


def test_unknown_remedies_and_frozen_encoders_are_refused():
    with pytest.raises(UnknownNameError, match=r"Unknown remedy 'ogmm'.*'ogm'"):
        CompareConfig(remedies=("ogmm",))
    with pytest.raises(OptionError, match="remedies must train encoders"):
        CompareConfig(remedies=("ogm",), encoders="pretrained-frozen")


def test_a_remedy_that_cannot_take_the_data_is_refused_by_name_and_left_out_of_all(dataset, small, tmp_path):
    rows, numbers = dataset.modalities, np.linspace(0, 1, 400)
    regression = load({name: column.values for name, column in rows.items()}, target=numbers)
    with pytest.raises(OptionError, match=r"ogm.* cannot take these data.*one class per row"):
        run_comparison(regression, tmp_path, replace(small, remedies=("ogm",)))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    generator, out = np.random.default_rng(0), tmp_path_factory.mktemp("run")
    rows = {name: generator.normal(size=(200, 2)).astype(np.float32) for name in "ab"}
    config = CompareConfig(
        fusions=("concat", "attention_pool"),
        remedies=("ogm", "uniform_loss"),
        seeds=2,
        learning_rates=(3e-3,),
        max_epochs=2,
        dim=8,
        folds=1,
    )
    target = np.where(rows["a"][:, 0] + rows["b"][:, 0] > 0, "above", "below")
    return run_comparison(load(rows, target=target), out, config), out


def test_a_comparison_holds_each_remedy_against_the_same_fusion_without_it(compared):
    found = compared[0].findings.cooperation
    assert found is not None
    assert [(one.fusion, one.remedy) for one in found.treatments] == [
        (fusion, remedy) for fusion in ("concat", "attention_pool") for remedy in ("", "ogm", "uniform_loss")
    ]
    for one in found.treatments:
        entry = {entry.name: entry for entry in compared[0].entries}.get(one.name)
        if one.remedy:
            assert entry is None, "recommended and listed are fusions without remedies"
            assert one.verdict in ("helps", "harms", "these data cannot tell")
            plain = next(p for p in found.treatments if p.fusion == one.fusion and not p.remedy)
            assert one.gain.mean == pytest.approx(one.test.mean - plain.test.mean)
        else:
            assert (one.gain, one.verdict) == (None, "untreated")
            assert one.test.mean == pytest.approx(entry.test.mean)
        assert sum(share.mean for share in one.gradient_share.values()) == pytest.approx(1)
        assert {curve.modality for curve in one.noise} == {"a", "b"}
        assert all(len(curve.scores) == len(curve.severities) for curve in one.noise)


def test_attention_is_told_of_fusions_that_attend(compared):
    for one in compared[0].findings.cooperation.treatments:
        attends = one.fusion == "attention_pool"
        assert (set(one.mass) == {"a", "b"}) is attends
        assert ("attention" in one.not_told) is not attends
        assert len(one.imbalance) == (2 if attends else 0), "one rate per epoch"
        if attends:
            assert sum(mass.mean for mass in one.mass.values()) == pytest.approx(1)
            assert all(-2 <= rate <= 2 for rate in one.imbalance)


def test_the_sentence_names_what_was_tried_and_what_it_showed(compared):
    sentence = compared[0].findings.cooperation.sentence
    assert sentence.startswith("ogm and uniform_loss were tried on concat and attention_pool.")
    told = compared[0].findings.cooperation.treatments
    if all(one.verdict in ("untreated", "these data cannot tell") for one in told):
        assert sentence.endswith("These data show of none that it helps or harms.")


def test_models_of_remedies_that_help_are_saved_and_predict_what_was_scored(
    dataset, small, tmp_path, monkeypatch
):
    monkeypatch.setattr("fuseloom.comparison.cooperation._verdict", lambda helps, harms: "helps")
    config = replace(small, fusions=("concat",), remedies=("mmcosine", "uniform_loss"), seeds=1)
    found = run_comparison(dataset, tmp_path, config).findings.cooperation
    assert sorted(path.name for path in (tmp_path / "remedied").iterdir()) == [
        "concat-with-mmcosine",
        "concat-with-uniform_loss",
    ]
    test = prepare(dataset, config)[0].rows.split["test"].numpy()
    for one in found.treatments[1:]:
        saved = SavedModel.load(tmp_path / "remedied" / one.name.replace(" ", "-"))
        assert saved.config.remedy == one.remedy
        right = saved.predict(dataset)["prediction"][test] == dataset.target[test]
        assert right.mean() == pytest.approx(one.test.mean)
    assert found.sentence.endswith(": help.")


@pytest.mark.slow
def test_every_epoch_has_a_rate_also_where_learning_rates_were_tried_before(dataset, small, tmp_path):
    config = replace(
        small,
        fusions=("attention_pool",),
        remedies=("uniform_loss",),
        seeds=1,
        learning_rates=(1e-3, 3e-3),
        search_epochs=2,
    )
    for one in run_comparison(dataset, tmp_path, config).findings.cooperation.treatments:
        assert [bool(np.isfinite(rate)) for rate in one.imbalance] == [True] * 3


def test_many_fusions_are_counted_as_such():
    assert _listed([f"f{n}" for n in range(5)], "fusions") == "5 fusions"
    assert _listed(["sum"], "fusions") == "sum"
    assert _listed(["sum", "film", "late"], "fusions") == "sum, film and late"


def test_without_remedies_there_is_no_cooperation(dataset, small, tmp_path):
    assert run_comparison(dataset, tmp_path, small).findings.cooperation is None
    assert treated_runs([]) == []
    assert cooperation([], {}, None, ("accuracy", None), lambda run: run) is None
