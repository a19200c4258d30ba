import json

import numpy as np
import pytest

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing import PREPROCESSORS, CaptionPreprocessor
from fuseloom.errors import DataError


def texts(*values):
    held = np.empty(len(values), dtype=object)
    held[:] = values
    return Text(values=held)


def test_words_of_training_texts_are_numbered_and_others_unknown() -> None:
    modality = texts("a dog . a dog", "the dog barks", "cat", None, "  ")
    made = CaptionPreprocessor.fit(modality, np.arange(2))
    assert made.vocabulary[4:] == ("a", "dog")
    values, mask = made.apply(modality)
    assert values.dtype == np.int64
    assert values.shape == (5, 7)
    assert values[0].tolist() == [1, 4, 5, 3, 4, 5, 2]
    assert values[1].tolist() == [1, 3, 5, 3, 2, 0, 0]
    assert mask.sum(1).tolist() == [7, 5, 3, 0, 0]
    assert made.encoder_options() == {"num_words": 6}


def test_longer_texts_are_cut_to_the_longest_of_training() -> None:
    modality = texts("a a", "a a a a a a a")
    made = CaptionPreprocessor.fit(modality, np.arange(1))
    assert made.apply(modality)[0].tolist() == [[1, 4, 4, 2]] * 2
    shorter = CaptionPreprocessor.fit(modality, np.arange(2), max_length=5)
    assert shorter.apply(modality)[0].tolist() == [[1, 4, 4, 2, 0], [1, 4, 4, 4, 2]]


def test_it_is_restored_from_json() -> None:
    modality = texts("a b a b")
    made = CaptionPreprocessor.fit(modality, np.arange(1))
    again = PREPROCESSORS["captions"].from_state(json.loads(json.dumps(made.state())))
    assert again == made
    assert np.array_equal(again.apply(modality)[0], made.apply(modality)[0])


def test_texts_without_a_word_that_recurs_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 times"):
        CaptionPreprocessor.fit(texts("a b c"), np.arange(1))
