"""Encoders of transformers: masks, freezing, rebuilding and counting what a length limit cuts."""

import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom.encoders.hf import HfEncoder, load_tokenizer, tokenise
from fuseloom.errors import DataError, MissingExtraError, ModalityError, OptionError

transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 30, "max_position_embeddings": 40}
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": {"model_type": "bert", **SMALL, **SIZE},
    "roberta": {"model_type": "roberta", **SMALL, **SIZE, "pad_token_id": 1},
    "distilbert": {
        "model_type": "distilbert",
        **SMALL,
        "dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 32,
    },
    "t5": {
        "model_type": "t5",
        **SMALL,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 1,
        "num_heads": 2,
    },
}
NAMES = list(CONFIGS)


def build(name, **options):
    return HfEncoder(name, dim=8, config=CONFIGS[name], **options)


def ids_and_mask():
    mask = torch.arange(6) < torch.tensor([[6], [0], [1], [4]])
    return torch.randint(5, 30, (4, 6)), mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and a tokenizer of words in one folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    place = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(place)
    config = transformers.AutoConfig.for_model(**CONFIGS["bert"])
    transformers.AutoModel.from_config(config).save_pretrained(place)
    return str(place)


@pytest.mark.parametrize("output", ["pooled", "cls", "tokens"])
@pytest.mark.parametrize("name", NAMES)
def test_masked_ids_do_not_matter_and_padding_is_the_same_as_cutting(name, output):
    encoder = build(name, output=output).eval()
    ids, mask = ids_and_mask()
    stream, kept = encoder(ids, mask)
    other, _ = encoder(ids.masked_fill(~mask, 10**9), mask)
    assert other.equal(stream)
    assert stream[~kept].eq(0).all()
    assert kept.equal(mask if output == "tokens" else mask.any(1))
    alone, _ = encoder(ids[3:, :4])
    torch.testing.assert_close(
        stream[3:, :4] if output == "tokens" else stream[3:], alone, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_pooled_is_the_projected_mean_of_what_the_model_gives(name):
    encoder = build(name).eval()
    ids, _ = ids_and_mask()
    hidden = encoder.stages[0].backbone.module(input_ids=ids).last_hidden_state
    expected = encoder.stages[1].project(hidden.mean(1))
    torch.testing.assert_close(encoder(ids)[0], expected, rtol=1e-4, atol=1e-5)
    assert encoder.dims == (16, 8)


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_weight_gets_a_gradient_and_a_frozen_model_none(name):
    ids, mask = ids_and_mask()
    for frozen in (False, True):
        encoder = build(name, frozen=frozen).train()
        stream, _ = encoder(ids, mask)
        (stream * torch.randn_like(stream)).sum().backward()
        trained = [n for n, parameter in encoder.named_parameters() if parameter.requires_grad]
        got = [n for n, parameter in encoder.named_parameters() if parameter.grad is not None]
        assert trained == got
        assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)
        inner = encoder.stages[0].backbone.module
        assert any(m.training for m in inner.modules()) == (not frozen)
        assert any(n.startswith("stages.0") for n in trained) == (not frozen)


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_it_is_exported_for_any_batch_and_length(name):
    encoder = build(name).eval()
    batch, length = torch.export.Dim("batch", min=2), torch.export.Dim("length", min=2, max=32)
    ids, mask = torch.randint(5, 30, (5, 12)), torch.rand(5, 12) < 0.7
    exported = torch.export.export(
        encoder, (ids, mask), dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length})
    ).module()
    ids, mask = torch.randint(5, 30, (2, 7)), torch.arange(7) < torch.tensor([[7], [0]])
    torch.testing.assert_close(exported(ids, mask)[0], encoder(ids, mask)[0], rtol=1e-4, atol=1e-5)


def test_a_folder_is_loaded_as_it_was_saved_and_rebuilt_without_it(folder):
    encoder = HfEncoder(folder, dim=8).eval()
    saved = transformers.AutoModel.from_pretrained(folder)
    ids = torch.tensor([[2, 5, 6, 3]])
    hidden = encoder.run_stage(0, ids, None)[0]
    torch.testing.assert_close(hidden, saved(input_ids=ids).last_hidden_state)
    options = json.loads(json.dumps(encoder.rebuild_options()))
    again = HfEncoder("gone", dim=8, **options).eval()
    again.load_state_dict(encoder.state_dict())
    assert again(ids)[0].equal(encoder(ids)[0])


def test_texts_become_ids_and_what_is_cut_is_counted(folder):
    tokenizer = load_tokenizer(folder)
    ids, mask, cut = tokenise(["a b", "d c b a", None, "  ", "a b c"], tokenizer, 5)
    assert ids.tolist() == [[2, 4, 5, 3, 0], [2, 7, 6, 5, 3], [0] * 5, [0] * 5, [2, 4, 5, 6, 3]]
    assert mask.sum(1).tolist() == [4, 5, 0, 0, 5]
    assert cut == 1
    assert (ids.dtype, mask.dtype) == (np.int64, np.bool_)
    nothing, none, zero = tokenise([None, ""], tokenizer, 5)
    assert (nothing.shape, none.any(), zero) == ((2, 1), False, 0)
    with pytest.raises(OptionError, match="max_length must be above the 2 marks of the model, got 2"):
        tokenise(["a"], tokenizer, 2)


@settings(max_examples=30)
@given(
    texts=st.lists(st.one_of(st.none(), st.text("abcd ", max_size=12)), min_size=1, max_size=5),
    limit=st.integers(3, 9),
)
def test_as_many_are_cut_as_are_longer_than_the_limit(folder, texts, limit):
    ids, mask, cut = tokenise(texts, load_tokenizer(folder), limit)
    lengths = [len((text or "").split()) + 2 if (text or "").strip() else 0 for text in texts]
    assert mask.sum(1).tolist() == [min(length, limit) for length in lengths]
    assert cut == sum(length > limit for length in lengths)
    assert ids.shape == mask.shape


def test_what_cannot_be_loaded_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for load in (HfEncoder, load_tokenizer):
        with pytest.raises(
            DataError, match=r"got 'no/such': .* without a network, give the path of a folder"
        ):
            load("no/such")
        with pytest.raises(DataError, match=r"a folder with a config\.json in it"):
            load(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="model must be one that transformers can load"):
        HfEncoder(str(tmp_path))
    with pytest.raises(OptionError, match="output must be 'pooled', 'cls' or 'tokens', got 'map'"):
        HfEncoder("bert", output="map")
    with pytest.raises(ModalityError, match=r"must have shape \[B, T\] .* got \(2, 3, 4\)"):
        build("bert")(torch.zeros(2, 3, 4, dtype=torch.long))


def test_without_transformers_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for load in (HfEncoder, load_tokenizer):
        with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[text\]'"):
            load("some/model")
