"""Sentences of scenes-ner, and the reader who knows all its words."""

from collections import Counter
from itertools import chain, combinations

import numpy as np
import pytest

from fuseloom.data.scenes.kinds import FAMILIES
from fuseloom.data.scenes.ner_words import AMBIGUOUS, CLEAR, CUES, SECOND, TYPES, names_in, phrase, sentence

POINTING = "left of the red ball"
DRAWS = 300


def test_each_type_has_a_family_of_its_own() -> None:
    assert len(set(TYPES.values())) == len(TYPES) == 4
    assert set(TYPES.values()) < set(FAMILIES)
    assert set(TYPES) == set(CLEAR) == set(CUES)


def test_no_word_of_a_name_means_two_things() -> None:
    lists = [AMBIGUOUS, SECOND, *(words for parts in CLEAR.values() for words in parts)]
    for one, other in combinations(lists, 2):
        assert not set(one) & set(other)
    cues = set(chain.from_iterable(cue.split() for of_type in CUES.values() for cue in of_type))
    assert not cues & set(chain.from_iterable(lists))


@pytest.mark.parametrize("name_type", [*TYPES, None])
def test_the_reader_finds_every_name_and_what_the_words_say_of_it(name_type: str | None) -> None:
    generator = np.random.default_rng(3)
    for _ in range(DRAWS):
        other = list(TYPES)[generator.integers(4)]
        pointing = "" if name_type else POINTING
        phrases = [phrase(generator, name_type, pointing), phrase(generator, other)]
        words, places = sentence(generator, phrases[: generator.integers(1, 3)])
        found = names_in(words)
        assert [(name.start, name.stop) for name in found] == [(one.start, one.stop) for one in places]
        assert [name.type for name in found] == [name_type, other][: len(places)]
        pointed = (found[0].relation, found[0].colour, found[0].kind)
        assert pointed == ((None, None, None) if name_type else ("left of", "red", "ball"))


def test_names_that_could_be_of_any_type_are_the_same_with_and_without_a_cue() -> None:
    generator = np.random.default_rng(4)
    drawn: dict[str | None, Counter[str]] = {None: Counter(), "PER": Counter()}
    for told, counts in drawn.items():
        for _ in range(3000):
            words, place = phrase(generator, told)
            counts[words[place.start]] += words[place.start] in AMBIGUOUS
    clear = sum(drawn["PER"].values())
    assert abs(clear - 1500) < 4 * 750**0.5
    assert sum(drawn[None].values()) == 3000
    for word in AMBIGUOUS:
        assert drawn[None][word] == pytest.approx(3000 / len(AMBIGUOUS), abs=4 * 125**0.5)
        assert drawn["PER"][word] > 20


def test_words_hold_no_blank_and_a_sentence_is_never_empty() -> None:
    generator = np.random.default_rng(5)
    for _ in range(50):
        words, _ = sentence(generator, [phrase(generator, None, POINTING)])
        assert all(word and not word.isspace() and len(word.split()) == 1 for word in words)


@pytest.mark.parametrize(
    "words",
    ["", "left of the red ball", "the streets of", "there is nothing left"],
)
def test_no_name_is_found_where_none_is(words: str) -> None:
    assert names_in(words.split()) == []


@pytest.mark.parametrize("rest", ["", "left of the", "left of the pink ball", "left of the red box", "left"])
def test_words_that_point_at_nothing_known_point_at_nothing(rest: str) -> None:
    (name,) = names_in(f"look at Orlay {rest}".split())
    assert (name.type, name.relation, name.colour) == (None, None, None)
