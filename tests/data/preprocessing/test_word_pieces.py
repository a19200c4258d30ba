import json
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing import PREPROCESSORS, WordPiecePreprocessor

transformers = pytest.importorskip("transformers")

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "new", "york", "##er", "##s", "in"]
CLS, SEP, UNKNOWN = 2, 3, 1


def texts(*values: str | None) -> Text:
    return Text(values=np.array(values, dtype=object))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a word-piece tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("pieces")
    numbers = {piece: number for number, piece in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    transformers.BertConfig(vocab_size=len(VOCABULARY)).save_pretrained(folder)
    return str(folder)


def test_pieces_carry_the_number_of_their_word(model: str) -> None:
    modality = texts("in New Yorkers", "qqq", None)
    pieces = WordPiecePreprocessor.fit(modality, np.arange(3), model=model)
    values, mask = pieces.apply(modality)
    assert (pieces.length, pieces.num_words, pieces.notes) == (7, 3, ())
    assert values[0].tolist() == [[CLS, -1], [9, 0], [5, 1], [6, 2], [7, 2], [8, 2], [SEP, -1]]
    assert values[1, :3].tolist() == [[CLS, -1], [UNKNOWN, 0], [SEP, -1]]
    assert mask.sum(1).tolist() == [7, 3, 0]
    assert pieces.encoder_options() == {"model": model, "num_words": 3}


def test_a_word_without_pieces_keeps_its_place(model: str) -> None:
    modality = texts("new \u200b york")
    pieces = WordPiecePreprocessor.fit(modality, np.arange(1), model=model)
    values, _ = pieces.apply(modality)
    assert values[0].tolist() == [[CLS, -1], [5, 0], [UNKNOWN, 1], [6, 2], [SEP, -1]]


def test_texts_are_cut_behind_whole_words_and_counted(model: str) -> None:
    modality = texts("new yorkers in new", "in a")
    pieces = WordPiecePreprocessor.fit(modality, np.arange(2), model=model, max_length=6)
    assert pieces.notes == ("1 of 2 texts are cut after 6 pieces in training",)
    values, mask = pieces.apply(modality)
    assert values[0, :, 1].tolist() == [-1, 0, 1, 1, 1, -1]
    assert mask[1].sum() == 4
    short = WordPiecePreprocessor.fit(modality, np.array([1]), model=model)
    assert (short.length, short.num_words) == (4, 2)
    assert short.notes == ("1 of 2 texts are cut after 4 pieces in training",)


def test_a_state_and_the_tokenizer_are_kept(model: str, tmp_path: Path) -> None:
    modality = texts("new york in", "a")
    pieces = WordPiecePreprocessor.fit(modality, np.arange(2), model=model)
    pieces.keep(tmp_path / "kept")
    state = json.loads(json.dumps({**pieces.state(), "model": "gone"}))
    again = PREPROCESSORS["word-pieces"].from_state(state).found(tmp_path / "kept")
    np.testing.assert_array_equal(again.apply(modality)[0], pieces.apply(modality)[0])


def test_a_text_of_more_pieces_or_words_than_are_read_at_once_is_divided(model: str) -> None:
    pieces = WordPiecePreprocessor.fit(texts("new yorkers in"), np.arange(1), model=model)
    assert (pieces.length, pieces.num_words) == (7, 3)
    found = pieces.windows(texts("new yorkers in", "yorkers yorkers in", "in in in in", None))
    assert {row: one.parts for row, one in found.items()} == {1: ((0, 1), (1, 3)), 2: ((0, 3), (1, 4))}
    for row, text in ((1, "yorkers yorkers in"), (2, "in in in in")):
        for first, behind in found[row].parts:
            values, _ = pieces.apply(texts(" ".join(text.split(" ")[first:behind])))
            assert values[0, :, 1].max() + 1 == behind - first


def test_a_word_of_more_pieces_than_are_read_at_once_is_in_no_window(model: str) -> None:
    pieces = WordPiecePreprocessor.fit(texts("a in"), np.arange(1), model=model)
    (found,) = pieces.windows(texts("a yorkers in a")).values()
    assert (found.num_words, found.parts) == (4, ((0, 1), (2, 4)))
