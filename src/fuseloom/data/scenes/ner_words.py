"""The words of the set ``scenes-ner``: names of one type, names of any type, and what stands around them.

All are made up. No name's first word is in two lists, so that a name is found by its words alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fuseloom.data.scenes.draw import one_of
from fuseloom.data.scenes.kinds import KINDS
from fuseloom.data.scenes.words import RELATIONS
from fuseloom.data.scenes.world import COLOURS

__all__ = [
    "AMBIGUOUS",
    "CLEAR",
    "CLOSERS",
    "CUES",
    "OPENERS",
    "SECOND",
    "TYPES",
    "Name",
    "names_in",
    "phrase",
    "sentence",
]

Generator = np.random.Generator
Words = tuple[str, ...]

TYPES: Mapping[str, str] = {"PER": "person", "LOC": "building", "ORG": "emblem", "MISC": "vehicle"}
"""Type of a name -> the family of things that bear such names."""

AMBIGUOUS = (
    "Arvenna", "Belmar", "Corvane", "Dellin", "Estover", "Farnell", "Galden", "Harlen", "Ivara", "Jorvan",
    "Keswin", "Lorane", "Marlo", "Nerith", "Orlay", "Pellam", "Quillan", "Rosmere", "Selvin", "Tarnel",
    "Ulmer", "Vespera", "Wexley", "Yarrow",
)  # fmt: skip
"""Names of any type."""

SECOND = ("Vale", "Star", "Cross", "Knight")
"""What one in three of them is followed by, whatever it names."""

CLEAR: Mapping[str, tuple[Words, Words]] = {
    "PER": (("Tobin", "Mirel", "Anselka", "Brunna", "Edrik"), ("Oakes", "Hallow", "Penrick", "Sund")),
    "LOC": (("Lake", "Port", "Mount", "Upper"), ("Tamsin", "Elvery", "Osk", "Brandel", "Corrow")),
    "ORG": (("Ombra", "Zentor", "Fildex", "Kravo", "Nuvia"), ("Labs", "United", "Bank", "Radio")),
    "MISC": (("Turbo", "Silver", "Grand", "Sport"), ("Pelikan", "Moskito", "Vireo", "Bolide", "Zefir")),
}
"""Type -> first and second words of names that are of this type only."""

CUES: Mapping[str, Sequence[str]] = {
    "PER": ("happy birthday", "my cousin", "the singer"),
    "LOC": ("we landed in", "the streets of", "sunset over"),
    "ORG": ("shares of", "new job at", "the managers of"),
    "MISC": ("test drive of the", "spare wheels for the", "the engine of my"),
}
"""Type -> what stands before a name that could be of any type and says which."""

_NEUTRAL = ("look at", "there is", "so this is", "finally", "meet", "here we see")
OPENERS = ("", "good morning !", "wow ,", "RT :", "# photo", "guess what :", "no comment .", "just now :")
CLOSERS = ("", "!", "lol", "# weekend", ". what a day", "...", "😀", ". more soon")
_JOINTS = ("and", ",", ". also", "; then")
_SECOND_SHARE = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Name:
    """A name in a sentence."""

    start: int
    """Place of its first word; so for the next one."""
    stop: int
    """Behind its last word."""
    type: str | None
    """What the words say it is; none if they do not."""
    relation: str | None = None
    """How the thing that bears it stands to another, where the words say so; so for the next two."""
    colour: str | None = None
    kind: str | None = None


def phrase(generator: Generator, name_type: str | None, pointing: str = "") -> tuple[Words, slice]:
    """Words around a name and where it is: a name of one type, or of any with a cue, or without.

    Args:
        generator: Of the words.
        name_type: Its type; none for a name that nothing in the words tells the type of.
        pointing: Words that say where the thing is.
    """
    if name_type is not None and generator.random() < 0.5:
        before, name = one_of(generator, _NEUTRAL), [one_of(generator, part) for part in CLEAR[name_type]]
    else:
        before = one_of(generator, _NEUTRAL if name_type is None else CUES[name_type])
        name = [one_of(generator, AMBIGUOUS)]
        if generator.random() < _SECOND_SHARE:
            name.append(one_of(generator, SECOND))
    start = len(before.split())
    return (*before.split(), *name, *pointing.split()), slice(start, start + len(name))


def sentence(generator: Generator, phrases: Sequence[tuple[Words, slice]]) -> tuple[Words, list[slice]]:
    """Phrases in that order, joined, with something before and behind, and where their names are."""
    words = list(one_of(generator, OPENERS).split())
    names = []
    for number, (own, name) in enumerate(phrases):
        if number:
            words += one_of(generator, _JOINTS).split()
        names.append(slice(len(words) + name.start, len(words) + name.stop))
        words += own
    return (*words, *one_of(generator, CLOSERS).split()), names


def names_in(words: Sequence[str]) -> list[Name]:
    """All names in a sentence, and what its words say of each: what the best reader of the text knows.

    Example:
        >>> [name.type for name in names_in("look at Tobin Oakes and the streets of Marlo".split())]
        ['PER', 'LOC']
        >>> names_in("there is Orlay Star left of the red ball".split())
        [Name(start=2, stop=4, type=None, relation='left of', colour='red', kind='ball')]
    """
    found = []
    for start, word in enumerate(words):
        clear = [own for own, (firsts, _) in CLEAR.items() if word in firsts]
        if clear:
            found.append(Name(start=start, stop=start + 2, type=clear[0]))
        elif word in AMBIGUOUS:
            stop = start + 1 + (tuple(words[start + 1 : start + 2]) in {(second,) for second in SECOND})
            told = [own for own, cues in CUES.items() if _ends_in(words[:start], cues)]
            pointed = _pointing(words[stop:])
            found.append(Name(start=start, stop=stop, type=told[0] if told else None, **pointed))
    return found


def _ends_in(words: Sequence[str], cues: Sequence[str]) -> bool:
    return any(tuple(words[-len(cue.split()) :]) == tuple(cue.split()) for cue in cues)


def _pointing(words: Sequence[str]) -> dict[str, str]:
    """The relation and the thing that a sentence goes on with, if it does: "left of the red ball"."""
    for relation in RELATIONS:
        size = len(relation.split())
        match list(words[size : size + 3]):
            case ["the", colour, kind] if " ".join(words[:size]) == relation:
                if colour in COLOURS and kind in KINDS:
                    return {"relation": relation, "colour": colour, "kind": kind}
    return {}
