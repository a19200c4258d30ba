"""MuSE from a folder of tagged sentences and pictures to a model that predicts."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.jobs import Rows
from fuseloom.comparison.prepare import fingerprint, prepare
from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import load, read_rows
from fuseloom.data.scenes.msa import write_msa_scenes
from fuseloom.data.scenes.ner import write_ner_scenes
from fuseloom.errors import DataError
from fuseloom.models.systems.muse import MuseSystem
from fuseloom.train.recipe import read_recipe
from fuseloom.train.saved import SavedModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes")
    write_ner_scenes(path, sentences={"train": 24, "valid": 8, "test": 8})
    return path


@pytest.fixture
def recipe(folder, small_muse):
    options = json.dumps({"muse": small_muse})
    given = [f"data.source={folder}", "model.fusion=muse", f"model.options={options}", "model.dim=8"]
    return read_recipe(None, [*given, "fit.max_epochs=2", "fit.batch_size=12"])


def test_a_run_saves_a_model_without_decoders_that_predicts(recipe, folder, tmp_path):
    result = run_recipe(recipe, tmp_path)
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


@pytest.fixture(scope="module")
def small_models(folder, tmp_path_factory):
    """Folders with a tokenizer and a small BERT, and with a small ResNet."""
    transformers, timm = pytest.importorskip("transformers"), pytest.importorskip("timm")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=marks, show_progress=False)
    words = [line.partition("\t")[0] for line in (folder / "train.txt").read_text().splitlines()]
    tokenizer.train_from_iterator(words, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    bert, resnet = (tmp_path_factory.mktemp(name) for name in ("bert", "resnet"))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), marks, strict=True))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(bert)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(
        transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), **sizes)
    ).save_pretrained(bert)
    shape = {"channels": [8, 8, 8, 8], "stem_width": 8}
    model = timm.create_model("resnet18", **shape)
    config = {"architecture": "resnet18", "model_args": shape, "pretrained_cfg": model.pretrained_cfg}
    (resnet / "config.json").write_text(json.dumps(config), "utf-8")
    save_file(model.state_dict(), resnet / "model.safetensors")
    return bert, resnet


@pytest.mark.parametrize("name", ["muse-twitter17", "muse-mvsa-single"])
def test_a_published_recipe_trains_with_models_of_ones_own(folder, small_models, small_muse, tmp_path, name):
    data = folder
    if "mvsa" in name:
        data = tmp_path / "msa"
        write_msa_scenes(data, examples={"train": 24, "valid": 8, "test": 8})
    bert, resnet = small_models
    encoders = {
        modality: spec.replace("bert-base-uncased", str(bert))
        .replace("resnet152.tv_in1k", str(resnet))
        .replace("size=224", "size=64")
        for modality, spec in read_recipe(name).model.encoders.items()
    }
    options = read_recipe(name).model.options["muse"]
    settings = {
        "data.source": str(data),
        "model.encoders": encoders,
        "model.options": {"muse": options | small_muse},
    }
    given = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    small = [
        f"data.source={data}",
        "model.dim=16",
        "fit.max_epochs=1",
        "fit.batch_size=12",
        "trainer.accelerator=cpu",
    ]
    result = run_recipe(read_recipe(name, [*given, *small]), tmp_path / "run")
    assert result.metric in ("accuracy", "span_f1")
    saved = SavedModel.load(tmp_path / "run" / "model")
    assert saved.predict(read_rows(data, saved.schema))


def test_pictures_that_are_not_there_are_named_with_what_to_do(tmp_path):
    write_ner_scenes(tmp_path / "scenes", sentences={"train": 24, "valid": 8, "test": 8})
    for picture in (tmp_path / "scenes" / "images").iterdir():
        picture.unlink()
    given = [f"data.source={tmp_path / 'scenes'}"]
    with pytest.raises(
        DataError, match=r"must have 'image'.*--set data.modalities=\[text\] --set model.fusion"
    ):
        run_recipe(read_recipe("muse-twitter17", given), tmp_path / "run")
