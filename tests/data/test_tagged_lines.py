from pathlib import Path

import pytest

from fuseloom.data.tagged_lines import read_sentences
from fuseloom.errors import DataError

TYPES = {"PER": "PER", "LOC": "LOC", "OTHER": "MISC"}
TWEETS = "IMGID:7\nAnn\tB-PER\n\u00a0\tO\n\u200b\tO\n\nIMGID:8\nrings\tI-OTHER\n\U0001f600\tO\n"


def read(
    tmp_path: Path, text: str | bytes, name: str = "train.txt", **options: dict[str, str]
) -> list[object]:
    """Words, tags, picture and name of each sentence."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    sentences, _ = read_sentences(path, **options)
    return [(one.words, one.tags, one.image, one.name) for one in sentences]


def aside(tmp_path: Path, text: str, name: str = "train.txt") -> list[tuple[str, str]]:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return [(one.where, one.reason) for one in read_sentences(path)[1]]


def test_invisible_words_are_words_and_only_empty_lines_separate(tmp_path: Path) -> None:
    assert read(tmp_path, TWEETS, types=TYPES) == [
        (("Ann", "\u00a0", "\u200b"), ("B-PER", "O", "O"), "7", "7"),
        (("rings", "\U0001f600"), ("I-MISC", "O"), "8", "8"),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(TWEETS.replace("\n", "\r\n"), id="carriage returns"),
        pytest.param("\ufeff" + TWEETS, id="byte-order mark"),
        pytest.param("\n\n" + TWEETS.replace("\n\n", "\n\n\n") + "\n\n", id="more empty lines"),
        pytest.param(TWEETS.replace("\n\n", "\n"), id="no empty line"),
        pytest.param(TWEETS.rstrip("\n"), id="no last line feed"),
        pytest.param(TWEETS.replace("IMGID:8", "IMGID: 8 "), id="blanks around the id"),
    ],
)
def test_the_same_sentences_under_other_ends_of_lines(tmp_path: Path, changed: str) -> None:
    assert read(tmp_path, changed, types=TYPES) == read(tmp_path, TWEETS, "plain.txt", types=TYPES)


def test_ends_of_lines_of_other_alphabets_are_no_ends(tmp_path: Path) -> None:
    ((words, *_),) = read(tmp_path, "IMGID:1\na\u2028b\tO\nc\u0085\tO\nd\x0b\tO\n")  # type: ignore[misc]
    assert words == ("a\u2028b", "c\u0085", "d\x0b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IMGID:1\na\tO\nb\tNN\tO\n", r"train\.txt:3 must be a word, a tab and a tag, got 3 columns\."),
        ("IMGID:1\na\tO\nb O\n", r"train\.txt:3 must be a word, a tab and a tag, got 'b O'\. Write a tab"),
        ("IMGID:1\na\tO\n\tO\n", r"train\.txt:3 must be a word, a tab and a tag, got '\\tO'"),
        (
            "IMGID:1\na\tB-PRE\n",
            r"train\.txt:2: a tag must be .* 'B-PRE'\. Did you mean 'B-PER'\? Known: B-LOC",
        ),
        ("IMGID:1\na\tPER\n", r"train\.txt:2: a tag must be one of the scheme, got 'PER'"),
        ("IMGID:1\na\tO\n\nb\tO\n", r"train\.txt:4 must begin a sentence with IMGID:<id>, got 'b\\tO'"),
        ("IMGID:\na\tO\n", r"train\.txt:1 must name a picture behind IMGID:, got nothing"),
        (
            "I love $T$ !\nAnn\n1\n12.jpg\n",
            r"train\.txt must hold a word .* \$T\$ in line 1: that is target-or",
        ),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, types=TYPES)


@pytest.mark.parametrize("tag", ["PER", "B-", "C-PER", "b-PER", "B_PER", ""])
def test_without_types_a_tag_must_have_a_prefix(tmp_path: Path, tag: str) -> None:
    with pytest.raises(DataError, match=rf"train\.txt:2: a tag must be O, or B-, .* got '{tag}'\."):
        read(tmp_path, f"IMGID:1\na\t{tag}\n")


def test_prefixes_of_all_schemes_have_one_form(tmp_path: Path) -> None:
    lines = "a U-X\nb B-X\nc M-X\nd L-X\ne S-X\nf E-X\ng I-X-Y\n"
    ((_, tags, *_),) = read(tmp_path, lines)  # type: ignore[misc]
    assert tags == ("S-X", "B-X", "I-X", "E-X", "S-X", "E-X", "I-X-Y")


def test_a_sentence_without_a_word_is_set_aside(tmp_path: Path) -> None:
    assert aside(tmp_path, "IMGID:1\na\tO\n\nIMGID:2\n\nIMGID:3\nIMGID:4\nb\tO\n") == [
        ("train.txt:4", "no word follows 'IMGID:2'"),
        ("train.txt:6", "no word follows 'IMGID:3'"),
    ]
    assert aside(tmp_path, "a O\n\n# image = x.png\n\nb O") == [("train.txt:3", "no word follows")]


def test_words_without_any_tag_can_be_read(tmp_path: Path) -> None:
    assert read(tmp_path, "IMGID:1\nAnn\nsings\n") == [(("Ann", "sings"), None, "1", "1")]
    assert read(tmp_path, "Ann\nsings\n\nwell\n") == [
        (("Ann", "sings"), None, None, None),
        (("well",), None, None, None),
    ]


def test_conll_has_its_word_first_and_its_tag_last(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\nAnn NNP  B-NP B-PER\n# SYM O O\n\nRome NNP B-NP B-LOC\n"
    assert read(tmp_path, text) == [
        (("Ann", "#"), ("B-PER", "O"), None, None),
        (("Rome",), ("B-LOC",), None, None),
    ]


def test_conll_names_a_picture_in_a_column_or_a_comment(tmp_path: Path) -> None:
    columns = "New York\tpics/1 a.jpg\tB-LOC\nwins\t_\tO\n\nAnn\t_\tB-PER\n"
    assert read(tmp_path, columns) == [
        (("New York", "wins"), ("B-LOC", "O"), "pics/1 a.jpg", None),
        (("Ann",), ("B-PER",), None, None),
    ]
    comments = "# id = s1\n# image = pics/1 a.jpg\n# text = Ann\nAnn B-PER\n# O\n"
    assert read(tmp_path, comments) == [(("Ann", "#"), ("B-PER", "O"), "pics/1 a.jpg", "s1")]


def test_a_line_of_conll_without_a_tag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.txt:2 must be columns that begin with a word .* got 'b'\."):
        read(tmp_path, "a O\nb\n")


def test_json_lines_hold_a_sentence_each(tmp_path: Path) -> None:
    lines = (
        '{"tokens": ["New York", "\\u2028"], "tags": ["B-LOC", "O"], "image": "a.png", "id": 3}\n\n'
        '{"tokens": ["Ann"]}\n'
    )
    assert read(tmp_path, lines, "test.jsonl") == [
        (("New York", "\u2028"), ("B-LOC", "O"), "a.png", "3"),
        (("Ann",), None, None, None),
    ]


def test_lines_that_are_no_sentence_are_set_aside(tmp_path: Path) -> None:
    lines = [
        '{"tokens": ["a"], "tags": ["O"]',
        '{"tokens": [], "tags": []}',
        '{"tokens": ["a", ""], "tags": ["O", "O"]}',
        '{"tokens": ["a", "b"], "tags": ["O"]}',
        '{"tokens": ["a"], "tags": [0]}',
        '{"tokens": "a b", "tags": ["O"]}',
    ]
    (damaged, *others) = aside(tmp_path, "\n".join(lines), "test.jsonl")
    assert damaged[1].startswith("not JSON in UTF-8")
    assert others == [
        ("test.jsonl:2", "no word in 'tokens'"),
        ("test.jsonl:3", "an empty word in 'tokens'"),
        ("test.jsonl:4", "2 tokens and 1 tags"),
        ("test.jsonl:5", "'tags' must be a list of strings"),
        ("test.jsonl:6", "'tokens' must be a list of strings"),
    ]


def test_a_tag_of_json_lines_that_is_not_of_the_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.jsonl:1: a tag must be one of the scheme, got 'B-PRE'"):
        read(tmp_path, '{"tokens": ["a"], "tags": ["B-PRE"]}', "test.jsonl", types=TYPES)


@pytest.mark.parametrize(
    ("data", "got"),
    [("IMGID:1\na\tO\n".encode("utf-16"), "UTF-16"), (b"IMGID:1\na\tO\n\xff\tO\n", "byte 0xff in line 3")],
    ids=["utf-16", "latin-1"],
)
def test_text_in_another_encoding_is_refused(tmp_path: Path, data: bytes, got: str) -> None:
    with pytest.raises(DataError, match=rf"train\.txt must be text in UTF-8, got {got}"):
        read(tmp_path, data)
