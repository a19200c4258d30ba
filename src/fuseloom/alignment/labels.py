"""Where a text mentions the classes of objects, by their names."""

import re
from collections.abc import Sequence
from typing import Literal

from fuseloom.alignment.spans import Span
from fuseloom.errors import OptionError

__all__ = ["Ambiguous", "find_labels"]

Ambiguous = Literal["all", "first", "none"]
_POLICIES = ("all", "first", "none")
_WORD = re.compile(r"[^\W\d_]+")
_MOST_WORDS = 3
_IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "men": "man",
    "mice": "mouse",
    "people": "person",
    "teeth": "tooth",
    "women": "woman",
}
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))


def find_labels(text: str, labels: Sequence[str], *, ambiguous: Ambiguous = "all") -> list[Span]:
    """Spans of a text that name the class of an object, in the singular or plural.

    Case, spaces and hyphens do not count, so ``Potted plants`` names a ``pottedplant``. The longest name that
    begins at a word wins.

    Args:
        text: Plain text.
        labels: Class names of the objects, in English.
        ambiguous: What a name means that several objects share: ``all`` of them, the ``first``, or ``none``.

    Raises:
        OptionError: another policy.

    Example:
        >>> find_labels("Two dogs near a teddy bear.", ["dog", "teddybear", "dog"])
        [Span(start=4, stop=8, target=0), Span(start=4, stop=8, target=2), Span(start=16, stop=26, target=1)]
    """
    if ambiguous not in _POLICIES:
        raise OptionError(f"ambiguous must be one of {list(_POLICIES)}, got {ambiguous!r}.")
    meant: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        meant.setdefault("".join(_WORD.findall(label.lower())), []).append(index)
    words = list(_WORD.finditer(text))
    spans, at = [], 0
    while at < len(words):
        count, indices = _longest(words[at : at + _MOST_WORDS], meant)
        if indices:
            chosen = indices[:1] if ambiguous == "first" else indices
            kept = [] if ambiguous == "none" and len(indices) > 1 else chosen
            start, stop = words[at].start(), words[at + count - 1].end()
            spans += [Span(start, stop, index) for index in kept]
        at += count
    return spans


def _longest(words: Sequence[re.Match[str]], meant: dict[str, list[int]]) -> tuple[int, list[int]]:
    """How many of the words are a name, and what it means; one word and nothing where none is."""
    for count in range(len(words), 0, -1):
        *before, last = (word.group().lower() for word in words[:count])
        for form in _forms(last):
            if (name := "".join([*before, form])) in meant:
                return count, meant[name]
    return 1, []


def _forms(word: str) -> list[str]:
    """The word and what it may be the plural of."""
    found = [word, _IRREGULAR.get(word, word)]
    found += [word.removesuffix(ending) + to for ending, to in _ENDINGS if word.endswith(ending)]
    return found
