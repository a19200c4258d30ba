"""Texts in which objects are mentioned by number, as plain text with the spans of the mentions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fuseloom.alignment.spans import Span
from fuseloom.errors import DataError, OptionError

__all__ = ["TagStyle", "Tagged", "render_tags"]

TagStyle = Literal["label", "name", "token"]
_PERSON = "person"
_NAMES = (
    *("Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry"),
    *("Jody", "Kendall", "Peyton", "Skyler", "Frankie", "Pat", "Quinn"),
)


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """A text and what stretches of it mean."""

    text: str
    """Words with one space between them."""
    spans: tuple[Span, ...]
    """Where which object is mentioned."""


def render_tags(
    tokens: Sequence[str | Sequence[int]], labels: Sequence[str], *, style: TagStyle = "token"
) -> Tagged:
    """Text of a token list in which a list of numbers mentions objects, as in PMR and VCR.

    Several objects of one tag become ``x and y``, each with a span of its own.

    Args:
        tokens: Words, and lists of numbers of objects from 0.
        labels: Class names of the objects.
        style: How an object reads: a ``token`` of its own, ``<|det0|>``, which the tokenizer must know; its
            ``label`` with its number among those of its class (``person 2``); or its ``name``: persons get a
            gender-neutral first name by their number (after VCR's list of 15), others their label.

    Raises:
        DataError: a tag of no object, or of one that is not there.
        OptionError: an unknown style.

    Example:
        >>> tagged = render_tags([[1], "hugs", "a", [0]], ["dog", "person"], style="label")
        >>> tagged.text, [tagged.text[span.start : span.stop] for span in tagged.spans]
        ('person 1 hugs a dog 1', ['person 1', 'dog 1'])
    """
    if style not in _STYLES:
        raise OptionError(f"style must be one of {sorted(_STYLES)}, got {style!r}.")
    text, spans = "", []
    for token in tokens:
        for place, part in enumerate(_parts(token, labels)):
            text += " and " if place else " " if text else ""
            word = part if isinstance(part, str) else _STYLES[style](part, labels)
            if isinstance(part, int):
                spans.append(Span(len(text), len(text) + len(word), part))
            text += word
    return Tagged(text=text, spans=tuple(spans))


def _parts(token: str | Sequence[int], labels: Sequence[str]) -> Sequence[str | int]:
    if isinstance(token, str):
        return [token]
    wrong = [index for index in token if not 0 <= index < len(labels)]
    if wrong or not token:
        raise DataError(f"A tag must name some of {len(labels)} objects from 0, got {list(token)}.")
    return list(token)


def _numbered(index: int, labels: Sequence[str]) -> str:
    return f"{labels[index]} {list(labels[: index + 1]).count(labels[index])}"


def _named(index: int, labels: Sequence[str]) -> str:
    return _NAMES[index % len(_NAMES)] if labels[index] == _PERSON else labels[index]


_STYLES: Mapping[TagStyle, Callable[[int, Sequence[str]], str]] = {
    "label": _numbered,
    "name": _named,
    "token": lambda index, labels: f"<|det{index}|>",
}
