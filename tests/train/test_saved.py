import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fuseloom.data import ReadOptions, encode, fit_preprocessors, load, read_rows
from fuseloom.errors import RunError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.saved import SavedModel

ROWS = {
    "text": ["good day", "bad night", "good night", "bad day"] * 5,
    "sound": np.arange(40.0).reshape(20, 2),
}


@pytest.fixture
def saved():
    dataset = load(ROWS, target=["yes", "no", "yes", "no"] * 5)
    preprocessors = fit_preprocessors(dataset, np.arange(20))
    encoders = {name: {"kind": p.kind, **p.encoder_options()} for name, p in preprocessors.items()}
    config = ModelConfig(encoders=encoders, fusion="cross_attention+low_rank", dim=8)
    task = Classification.learn(dataset.target)
    return SavedModel(
        model=build_model(config, task).eval(),
        config=config,
        task=task,
        schema=dataset.schema,
        preprocessors=preprocessors,
        summary="# A card\n",
    )


def test_a_loaded_model_predicts_the_same(saved, tmp_path):
    saved.save(tmp_path / "model")
    again = SavedModel.load(tmp_path / "model")
    one, two = (s.predict(read_rows(ROWS, s.schema)) for s in (saved, again))
    assert one.keys() == {"prediction", "p_no", "p_yes"}
    for name, column in one.items():
        np.testing.assert_array_equal(column, two[name])
    assert again.summary == "# A card\n"


def language_model(place):
    """A tiny language model with a tokenizer of words, saved as hubs serve them."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "good", "bad", "day", "night"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(place)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=6, **size)
    transformers.AutoModel.from_config(config).save_pretrained(place)
    return str(place)


def test_a_language_model_is_needed_no_more_once_it_is_saved(saved, tmp_path):
    name = language_model(tmp_path / "bert")
    dataset = load(ROWS, ReadOptions(kinds={"text": "text"}), target=["yes", "no", "yes", "no"] * 5)
    settings = {"text": {"kind": "tokens", "model": name}}
    preprocessors = fit_preprocessors(dataset, np.arange(20), settings)
    encoders = {**saved.config.encoders, "text": {"kind": "hf", "model": name}}
    config = replace(saved.config, encoders=encoders)
    model = build_model(config, saved.task).eval()
    schema = dataset.schema
    one = replace(saved, model=model, config=config, schema=schema, preprocessors=preprocessors)
    expected = one.predict(read_rows(ROWS, one.schema))
    one.save(tmp_path / "model")
    shutil.rmtree(name)
    again = SavedModel.load(tmp_path / "model")
    found = again.predict(read_rows(ROWS, again.schema))
    np.testing.assert_array_equal(found["p_yes"], expected["p_yes"])
    assert len(set(expected["p_yes"])) > 1


def test_a_model_of_some_modalities_reads_only_those(saved):
    inputs, masks = encode(read_rows(ROWS, saved.schema), saved.preprocessors)
    batch = saved.encode(read_rows({"sound": ROWS["sound"]}, saved.schema))
    assert batch.inputs.keys() == inputs.keys() == masks.keys()
    assert not batch.masks["text"].any()
    assert batch.masks["sound"].all()


def test_what_is_no_model_is_refused(saved, tmp_path):
    with pytest.raises(RunError, match=r"must be a saved model, got no config\.json"):
        SavedModel.load(tmp_path)
    saved.save(tmp_path)
    config = tmp_path / "config.json"
    state = json.loads(config.read_text())
    config.write_text(json.dumps(state | {"format_version": 99}))
    with pytest.raises(RunError, match=r"must have format_version 1, got 99"):
        SavedModel.load(tmp_path)
    config.write_text("{")
    with pytest.raises(RunError, match=r"config\.json must be JSON"):
        SavedModel.load(tmp_path)
    config.write_text(json.dumps({k: v for k, v in state.items() if k != "schema"}))
    with pytest.raises(RunError, match=r"must hold a whole saved model"):
        SavedModel.load(tmp_path)
    config.write_text(json.dumps(state))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"must hold a whole saved model.* Train it again"):
        SavedModel.load(tmp_path)


def test_weights_of_another_model_of_the_same_shape_are_refused(saved, tmp_path):
    saved.save(tmp_path / "one")
    for value in saved.model.state_dict().values():
        value.add_(1)
    saved.save(tmp_path / "two")
    (tmp_path / "one" / "model.safetensors").replace(tmp_path / "two" / "model.safetensors")
    with pytest.raises(RunError, match=r"got weights that its config\.json was not written with"):
        SavedModel.load(tmp_path / "two")
