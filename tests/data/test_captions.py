import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from fuseloom.data.captions import END, PAD, START, UNKNOWN, CaptionVocabulary
from fuseloom.errors import DataError, MissingExtraError, OptionError, UnknownNameError

TEXTS = ["A dog on a bench .", "The dog barks on .", "the end"]


@pytest.fixture
def vocabulary() -> CaptionVocabulary:
    return CaptionVocabulary.learn(TEXTS)


def test_a_word_enters_when_it_is_seen_the_second_time(vocabulary: CaptionVocabulary) -> None:
    assert vocabulary.words == ("<PAD>", "<SOS>", "<EOS>", "<UNK>", "a", "dog", "on", ".", "the")
    assert vocabulary.words[:4] == tuple(f"<{name}>" for name in ("PAD", "SOS", "EOS", "UNK"))
    assert [PAD, START, END, UNKNOWN] == [0, 1, 2, 3]
    assert CaptionVocabulary.learn(TEXTS, min_count=1).words[4:11] == (
        "a",
        "dog",
        "on",
        "bench",
        ".",
        "the",
        "barks",
    )
    assert CaptionVocabulary.learn([*TEXTS, "A a", None], min_count=3).words[4:] == ("a",)


def test_marks_that_a_text_writes_are_words(vocabulary: CaptionVocabulary) -> None:
    learnt = CaptionVocabulary.learn(["<PAD> <EOS>", "<PAD> <EOS>"])
    assert learnt.encode("<PAD> <EOS>") == [START, 4, 5, END]
    assert vocabulary.encode("<UNK> <SOS>") == [START, UNKNOWN, UNKNOWN, END]


def test_encoding_and_back(vocabulary: CaptionVocabulary) -> None:
    numbers = vocabulary.encode("The  black\tDOG\n")
    assert numbers == [START, 8, UNKNOWN, 5, END]
    assert vocabulary.decode([*numbers, PAD, 5]) == "the <UNK> dog"
    assert vocabulary.decode([]) == ""
    assert len(vocabulary) == 9


@pytest.mark.parametrize(("length", "kept"), [(3, 1), (5, 3), (6, 4), (7, 4), (None, 4)])
def test_a_long_caption_is_cut_and_still_ends(
    vocabulary: CaptionVocabulary, length: int | None, kept: int
) -> None:
    assert vocabulary.encode("a dog on the", max_length=length) == [START, *[4, 5, 6, 8][:kept], END]


def test_many_are_padded_to_the_longest_and_nothing_has_no_caption(vocabulary: CaptionVocabulary) -> None:
    captions, mask = vocabulary.encode_all(["a dog", None, " \n", "on the dog"])
    assert captions.tolist() == [[1, 4, 5, 2, 0], [0] * 5, [0] * 5, [1, 6, 8, 5, 2]]
    assert mask.tolist() == [[True] * 4 + [False], [False] * 5, [False] * 5, [True] * 5]
    assert (captions.dtype, mask.dtype) == ("int64", "bool")
    assert vocabulary.encode_all(["a dog on the"] * 2, max_length=4)[0].tolist() == [[1, 4, 5, 2]] * 2
    assert vocabulary.encode_all([])[0].shape == (0, 0)


def test_it_survives_json_and_pickle(vocabulary: CaptionVocabulary) -> None:
    again = CaptionVocabulary.from_state(json.loads(json.dumps(vocabulary.state())))
    assert again == vocabulary
    vocabulary.encode("a dog")
    assert pickle.loads(pickle.dumps(vocabulary)).encode("a dog") == vocabulary.encode("a dog")


@pytest.fixture
def golden(goldens_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((goldens_dir / "muse" / "mner_features_01.json").read_text("utf-8"))
    return found


def test_the_official_numbers_are_reproduced(golden: dict[str, Any]) -> None:
    """Captions too; of those cut to twelve, two are longer in the official code, which counts no marks."""
    pytest.importorskip("spacy")
    texts = [" ".join(one["words"]) for one in golden["examples"][:3]]
    official = CaptionVocabulary.learn(texts, tokenise="spacy", faithful=True)
    assert list(official.words) == golden["caption_vocab"]
    right = CaptionVocabulary(words=official.words, tokenise="spacy")
    for one in golden["examples"]:
        length, text = one["max_seq_length"], " ".join(one["words"])
        (expected,) = one["caption_len"]
        assert official.encode(text, max_length=length) == one["caption"][:expected]
        assert set(one["caption"][expected:]) <= {PAD}
        assert len(right.encode(text, max_length=length)) == min(expected, length)


def test_spacy_splits_what_blanks_do_not() -> None:
    pytest.importorskip("spacy")
    texts = ["Don't panic!", "don't, ever!"]
    assert CaptionVocabulary.learn(["a a", *texts]).words[4:] == ("a",)
    assert CaptionVocabulary.learn(texts, tokenise="spacy").words[4:] == ("do", "n't", "!")


def test_the_official_code_tokenises_every_token_again() -> None:
    """Lower case changes what spaCy makes of a word."""
    pytest.importorskip("spacy")
    words = CaptionVocabulary.learn(["DONT do nt"] * 2, tokenise="spacy").words
    assert words[4:] == ("dont", "do", "nt")
    once, twice = (CaptionVocabulary(words=words, tokenise="spacy", faithful=f) for f in (False, True))
    assert once.encode("DONT") == [START, 4, END]
    assert twice.encode("DONT") == [START, 5, 6, END]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "longest", "unknown"), [("twitter2015", 4734, 47, 0.25), ("twitter2017", 3524, 50, 0.12)]
)
def test_the_published_texts_have_their_vocabularies(
    data_dir: Path, name: str, size: int, longest: int, unknown: float
) -> None:
    pytest.importorskip("spacy")
    texts = [sentences(data_dir / name / f"{part}.txt") for part in ("train", "valid", "test")]
    vocabulary = CaptionVocabulary.learn(texts[0], tokenise="spacy", faithful=True)
    assert len(vocabulary) == size
    captions, mask = vocabulary.encode_all([text for part in texts for text in part])
    assert mask.sum(1).max() - 2 == longest
    assert ((captions == UNKNOWN).sum() / (mask.sum() - 2 * len(mask))) == pytest.approx(unknown, abs=0.005)


def sentences(path: Path) -> list[str]:
    blocks = path.read_text("utf-8").split("IMGID:")[1:]
    lines = ([line for line in block.split("\n")[1:] if line] for block in blocks)
    return [" ".join(line.split("\t")[0] for line in block) for block in lines]


def test_a_missing_spacy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fuseloom.data import captions

    captions._tokeniser.cache_clear()
    monkeypatch.setitem(sys.modules, "spacy.lang.en", None)
    with pytest.raises(
        MissingExtraError, match=r"needs spaCy\. Install it with: pip install 'fuseloom\[captions\]'$"
    ):
        CaptionVocabulary.learn(TEXTS, tokenise="spacy")


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^min_count must be at least 1, got 0\.$"):
        CaptionVocabulary.learn(TEXTS, min_count=0)
    with pytest.raises(DataError, match=r"^texts must hold a word at least 9 times, got none that is\.$"):
        CaptionVocabulary.learn(TEXTS, min_count=9)
    with pytest.raises(UnknownNameError, match=r"^Unknown tokeniser 'spacey'\. Did you mean 'spacy'\?"):
        CaptionVocabulary.learn(TEXTS, tokenise="spacey")


def test_what_has_no_room_or_no_word_is_refused(vocabulary: CaptionVocabulary) -> None:
    with pytest.raises(
        OptionError, match=r"^max_length must be at least 3, for both marks and a word, got 2\.$"
    ):
        vocabulary.encode("a dog", max_length=2)
    with pytest.raises(DataError, match=r"^numbers must be from 0 to 8, got 9\.$"):
        vocabulary.decode([1, 9])
    with pytest.raises(DataError, match=r"^numbers must be from 0 to 8, got -1\.$"):
        vocabulary.decode([1, -1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ["<PAD>", "a"]}, r"^words must begin with \['<PAD>', .*\], got \['<PAD>', 'a'\]\.$"),
        (
            {"words": ["<PAD>", "<SOS>", "<EOS>", "<UNK>", "a", "b", "b"]},
            r"each be there once, got 'b' twice\.$",
        ),
        ({"words": [1, 2]}, r"^The state of a vocabulary must have words, tokenise and faithful, got \["),
        ({"words": "<PAD>"}, r"^The state of a vocabulary must have words, tokenise and faithful"),
        ({"more": 1}, r"^The state of a vocabulary must have words, .* got \['faithful', 'more', 'tokenise'"),
    ],
)
def test_a_foreign_state_is_refused(
    vocabulary: CaptionVocabulary, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        CaptionVocabulary.from_state({**vocabulary.state(), **change})
