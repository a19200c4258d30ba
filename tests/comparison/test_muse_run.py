"""MuSE from a folder of tagged sentences and pictures to a model that predicts."""

import json

import pytest
import torch
from safetensors import safe_open

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.jobs import Rows
from fuseloom.comparison.prepare import fingerprint, prepare
from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import load, read_rows
from fuseloom.data.scenes.ner import write_ner_scenes
from fuseloom.errors import DataError
from fuseloom.models.systems.muse import MuseSystem
from fuseloom.train.recipe import read_recipe
from fuseloom.train.saved import SavedModel

SMALL = {
    "num_layers": 2,
    "mu": 0,
    "eta": 2,
    "num_heads": 2,
    "hidden": 16,
    "caption_width": 8,
    "picture_size": 8,
    "painter_blocks": 1,
    "painter_filters": 4,
    "painter_mixtures": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes")
    write_ner_scenes(path, sentences={"train": 24, "valid": 8, "test": 8})
    return path


def recipe(folder, *more):
    options = json.dumps({"muse": SMALL})
    given = [f"data.source={folder}", "model.fusion=muse", f"model.options={options}", "model.dim=8"]
    return read_recipe(None, [*given, "fit.max_epochs=2", "fit.batch_size=12", *more])


def test_a_run_saves_a_model_without_decoders_that_predicts(folder, tmp_path):
    result = run_recipe(recipe(folder), tmp_path)
    assert 0 <= result.scores["test"]["span_f1"] <= 1
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as held:
        weights = list(held.keys())
    assert not [name for name in weights if "captioner" in name or "painter" in name]
    saved = SavedModel.load(tmp_path / "model")
    rows = read_rows(folder, saved.schema)
    assert len(saved.predict(rows)["entities"]) == 40


def test_what_it_learns_from_is_made_of_training_rows_and_survives_a_file(folder, tmp_path):
    extras = MuseSystem(picture_size=8).extras()
    (ready,) = prepare(load(folder), CompareConfig(folds=1), least=1, extras=extras)
    assert ready.extras["pictures"] == {"of": "image", "channels": 3}
    assert ready.extras["captions"]["of"] == "text"
    taken = ready.rows.take("valid", ("text",)).take(slice(0, 3))
    assert taken.extras["pictures"].shape == (3, 3, 8, 8)
    assert taken.extras["captions"].max() < ready.extras["captions"]["num_words"]
    ready.rows.save(tmp_path / "rows.safetensors")
    again = Rows.load(tmp_path / "rows.safetensors")
    assert torch.equal(again.all.extras["captions"], ready.rows.all.extras["captions"])
    (plain,) = prepare(load(folder), CompareConfig(folds=1), least=1)
    assert fingerprint([plain]) != fingerprint([ready])


def test_sets_without_a_text_are_told_what_is_missing():
    with pytest.raises(DataError, match="One modality must be of kind 'text', of which come captions"):
        prepare(load("digits"), CompareConfig(folds=1), extras=MuseSystem().extras())
