"""Frozen models before training: what they give is what the whole encoder computes inside of a model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.encoding import EncoderSpec
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.run import run_comparison
from fuseloom.data import ReadOptions, load, preprocessors_from_state, preprocessors_state, read_rows
from fuseloom.data.preprocessing import ImageFeatures, TextFeatures
from fuseloom.encoders.hf import HfEncoder
from fuseloom.encoders.projection import ProjectionEncoder
from fuseloom.encoders.timm import TimmEncoder
from fuseloom.train.saved import SavedModel

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

ROWS = 40
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "apple", "pear"]


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """The folder of a tiny residual network."""
    folder = tmp_path_factory.mktemp("resnet")
    arguments = {"channels": [8, 8, 8, 12], "stem_width": 8}
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3, **arguments)
    own = {"mean": [0.2, 0.3, 0.4], "std": [0.5, 0.4, 0.3], "num_classes": 3}
    config = {"architecture": "resnet18", "pretrained_cfg": own, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """The folder of a tiny language model with its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.save_pretrained(folder)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(WORDS), **size)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fruit():
    """Rows of a picture and a text, some without one or the other, and whether it is red."""
    generator = np.random.default_rng(0)
    red = generator.random(ROWS) < 0.5
    photo = generator.integers(0, 80, size=(ROWS, 36, 40, 3)).astype(np.uint8)
    photo[red, ..., 0] += 120
    words = [f"{'red' if r ^ (k % 7 == 0) else 'green'} apple" for k, r in enumerate(red)]
    words[3] = ""
    rows = {"photo": photo, "words": words}
    return load(rows, ReadOptions(kinds={"words": "text"}), target=np.where(red, "red", "not"))


@pytest.mark.parametrize("output", ["pooled", "tokens", "map"])
def test_features_and_projection_are_the_whole_encoder(vision, fruit, output):
    everyone = np.arange(ROWS)
    made = ImageFeatures.fit(fruit.modalities["photo"], everyone, model=str(vision), output=output, size=64)
    values, mask = made.apply(fruit.modalities["photo"])
    whole = TimmEncoder(str(vision), dim=6, output=output, frozen=True).eval()
    last = ProjectionEncoder(made.width, dim=6).eval()
    last.stages[0].layers.load_state_dict(whole.stages[-1].project.state_dict())
    raw, there = made._raw().apply(fruit.modalities["photo"])
    expected, shown = whole(torch.from_numpy(raw), torch.from_numpy(there))
    found, kept = last(torch.from_numpy(values), torch.from_numpy(mask))
    torch.testing.assert_close(found, expected)
    assert torch.equal(kept, shown)


@pytest.mark.parametrize("output", ["pooled", "cls", "tokens"])
def test_features_of_texts_are_those_of_the_language_model(language, fruit, output):
    made = TextFeatures.fit(fruit.modalities["words"], np.arange(ROWS), model=str(language), output=output)
    values, mask = made.apply(fruit.modalities["words"])
    whole = HfEncoder(str(language), dim=6, output=output, frozen=True).eval()
    raw, there = made._raw().apply(fruit.modalities["words"])
    expected, shown = whole.features(torch.from_numpy(raw), torch.from_numpy(there))
    expected = expected.masked_fill(~shown[..., None], 0)
    torch.testing.assert_close(torch.from_numpy(values), expected)
    assert np.array_equal(mask, shown.numpy())
    assert not values[3].any()
    assert not mask[3].any()


def test_a_model_needs_its_folder_no_more_once_it_is_kept(vision, language, fruit, tmp_path):
    fitted = {
        "photo": ImageFeatures.fit(fruit.modalities["photo"], np.arange(ROWS), model=str(vision), size=64),
        "words": TextFeatures.fit(fruit.modalities["words"], np.arange(ROWS), model=str(language)),
    }
    for name, preprocessor in fitted.items():
        preprocessor.keep(tmp_path / name)
    state = json.loads(json.dumps(preprocessors_state(fitted)))
    for one in state:  # another machine, where the model never was
        one["state"]["options"]["model"] = "gone"
        one["state"]["raw"] |= {"model": "gone"} if "model" in one["state"]["raw"] else {}
    again = preprocessors_from_state(state)
    for name, preprocessor in again.items():
        values, mask = preprocessor.found(tmp_path / name).apply(fruit.modalities[name])
        expected, shown = fitted[name].apply(fruit.modalities[name])
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(mask, shown)


def test_frozen_models_are_run_once_for_all_folds_and_runs(vision, fruit):
    named = (f"photo=timm:{vision},frozen,size=64", "words=text")
    first, second = prepare(fruit, CompareConfig(encoder=named, folds=2))
    assert first.rows.all.inputs["photo"] is second.rows.all.inputs["photo"]
    assert first.rows.all.inputs["photo"].shape == (ROWS, 12)
    assert first.encoders["photo"] == {"kind": "projection", "in_dim": 12}
    assert any("frozen: its" in note and "count for no model" in note for note in first.notes)
    assert EncoderSpec.parse("photo=timm:resnet18,frozen=false").settings()["kind"] == "image"


def test_a_comparison_with_frozen_models_gives_a_model_that_predicts(vision, language, fruit, tmp_path: Path):
    named = (f"photo=timm:{vision},frozen,size=64", f"words=hf:{language},frozen")
    config = CompareConfig(encoder=named, fusions=("sum",), seeds=1, learning_rates=(1e-2,), folds=1)
    run_comparison(fruit, tmp_path / "run", config)
    saved = SavedModel.load(tmp_path / "run" / "model")
    rows = read_rows({"photo": np.zeros((2, 50, 50, 3), np.uint8), "words": ["red apple", ""]}, saved.schema)
    columns = saved.predict(rows)
    assert len(columns["prediction"]) == 2
    assert set(columns["prediction"]) <= {"red", "not"}
