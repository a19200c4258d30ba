import json
from collections.abc import Sequence

import numpy as np
import pytest

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing import PREPROCESSORS, WordPreprocessor


def texts(*values: str | None) -> Text:
    return Text(values=np.array(values, dtype=object))


def fitted(values: Sequence[str | None], **options: int) -> WordPreprocessor:
    return WordPreprocessor.fit(texts(*values), np.arange(len(values)), **options)


def spelt(letters: np.ndarray) -> bytes:
    return bytes(letters[letters > 0].tolist())


def test_words_seen_twice_are_known_by_their_lower_case_with_digits_alike() -> None:
    words = fitted(["Route 66 and", "route 99 in", None])
    assert words.vocabulary == ("00", "route")
    values, mask = words.apply(texts("ROUTE 42 again", " ", None))
    assert values[0, :, 0].tolist() == [2, 1, 0]
    assert mask.tolist() == [[True] * 3, [False] * 3, [False] * 3]
    assert not values[1:].any()


def test_letters_are_bytes_between_two_marks_and_a_long_word_keeps_both_ends() -> None:
    words = fitted(["Zoë 0123456789abcdefghijKLMNOPQRST \u200b"])
    values, _ = words.apply(texts("Zoë 0123456789abcdefghijKLMNOPQRST \u200b"))
    zoe, long, invisible = values[0, :, 1:]
    assert spelt(zoe) == b"\x02Zo\xc3\xab\x03"
    assert spelt(long) == b"\x020123456789KLMNOPQRST\x03"
    assert len(spelt(long)) == words.letters
    assert spelt(invisible) == b"\x02\xe2\x80\x8b\x03"


def test_only_training_rows_are_learnt_from_and_cuts_are_counted() -> None:
    modality = texts("a a b", "c c c c", None)
    words = WordPreprocessor.fit(modality, np.array([0, 2]))
    assert (words.vocabulary, words.length) == (("a",), 3)
    assert words.notes == ("1 of 3 texts are cut after 3 words in training",)
    values, mask = words.apply(modality)
    assert values.shape == (3, 3, 1 + words.letters)
    assert mask.sum(1).tolist() == [3, 3, 0]


def test_settings_and_a_state_that_survives_json() -> None:
    words = fitted(["a b c d"], min_count=1, max_words=2)
    assert (words.vocabulary, words.length) == (("a", "b", "c", "d"), 2)
    again = PREPROCESSORS["words"].from_state(json.loads(json.dumps(words.state())))
    assert again == words
    assert again.encoder_options() == {"num_words": 4}


@pytest.mark.parametrize("values", [[], [None, ""]])
def test_without_any_word_there_is_one_place_that_is_masked(values: list[str | None]) -> None:
    words = fitted(values)
    made, mask = words.apply(texts(None))
    assert made.shape == (1, 1, 1 + words.letters)
    assert not mask.any()


def test_a_text_of_more_words_than_are_read_at_once_is_divided() -> None:
    words = fitted(["a b c d"])
    found = words.windows(texts("a b c d", "a b c d e f", None, " ", "a  b c"))
    assert {row: (one.num_words, one.parts) for row, one in found.items()} == {1: (6, ((0, 4), (2, 6)))}
