"""Coupled tagging from a folder of tagged sentences and pictures to a saved model that predicts the same."""

import csv

from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import read_rows
from fuseloom.data.scenes.ner import write_ner_scenes
from fuseloom.train.recipe import read_recipe
from fuseloom.train.saved import SavedModel


def test_a_run_saves_a_model_that_tags_as_the_run_did(tmp_path):
    data, out = tmp_path / "scenes", tmp_path / "run"
    write_ner_scenes(data, sentences={"train": 24, "valid": 8, "test": 8})
    settings = [
        "model.fusion=coupled_tagging",
        'model.options={"coupled_tagging": {"num_heads": 2}}',
        "model.dim=8",
    ]
    recipe = read_recipe(None, [f"data.source={data}", *settings, "fit.max_epochs=2", "fit.batch_size=12"])
    result = run_recipe(recipe, out)
    saved = SavedModel.load(out / "model")
    rows = read_rows(data, saved.schema)
    found = dict(zip(rows.ids, saved.predict(rows)["prediction"], strict=True))
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        told = {line["id"]: line["prediction"] for line in csv.DictReader(file)}
    assert len(told) == 8
    assert {name: found[name] for name in told} == told
    assert result.parameters == sum(value.numel() for value in saved.model.parameters())
