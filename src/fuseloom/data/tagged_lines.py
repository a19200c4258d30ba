"""Sentences of tagged words as files hold them: the IMGID format, plain CoNLL, and JSON lines.

A line ends with a line feed (behind a carriage return or not) and with nothing else, only an empty line
separates sentences, and only the stated mark separates columns: words of tweets hold invisible characters and
blanks of other alphabets.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseloom.data.dataset import SetAside
from fuseloom.data.files import file_bytes
from fuseloom.data.media import is_image_name
from fuseloom.data.records import json_object
from fuseloom.errors import DataError, did_you_mean

__all__ = ["JSON_ENDS", "Sentence", "read_sentences", "text_lines"]

JSON_ENDS = (".jsonl", ".ndjson")

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_IMAGE_LINE = "IMGID:"
_DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#\s*(\w+)\s*=\s*(.*)")
_TARGET = "$T$"
_WITH_TAB = "a word, a tab and a tag"
_COLUMNS = "columns that begin with a word and end with its tag"
_WORD = "a word"
_PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
"""Of the schemes BIO, BIOES, BILOU and BMES, as BIOES has them."""

Line = tuple[int, str]
"""Its number, and what it says."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Words of a file with their tags and the picture that belongs to them."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    """One per word in the scheme BIO or BIOES; none in a file without tags."""
    image: str | None
    """The id in the IMGID format, elsewhere a path."""
    place: str
    """``train.txt:17``"""
    name: str | None = None
    """What the file calls the sentence."""


def read_sentences(
    path: Path, types: Mapping[str, str] | None = None
) -> tuple[list[Sentence], list[SetAside]]:
    """Sentences of a file in the format that it is in, and what of it is none.

    Args:
        path: JSON lines by its ending; the IMGID format by its first line; else CoNLL.
        types: Type of entity as the file spells it -> as it is called; by default any type, as it is.

    Raises:
        DataError: a line that is not of the format, a tag that is not of the scheme, or a file of another
            task.
    """
    tag = _TagReader(types)
    if path.suffix.lower() in JSON_ENDS:
        return _json_sentences(path, tag)
    lines = text_lines(path)
    first = next((line for line in lines if line), "")
    _check_task(path, lines)
    blocks = list(_blocks(lines))
    if first.startswith(_IMAGE_LINE):
        return _imgid_sentences(path, blocks, tag)
    return _conll_sentences(path, blocks, tag)


def text_lines(path: Path) -> list[str]:
    """Lines of a file of text, of which the last is empty where the file ends with one.

    Raises:
        DataError: it is not text in UTF-8.
    """
    data = file_bytes(path)
    if data.startswith(_UTF_16):
        raise DataError(f"{path.name} must be text in UTF-8, got UTF-16. Save it again as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name} must be text in UTF-8, got byte {data[error.start]:#04x} in line {line}."
        ) from None
    return [line.removesuffix("\r") for line in text.split("\n")]


class _TagReader:
    """Tags in their normal form, each spelling checked once."""

    def __init__(self, types: Mapping[str, str] | None) -> None:
        self._types = types
        self._known = {"O": "O"}

    def __call__(self, tag: str, file: Path, line: int) -> str:
        if tag not in self._known:
            self._known[tag] = self._normal(tag, f"{file.name}:{line}")
        return self._known[tag]

    def _normal(self, tag: str, place: str) -> str:
        prefix, _, kind = tag.partition("-")
        if prefix in _PREFIXES and kind and (self._types is None or kind in self._types):
            return f"{_PREFIXES[prefix]}-{kind if self._types is None else self._types[kind]}"
        if self._types is None:
            raise DataError(
                f"{place}: a tag must be O, or B-, I-, E- or S- before a type of entity, got {tag!r}."
            )
        tags = ["O", *(f"{prefix}-{kind}" for kind in self._types for prefix in "BI")]
        raise DataError(f"{place}: a tag must be one of the scheme, got {tag!r}.{did_you_mean(tag, tags)}")


def _check_task(path: Path, lines: Sequence[str]) -> None:
    """Refuse the files of target-oriented sentiment, which lie in the same archive under the same names."""
    found = next(
        (n for n, line in enumerate(lines[:4], start=1) if _TARGET in line and "\t" not in line), None
    )
    if found is not None:
        raise DataError(
            f"{path.name} must hold a word and its tag in each line, got {_TARGET} in line {found}: that is "
            "target-oriented sentiment, four lines per sample, another task on the same tweets. Take the "
            "file of that name whose first line begins with IMGID."
        )


def _blocks(lines: Sequence[str]) -> Iterator[list[Line]]:
    block: list[Line] = []
    for number, line in enumerate(lines, start=1):
        if line:
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _imgid_sentences(
    path: Path, blocks: Sequence[list[Line]], tag: _TagReader
) -> tuple[list[Sentence], list[SetAside]]:
    sentences, aside = [], []
    form = _WITH_TAB if any("\t" in line for block in blocks for _, line in block) else _WORD
    for block in blocks:
        for (number, head), rows in _by_image(path, block):
            place, image = f"{path.name}:{number}", head.removeprefix(_IMAGE_LINE).strip(" ")
            if not image:
                raise DataError(f"{place} must name a picture behind {_IMAGE_LINE}, got nothing.")
            if not rows:
                aside.append(SetAside(where=place, reason=f"no word follows {head!r}"))
                continue
            cells = [(n, line.split("\t")) for n, line in rows]
            words, tags = _columns(path, cells, tag, form=form)
            sentences.append(Sentence(words=words, tags=tags, image=image, place=place, name=image))
    return sentences, aside


def _by_image(path: Path, block: list[Line]) -> Iterator[tuple[Line, list[Line]]]:
    """The line of each picture of a block, and the lines of its words."""
    starts = [at for at, (_, line) in enumerate(block) if _is_image_line(line)]
    if starts[:1] != [0]:
        number, line = block[0]
        raise DataError(
            f"{path.name}:{number} must begin a sentence with {_IMAGE_LINE}<id>, got {_shown(line)}. Only "
            "sentences have an empty line between them."
        )
    for start, end in zip(starts, [*starts[1:], len(block)], strict=True):
        yield block[start], block[start + 1 : end]


def _is_image_line(line: str) -> bool:
    return line.startswith(_IMAGE_LINE) and "\t" not in line


def _columns(
    path: Path, rows: Sequence[tuple[int, Sequence[str]]], tag: _TagReader, *, form: str
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Words, and their tags where the form has any, of numbered lines in columns."""
    wanted = 1 if form == _WORD else 2
    for number, cells in rows:
        if len(cells) != wanted or not cells[0]:
            advice = " Write a tab between them." if form == _WITH_TAB and " " in cells[0] else ""
            got = f"{len(cells)} columns" if len(cells) > wanted else _shown("\t".join(cells))
            raise DataError(f"{path.name}:{number} must be {form}, got {got}.{advice}")
    words = tuple(cells[0] for _, cells in rows)
    return words, tuple(tag(cells[1].strip(" "), path, n) for n, cells in rows) if wanted > 1 else None


def _conll_sentences(
    path: Path, blocks: Sequence[list[Line]], tag: _TagReader
) -> tuple[list[Sentence], list[SetAside]]:
    sentences, aside = [], []
    split = _splitter(blocks)
    parsed = [(block[0][0], *_parsed(block, split)) for block in blocks]
    form = _COLUMNS if any(len(row) > 1 for _, _, rows in parsed for _, row in rows) else _WORD
    for start, said, rows in parsed:
        place = f"{path.name}:{start}"
        if not rows:
            if "image" in said:
                aside.append(SetAside(where=place, reason="no word follows"))
            continue
        cells = [(n, [row[0], *row[1:][-1:]]) for n, row in rows]
        words, tags = _columns(path, cells, tag, form=form)
        image = said.get("image") or next((cell for cell in rows[0][1][1:-1] if is_image_name(cell)), None)
        name = said.get("id", said.get("sent_id"))
        sentences.append(Sentence(words=words, tags=tags, image=image, place=place, name=name))
    return sentences, aside


def _parsed(
    block: list[Line], split: Callable[[str], list[str]]
) -> tuple[dict[str, str], list[tuple[int, list[str]]]]:
    """What a block says of its sentence, and the columns of each word."""
    said, lines = _comments(block)
    rows = [(number, split(line)) for number, line in lines]
    return said, [(number, row) for number, row in rows if row[0] != _DOCUMENT]


def _splitter(blocks: Sequence[list[Line]]) -> Callable[[str], list[str]]:
    """How a line is cut into columns: at tabs where there are any, else at blanks."""
    if any("\t" in line for block in blocks for _, line in block):
        return lambda line: line.split("\t")
    return lambda line: [cell for cell in line.split(" ") if cell] or [""]


def _comments(block: list[Line]) -> tuple[dict[str, str], list[Line]]:
    """What ``# key = value`` at the head of a block says, and the other lines."""
    said: dict[str, str] = {}
    for at, (_, line) in enumerate(block):
        found = None if "\t" in line else _COMMENT.fullmatch(line)
        if found is None:
            return said, block[at:]
        said[found[1].lower()] = found[2].strip()
    return said, []


def _json_sentences(path: Path, tag: _TagReader) -> tuple[list[Sentence], list[SetAside]]:
    sentences, aside = [], []
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path.name}:{number}"
        try:
            entry = json_object(line.encode("utf-8", "surrogatepass"))
            words, tags = _strings(entry, "tokens"), _strings(entry, "tags")
        except DataError as error:
            aside.append(SetAside(where=place, reason=str(error)))
            continue
        if reason := _why_unusable(words, tags):
            aside.append(SetAside(where=place, reason=reason))
            continue
        assert words is not None
        normal = None if tags is None else tuple(tag(name, path, number) for name in tags)
        image, name = (None if entry.get(key) is None else str(entry[key]) for key in ("image", "id"))
        sentences.append(Sentence(words=words, tags=normal, image=image, place=place, name=name))
    return sentences, aside


def _strings(entry: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    found = entry.get(key)
    if found is not None and not (isinstance(found, list) and all(isinstance(one, str) for one in found)):
        raise DataError(f"{key!r} must be a list of strings")
    return None if found is None else tuple(found)


def _why_unusable(words: tuple[str, ...] | None, tags: tuple[str, ...] | None) -> str | None:
    if not words:
        return "no word in 'tokens'"
    if not all(words):
        return "an empty word in 'tokens'"
    if tags is not None and len(tags) != len(words):
        return f"{len(words)} tokens and {len(tags)} tags"
    return None


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
