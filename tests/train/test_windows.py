import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom import Batch
from fuseloom.data import Text
from fuseloom.data.preprocessing import WordPiecePreprocessor, WordPreprocessor
from fuseloom.models import ModelConfig, build_model
from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_packing import pack_chain, unpack_chain
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.windows import exact_predictions

TASK = Tagging(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"])
TRAINED = ["cue plain name more end plain plain plain plain plain plain plain plain plain plain plain"] * 2
"""The longest has 16 words."""
WORDS = ["cue", "plain", "plain", "plain", "name", "more", "Zo\u00eb", "\u200b", "\U0001f600", "a\u0308"]


class Reader(nn.Module):
    """A name, and each ``more`` behind it, is an entity where a cue stands at most three words away.

    Of which type says the picture.
    """

    def __init__(self, words):
        super().__init__()
        self.known = {word: number for number, word in enumerate(words.vocabulary, 1)}
        self.scale = nn.Parameter(torch.tensor(9.0))

    def forward(self, inputs, masks=None, *, trace=None):
        numbers = inputs["text"][..., 0]
        cue, name, more = (numbers == self.known[word] for word in ("cue", "name", "more"))
        near = F.max_pool1d(cue.to(self.scale.dtype)[:, None], 7, stride=1, padding=3)[:, 0] > 0
        first = name & near
        inside = more & F.pad(first, (1, 0))[:, :-1]
        of_person = 2 * (inputs["picture"][:, :1] > 0).long()
        tags = torch.where(first, 1 + of_person, torch.where(inside, 2 + of_person, 0))
        chain = Chain(start=torch.zeros(5), transitions=torch.zeros(5, 5), end=torch.zeros(5))
        chain = Chain(**{key: value.to(self.scale.dtype) for key, value in vars(chain).items()})
        return pack_chain(chain, F.one_hot(tags, 5) * self.scale, masks["text"])


@pytest.fixture(scope="module")
def words():
    return WordPreprocessor.fit(Text(values=np.array(TRAINED, dtype=object)), np.arange(2), min_count=1)


def texts(*values):
    return Text(values=np.array(values, dtype=object))


def rows_of(text, words):
    values, mask = words.apply(text)
    pictures = torch.tensor([[1.0], [-1.0]]).repeat(len(text), 1)[: len(text)]
    return Batch(
        inputs={"text": torch.from_numpy(values), "picture": pictures},
        masks={"text": torch.from_numpy(mask), "picture": torch.ones(len(text), dtype=torch.bool)},
    )


def many_words(count, seed):
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def test_a_text_of_five_thousand_words_is_tagged_as_by_a_model_that_reads_all(words):
    text = texts(many_words(5000, 0), many_words(5000, 1), many_words(10, 2), "", None, many_words(17, 3))
    model = Reader(words)
    found = exact_predictions(model, TASK, rows_of(text, words), {"text": (text, words)})
    whole = rows_of(text, replace(words, length=5000))
    _, emissions, mask = unpack_chain(model(whole.inputs, whole.masks))
    expected = emissions.argmax(-1).masked_fill(~mask, -1)
    np.testing.assert_array_equal(found[..., -2], expected.numpy())
    tags = TASK.columns(found)["prediction"]
    assert "B-PER I-PER" in tags[0]
    assert "B-LOC I-LOC" in tags[1]
    assert [len(one.split()) for one in tags] == [5000, 5000, 10, 0, 0, 17]


def test_rows_that_fit_are_predicted_bit_for_bit_as_without_the_long_one(words):
    encoders = {
        "text": {"kind": "words", **words.encoder_options()},
        "picture": {"kind": "embedding", "in_dim": 1},
    }
    config = ModelConfig(encoders=encoders, fusion="concat", dim=8, anchor="text")
    model = build_model(config, TASK).eval()
    text = texts(many_words(16, 0), many_words(40, 1), "", many_words(3, 2))
    rows = rows_of(text, words)
    plain = exact_predictions(model, TASK, rows, {})
    found = exact_predictions(model, TASK, rows, {"text": (text, words)})
    assert (plain.shape[1], found.shape[1]) == (16, 40)
    fitting = [0, 2, 3]
    np.testing.assert_array_equal(found[fitting, :16], plain[fitting])
    assert (found[fitting, 16:, -2] == -1).all()
    assert (found[1, :, -2] >= 0).all()
    np.testing.assert_allclose(found[1, :, :-2].sum(1), 1)


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A tokenizer whose pieces are letters, and what it makes of texts of at most eight."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("letters")
    every = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *every, *(f"##{letter}" for letter in every)]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertConfig(vocab_size=len(vocabulary), **size).save_pretrained(folder)
    return WordPiecePreprocessor.fit(texts("ab cd ef g h"), np.arange(1), model=str(folder))


def test_a_word_of_more_pieces_than_are_read_at_once_is_outside_and_the_others_are_read(letters):
    config = json.loads((Path(letters.model) / "config.json").read_text())
    encoder = {"kind": "hf_words", **letters.encoder_options(), "config": config}
    model = build_model(ModelConfig(encoders={"text": encoder}, fusion="concat", dim=8, anchor="text"), TASK)
    giant = "abcdefghijkl"
    text = texts(
        f"ab {giant} cd \u200b \U0001f600", f"ab cd {giant}", giant, "ab cd ef", "cd \u200b \U0001f600"
    )
    values, mask = letters.apply(text)
    rows = Batch(inputs={"text": torch.from_numpy(values)}, masks={"text": torch.from_numpy(mask)})
    found = exact_predictions(model.eval(), TASK, rows, {"text": (text, letters)})
    assert [len(one.split()) for one in TASK.columns(found)["prediction"]] == [5, 3, 1, 3, 3]
    for row, word in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_allclose(found[row, word, :-1], [0.2] * 5 + [0])
    plain = exact_predictions(model, TASK, rows, {})
    np.testing.assert_array_equal(found[3:, :5], plain[3:])
    np.testing.assert_allclose(found[0, 2:, :-1], plain[4, :3, :-1], rtol=1e-9)
