import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fuseloom.data.muse_features import IMAGE_MEAN, IMAGE_STD, square_picture, word_pieces
from fuseloom.data.tagged_lines import read_sentences
from fuseloom.errors import DataError, OptionError

LABELS = ("O", "B-PER", "I-PER", "X")


class Halves:
    """A tokenizer that cuts a word into letters, of which blanks that nobody sees are none."""

    cls_token_id, sep_token_id, pad_token_id = 1, 2, 9

    def tokenize(self, word: str) -> list[str]:
        return [letter for letter in word if letter.isprintable()]

    def convert_tokens_to_ids(self, pieces: list[str]) -> list[int]:
        return [ord(piece) for piece in pieces]


def test_pieces_stand_between_marks_and_know_their_word() -> None:
    rows = word_pieces(["Al \u200b s", None], Halves(), length=7)
    assert rows.ids.tolist() == [[1, ord("A"), ord("l"), ord("s"), 2, 9, 9], [1, 2, 9, 9, 9, 9, 9]]
    assert rows.words.tolist() == [[-1, 0, 0, 2, -1, -1, -1], [-1] * 7]
    assert rows.mask.sum(1).tolist() == [5, 2]
    assert rows.first.tolist() == [[False, True, False, True, False, False, False], [False] * 7]
    assert (rows.num_words, rows.cut, rows.tags, rows.segments.sum()) == ((3, 0), 0, None, 0)


def test_tags_stand_on_first_pieces_and_come_back_to_words() -> None:
    tags = [["B-PER", "O", "I-PER"], ["I-PER", "B-PER"]]
    rows = word_pieces(["Al \u200b s", "abc d"], Halves(), tags=tags, labels=LABELS, length=6)
    assert rows.tags is not None
    assert rows.tags.tolist() == [[0, 1, 3, 2, 0, 0], [0, 2, 3, 3, 1, 0]]
    assert rows.tags_of_words(rows.tags, LABELS) == tags
    short = word_pieces(["Al \u200b s", "abc d"], Halves(), tags=tags, labels=LABELS, length=5)
    assert short.cut == 1
    assert short.tags is not None
    assert short.tags_of_words(short.tags, LABELS) == [["B-PER", "O", "I-PER"], ["I-PER", "O"]]


def test_the_same_word_twice_is_two_words() -> None:
    rows = word_pieces(["a a"], Halves(), length=4)
    assert rows.first.tolist() == [[False, True, True, False]]


def test_the_official_code_gives_the_start_another_segment() -> None:
    assert word_pieces(["a"], Halves(), length=3, faithful=True).segments.tolist() == [[1, 0, 0]]


def test_a_picture_of_any_form_becomes_a_square() -> None:
    grey = np.full((5, 9), 51, np.uint8)
    pixels = square_picture(grey, 4)
    assert pixels.shape == (3, 4, 4)
    for channel, mean, std in zip(pixels, IMAGE_MEAN, IMAGE_STD, strict=True):
        assert channel == pytest.approx((0.2 - mean) / std, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"length": 2}, OptionError, r"length must be at least 3, for two marks and a piece, got 2"),
        ({"tags": [["O"]]}, OptionError, r"labels must hold 'O' and 'X', got \[\]"),
        (
            {"tags": [["O", "O"]], "labels": LABELS},
            DataError,
            r"tags must be 1 in row 0, one per word, got 2",
        ),
        ({"tags": [["B-PRE"]], "labels": LABELS}, DataError, r"got 'B-PRE'\. Did you mean 'B-PER'\?"),
    ],
    ids=["length", "labels", "number", "name"],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        word_pieces(["a"], Halves(), **options)


def bert_tokenizer(vocabulary: list[str]) -> Any:
    """As that of BERT in lower case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    pieces = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **marks)


def test_the_official_features_are_reproduced(goldens_dir: Path, tmp_path: Path) -> None:
    case = json.loads((goldens_dir / "muse" / "mner_features_01.json").read_text("utf-8"))
    tokenizer = bert_tokenizer(case["wordpiece_vocab"])
    (tmp_path / "train.txt").write_text(case["file_text"], "utf-8")
    types = {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "OTHER": "MISC"}
    sentences, _ = read_sentences(tmp_path / "train.txt", types)
    for example in case["examples"]:
        one, length = sentences[example["index"]], example["max_seq_length"]
        assert list(one.words) == example["words"]
        assert one.tags is not None
        assert (list(one.tags), f"{one.image}.jpg") == (example["labels"], example["img_id"])
        text, labels = " ".join(one.words), case["label_list"]
        rows = word_pieces([text], tokenizer, tags=[one.tags], labels=labels, length=length, faithful=True)
        assert rows.tags is not None
        found = {"input_ids": rows.ids, "segment_ids": rows.segments, "label_ids": rows.tags}
        assert {name: values[0].tolist() for name, values in found.items()} == {
            name: example[name] for name in found
        }
        assert rows.mask[0].astype(int).tolist() == example["input_mask"]
        assert rows.mask.sum() == example["input_len"]


def test_the_official_pictures_are_reproduced(goldens_dir: Path) -> None:
    stored = load_file(goldens_dir / "muse" / "mner_features_01.safetensors")
    for number in range(3):
        pixels = stored[f"input.image.{number}"].numpy()
        for name, size in (("image_raw", 14), ("image_ti", 8)):
            ours = torch.from_numpy(square_picture(pixels, size))
            torch.testing.assert_close(ours, stored[f"output.{name}.{number}"], rtol=0, atol=1e-6)
