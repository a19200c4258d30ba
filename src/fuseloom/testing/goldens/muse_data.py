"""Runners of what MuSE reads: the published files, and the features made of them."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from fuseloom.data.captions import PAD, CaptionVocabulary
from fuseloom.data.muse_features import IMAGE_MEAN, IMAGE_STD, PieceRows, square_picture, word_pieces
from fuseloom.data.tagged_lines import Sentence, read_sentences
from fuseloom.data.twitter import parsed_digest
from fuseloom.errors import DataError, MissingExtraError
from fuseloom.metrics.spans import SpanRule, entity_spans
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, Stated, json_tensor

__all__ = ["RUNNERS"]

_TYPES = {"LOC": "LOC", "MISC": "MISC", "ORG": "ORG", "OTHER": "MISC", "PER": "PER"}
_DATA = "FUSELOOM_TEST_DATA"
_EXAMPLE = ("max_seq_length", "index")
"""Entries of an example that say which it is; all others are expected."""


def _states_files(case: GoldenCase) -> Stated:
    """Of the files that are there: they are not ours to give away."""
    home = Path(os.environ.get(_DATA) or case.path.resolve().parents[2] / "data")
    files = {name: home / f"{name}.txt" for name in case.header["data"]}
    there = {name: str(file) for name, file in files.items() if file.is_file()}
    if not there:
        raise DataError(
            f"{home} must hold one of {sorted(files)}, to be compared, got none. Set {_DATA} to the folder "
            "of the published sets."
        )
    expected = {
        f"output.{name}.{what}": json_tensor(value)
        for name in there
        for what, value in case.header["data"][name].items()
    }
    return Stated(given={"files": there}, expected=expected)


def _files(given: Given) -> dict[str, Tensor]:
    return {
        f"output.{name}.{what}": json_tensor(value)
        for name, file in given.option("files").items()
        for what, value in _counted(Path(file)).items()
    }


def _counted(file: Path) -> dict[str, Any]:
    """What a file holds, under the names of the case."""
    data = file.read_bytes()
    sentences, _ = read_sentences(file, _TYPES)
    lengths = [len(one.words) for one in sentences]
    found: dict[str, Any] = {
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "file_bytes": len(data),
        "n_sentences": len(sentences),
        "n_tokens": sum(lengths),
        "max_tokens": max(lengths),
        "tag_counts": Counter(tag for one in sentences for tag in _tags(one)),
        "parsed_sha256": parsed_digest(
            (str(one.image), " ".join(one.words), " ".join(_tags(one))) for one in sentences
        ),
        "first": _shown(sentences[0]),
        "last": _shown(sentences[-1]),
    }
    rules: dict[str, tuple[str, SpanRule]] = {
        "muse_bio": ("n_entities_muse_bio", "muse"),
        "lenient_get_chunks": ("n_entities_lenient", "umt"),
    }
    for name, (total, rule) in rules.items():
        types = Counter(span.type for one in sentences for span in entity_spans(_tags(one), rule))
        found |= {f"entities_{name}": types, total: types.total()}
    return found


def _tags(sentence: Sentence) -> Sequence[str]:
    return sentence.tags if sentence.tags is not None else ()


def _shown(sentence: Sentence) -> dict[str, Any]:
    return {
        "img_id": f"{sentence.image}.jpg",
        "n_words": len(sentence.words),
        "labels": list(_tags(sentence)),
    }


def _states_features(case: GoldenCase) -> Stated:
    header = case.header
    given = {name: header[name] for name in ("file_text", "wordpiece_vocab", "label_list")}
    given["examples"] = [{name: one[name] for name in _EXAMPLE} for one in header["examples"]]
    expected = {"output.caption_vocab": json_tensor(header["caption_vocab"])}
    for place, one in enumerate(header["examples"]):
        expected |= {
            f"output.example{place}.{what}": json_tensor(value)
            for what, value in one.items()
            if what not in _EXAMPLE
        }
    return Stated(given=given, expected=expected)


def _features(given: Given) -> dict[str, Tensor]:
    sentences = _read(given.option("file_text"))
    texts = [" ".join(one.words) for one in sentences]
    vocabulary = CaptionVocabulary.learn(texts, tokenise="spacy", faithful=True)
    tokenizer = _tokenizer(given.option("wordpiece_vocab"))
    found = {"output.caption_vocab": json_tensor(list(vocabulary.words))}
    for place, example in enumerate(given.option("examples")):
        row, length = example["index"], example["max_seq_length"]
        pieces = word_pieces(
            [texts[row]],
            tokenizer,
            tags=[_tags(sentences[row])],
            labels=given.option("label_list"),
            length=length,
            faithful=True,
        )
        caption = vocabulary.encode(texts[row], max_length=length)
        values = _words(sentences[row]) | _numbers(pieces) | {"caption_len": [len(caption)]}
        values["caption"] = caption + [PAD] * (length - len(caption))
        found |= {f"output.example{place}.{what}": json_tensor(value) for what, value in values.items()}
    return found | _pictures(given)


def _read(text: str) -> list[Sentence]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        file.write_bytes(text.encode())
        return read_sentences(file, _TYPES)[0]


def _words(sentence: Sentence) -> dict[str, Any]:
    return {
        "words": list(sentence.words),
        "labels": list(_tags(sentence)),
        "img_id": f"{sentence.image}.jpg",
    }


def _numbers(pieces: PieceRows) -> dict[str, Any]:
    assert pieces.tags is not None
    return {
        "input_ids": pieces.ids[0].tolist(),
        "input_mask": pieces.mask[0].astype(int).tolist(),
        "segment_ids": pieces.segments[0].tolist(),
        "label_ids": pieces.tags[0].tolist(),
        "input_len": int(pieces.mask[0].sum()),
    }


def _pictures(given: Given) -> dict[str, Tensor]:
    constants = [tuple(given.option("mean")), tuple(given.option("std"))]
    if constants != [IMAGE_MEAN, IMAGE_STD]:
        raise DataError(f"mean and std must be {IMAGE_MEAN} and {IMAGE_STD}, got {constants}.")
    sizes = {"image_raw": given.option("crop_size"), "image_ti": given.option("ti_crop_size")}
    return {
        f"output.{name}.{key.removeprefix('image.')}": torch.from_numpy(
            square_picture(given.inputs[key].numpy(), size)
        )
        for key in given.inputs
        for name, size in sizes.items()
    }


def _tokenizer(vocabulary: Sequence[str]) -> Any:
    """As that of BERT in lower case, of other pieces."""
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise MissingExtraError(
            "Word pieces need transformers. Install it with: pip install 'fuseloom[text]'"
        ) from None
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    pieces = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    build: Any = PreTrainedTokenizerFast
    return build(tokenizer_object=pieces, **marks)


RUNNERS: Mapping[str, Runner] = {
    "muse/mner_dataset_stats": Runner(run=_files, states=_states_files),
    "muse/mner_features": Runner(run=_features, states=_states_features),
}
