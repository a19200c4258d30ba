import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from fuseloom.comparison import recipe_run
from fuseloom.comparison.evaluate import evaluate_model
from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import load, read_rows
from fuseloom.errors import DataError, OptionError, RunError
from fuseloom.train.fit import fit
from fuseloom.train.recipe import read_recipe
from fuseloom.train.saved import SavedModel

QUICK = ["fit.max_epochs=2", "model.dim=8", "fit.batch_size=400"]


def recipe(*more):
    return read_recipe("digits", [*QUICK, *more])


def test_a_run_leaves_everything_behind_and_is_not_repeated(tmp_path, monkeypatch):
    told = []
    result = run_recipe(recipe(), tmp_path, progress=told.append)
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"config.yaml", "config.json", "metrics.jsonl", "metrics.csv", "checkpoints", "model"}
    assert read_recipe(str(tmp_path / "config.yaml")) == recipe()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        assert [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)] == lines
    assert lines[-1]["valid_loss"] == result.valid_loss
    assert any(line.startswith("epoch 2: training loss") for line in told)
    assert json.loads((tmp_path / "scores.json").read_text())["scores"] == result.scores
    monkeypatch.setattr(recipe_run, "fit_with_trainer", None)
    assert run_recipe(recipe(), tmp_path) == result
    with pytest.raises(RunError, match="recipe differ"):
        run_recipe(recipe("fit.lr=0.1"), tmp_path)


def test_a_recipe_names_where_parts_stand_and_the_trunk(tmp_path):
    result = run_recipe(recipe("model.fusion=cross_attention@early+sum"), tmp_path)
    assert list(SavedModel.load(tmp_path / "model").model.exchanges) == ["0"]
    assert result.parameters > 0
    with pytest.raises(OptionError, match=r"trunk must be one of \['bottom', 'top'\], .* got 'topp'"):
        run_recipe(recipe("model.fusion=sum@early", "model.trunk=topp"), tmp_path / "other")


def test_a_run_may_start_from_the_encoder_of_another(tmp_path):
    told = []
    run_recipe(recipe("data.modalities=[top]", "model.fusion=concat"), tmp_path / "first")
    start = f"model.start.top={tmp_path / 'first'}"
    again = recipe(start, "model.fusion=concat", "fit.lr=1e-12", "fit.max_epochs=1")
    run_recipe(again, tmp_path / "second", progress=told.append)
    assert [line for line in told if line.endswith(f"stages start from {tmp_path / 'first'}")]
    only_bottom = recipe(start, "data.modalities=[bottom]", "model.fusion=concat", "fit.max_epochs=1")
    run_recipe(only_bottom, tmp_path / "third")  # what is not learnt from starts from nothing
    first, second = (load_file(tmp_path / run / "model/model.safetensors") for run in ("first", "second"))
    for name in (name for name in first if name.startswith("encoders.top.")):
        np.testing.assert_allclose(first[name], second[name], atol=1e-6)


def test_settings_of_a_modality_that_is_not_learnt_from_are_left_out(tmp_path):
    settings = ["fit.rates.encoders.top=0.1", "fit.rates.head=2", "fit.augment.top.RandomInvert={}"]
    only_bottom = recipe(*settings, "data.modalities=[bottom]", "model.fusion=concat", "fit.max_epochs=1")
    assert run_recipe(only_bottom, tmp_path / "bottom").epochs == 1
    with pytest.raises(OptionError, match=r"augment must name pictures in bytes.* of 'top'"):
        run_recipe(recipe(*settings), tmp_path / "both")
    with pytest.raises(OptionError, match=r"rates must name parts of the model, got 'encoders.topp'"):
        run_recipe(recipe("fit.rates.encoders.topp=0.1"), tmp_path / "other")


def test_the_saved_model_scores_what_the_run_says(tmp_path):
    result = run_recipe(recipe(), tmp_path)
    saved = SavedModel.load(tmp_path / "model")
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        tested = {row["id"]: row for row in csv.DictReader(file)}
    right = np.mean([row["prediction"] == row["target"] for row in tested.values()])
    assert result.scores["test"]["accuracy"] == pytest.approx(right)
    assert len(tested) == result.rows["test"]
    rows = read_rows("digits", saved.schema)
    split = np.array(["test" if row in tested else "train" for row in rows.ids])
    scores = evaluate_model(saved, replace(rows, split=split))
    assert scores["test"].metrics["accuracy"] == pytest.approx(right)
    assert scores["test"].metrics["log_loss"] == pytest.approx(result.scores["test"]["log_loss"])
    assert scores["all"].rows == scores["test"].rows + scores["train"].rows == len(rows)


@pytest.mark.parametrize(
    "settings",
    [
        ["fit.schedule=cosine", "fit.warmup=0.3", "fit.clip_norm=0"],
        ["model.fusion=mro", "model.options={}", "fit.sequential=true"],
    ],
)
def test_the_weights_are_those_of_the_plain_loop(tmp_path, monkeypatch, settings):
    def plain(build, train, valid, task, config, **rest):
        return fit(build, train, valid, task, config)

    told = run_recipe(recipe(*settings), tmp_path / "trainer")
    lines = (tmp_path / "trainer" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, told.epochs + 1))
    monkeypatch.setattr(recipe_run, "fit_with_trainer", plain)
    run_recipe(recipe(*settings), tmp_path / "plain")
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("trainer", "plain"))
    assert one.keys() == two.keys()
    assert all(value.equal(two[name]) for name, value in one.items())


def test_a_fraction_spares_the_test_rows_and_keeps_the_classes():
    data = load("digits")
    whole, part = (recipe_run._prepared(data, recipe(f"data.fraction={share}")) for share in (1.0, 0.2))
    assert whole.rows.split["test"].equal(part.rows.split["test"])
    for name in ("train", "valid"):
        rows, kept = (set(one.rows.split[name].tolist()) for one in (whole, part))
        assert kept < rows
        shares = [np.bincount(one.rows.all.target[one.rows.split[name]]) for one in (whole, part)]
        np.testing.assert_allclose(shares[1], 0.2 * shares[0], atol=0.51)


def test_rows_without_a_target_are_not_scored(tmp_path):
    run_recipe(recipe(), tmp_path)
    saved = SavedModel.load(tmp_path / "model")
    rows = read_rows("digits", saved.schema)
    with pytest.raises(DataError, match="rows must have the target 'digit' to be scored, got none"):
        evaluate_model(saved, replace(rows, target=None))
    unknown = np.array([None] * len(rows), dtype=object)
    with pytest.raises(DataError, match="rows must have a known target, got none in 1797 rows"):
        evaluate_model(saved, replace(rows, target=unknown))
    unknown[:10] = rows.target[:10]
    assert evaluate_model(saved, replace(rows, target=unknown))["all"].rows == 10


def test_some_modalities_are_learnt_from(tmp_path):
    result = run_recipe(recipe("data.modalities=[top]", "model.fusion=concat"), tmp_path)
    saved = SavedModel.load(tmp_path / "model")
    assert [*saved.config.encoders] == [*saved.schema.modalities] == ["top"]
    assert result.parameters > 0
    with pytest.raises(OptionError, match=r"some of \['top', 'bottom'\], got 'topp'. Did you mean 'top'"):
        run_recipe(recipe("data.modalities=[topp]"), tmp_path / "other")
