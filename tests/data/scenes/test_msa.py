"""The stated ceilings of scenes-msa, and that only the thing with a mood tells the picture's sentiment."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fuseloom.data.scenes import COLOURS, FAMILIES, SPLITS, is_held_out, render
from fuseloom.data.scenes.msa import (
    MOODS,
    SENTIMENTS,
    MsaExample,
    MsaScenes,
    combined,
    msa_ceilings,
    msa_example,
    said_in,
    shown_in,
    write_msa_scenes,
)
from fuseloom.errors import OptionError

SMALL = MsaScenes(pixels=16)
INDEPENDENT = MsaScenes(contradict=2 / 9, pixels=20)
"""All nine pairs are equally frequent."""
DEVIATIONS = 3.5
IN_MVSA = {
    ("positive", "positive"): "positive",
    ("positive", "neutral"): "positive",
    ("neutral", "positive"): "positive",
    ("neutral", "neutral"): "neutral",
    ("negative", "negative"): "negative",
    ("negative", "neutral"): "negative",
    ("neutral", "negative"): "negative",
}


@cache
def examples(settings: MsaScenes, count: int, split: str = "train") -> tuple[MsaExample, ...]:
    return tuple(msa_example(settings, 17, index, split) for index in range(count))


def test_labels_are_combined_as_the_field_does() -> None:
    for text in SENTIMENTS:
        for image in SENTIMENTS:
            assert combined(text, image) == IN_MVSA.get((text, image))


def test_words_and_pictures_say_what_they_are_labelled_with() -> None:
    for example in examples(SMALL, 120):
        assert said_in(example.words) == example.text_sentiment
        assert shown_in(example.rendering) in (example.image_sentiment, None)
    assert sum("never" in example.words for example in examples(SMALL, 120)) > 5


def test_pairs_are_as_frequent_as_stated() -> None:
    pairs = Counter((one.text_sentiment, one.image_sentiment) for one in examples(SMALL, 250))
    against = sum(count for pair, count in pairs.items() if combined(*pair) is None)
    assert abs(against - 25) < DEVIATIONS * 22**0.5
    for pair in IN_MVSA:
        assert abs(pairs[pair] - 225 / 7) < DEVIATIONS * 28**0.5


@pytest.mark.parametrize("held_out", [False, True])
def test_no_colour_and_no_family_tells_a_mood(held_out: bool) -> None:
    looks = [
        (mood, family, colour)
        for family, kinds in MOODS.items()
        for kind, mood in kinds.items()
        for colour in COLOURS
        if is_held_out(kind, colour) == held_out
    ]
    for place in (1, 2):
        table = Counter((look[0], look[place]) for look in looks)
        assert len(set(table.values())) == 1
        assert len(table) == 3 * len({look[place] for look in looks})
    assert all(set(kinds) == set(FAMILIES[family]) for family, kinds in MOODS.items())


@pytest.mark.parametrize("split", SPLITS)
def test_one_thing_has_a_mood_and_test_has_combinations_of_its_own(split: str) -> None:
    for example in examples(SMALL, 25, split):
        things = example.rendering.scene.things
        assert sum(thing.kind in kinds for thing in things for kinds in MOODS.values()) == 1
        assert {is_held_out(thing.kind, thing.colour) for thing in things} == {split == "test"}


def test_shortcuts_tell_the_mood_no_better_than_chance() -> None:
    drawn = examples(INDEPENDENT, 300)
    moods = np.array([one.image_sentiment for one in drawn])
    pixels = np.stack([one.rendering.rgb / 255 for one in drawn])
    outstanding = np.abs(pixels - np.median(pixels, axis=(1, 2), keepdims=True)).sum(-1)
    places = np.arange(20)
    facts = {
        "mean colour": pixels.mean((1, 2)),
        "contrast": pixels.std((1, 2)),
        "position": np.stack([outstanding.sum(axis) @ places for axis in (1, 2)], axis=1)
        / outstanding.sum((1, 2))[:, None],
        "object count": np.array([[len(one.rendering.scene.things)] for one in drawn]),
        "length": np.array([[len(one.words)] for one in drawn]),
        "text": np.array([[one.text_sentiment == own for own in SENTIMENTS] for one in drawn]),
        "file order": np.array([[int(one.id)] for one in drawn]),
    }
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    found = {name: float(cross_val_score(model, fact, moods, cv=3).mean()) for name, fact in facts.items()}
    bound = 1 / 3 + DEVIATIONS * (2 / 9 / 300) ** 0.5
    assert {name: share for name, share in found.items() if share > bound} == {}


def test_the_length_of_a_text_says_nothing_of_its_sentiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuseloom.data.scenes.msa._picture", lambda *drawn: None)  # texts alone, so many
    drawn = [msa_example(INDEPENDENT, 17, index) for index in range(4000)]
    for measure in (len, lambda words: sum(map(len, words))):
        lengths = {
            own: np.array([measure(one.words) for one in drawn if one.text_sentiment == own], dtype=float)
            for own in SENTIMENTS
        }
        for one, other in combinations(lengths.values(), 2):
            error = np.sqrt(one.var() / len(one) + other.var() / len(other))
            assert abs(one.mean() - other.mean()) < DEVIATIONS * error


def test_ceilings_are_those_of_counted_pairs() -> None:
    """A positive or negative text tells two in seven pairs each, a neutral one a third of the other three."""
    found = msa_ceilings(examples(SMALL, 250))
    kept = [one for one in examples(SMALL, 250) if one.sentiment]
    neutral = sum(one.text_sentiment == "neutral" for one in kept) / len(kept)
    assert found.text == pytest.approx(1 - neutral * 2 / 3)
    assert found.text == pytest.approx(5 / 7, abs=0.1)
    assert found.image == pytest.approx(5 / 7, abs=0.1)
    assert found.both > 0.98


def test_a_hidden_thing_leaves_the_text() -> None:
    by_text = {one.text_sentiment: one for one in examples(SMALL, 60) if one.sentiment}
    for text, share in {"positive": 1.0, "negative": 1.0, "neutral": 1 / 3}.items():
        scene = by_text[text].rendering.scene
        without = tuple(t for t in scene.things if not any(t.kind in kinds for kinds in MOODS.values()))
        hidden = replace(by_text[text], rendering=render(replace(scene, things=without), 16, 16))
        assert msa_ceilings([hidden]).both == pytest.approx(share)
        assert msa_ceilings([hidden]).image == pytest.approx(3 / 7)


def test_it_is_written_as_mvsa_single_is(tmp_path: Path) -> None:
    stated = write_msa_scenes(tmp_path, SMALL, examples={"train": 12, "test": 4}, seed=3)
    drawn = {
        split: [msa_example(SMALL, 3, i, split) for i in range(n)]
        for split, n in (("train", 12), ("test", 4))
    }
    every = [*drawn["train"], *drawn["test"]]
    header, *rows = (tmp_path / "labelResultAll.txt").read_text("utf-8").splitlines()
    assert header == "ID\ttext,image"
    assert rows == [f"{one.id}\t{one.text_sentiment},{one.image_sentiment}" for one in every]
    for one in every:
        assert (tmp_path / "data" / f"{one.id}.txt").read_text("utf-8").split() == list(one.words)
        with Image.open(tmp_path / "data" / f"{one.id}.jpg") as picture:
            assert np.abs(np.asarray(picture).astype(int) - one.rendering.rgb).mean() < 4
    for split, file in {"train": "train.json", "test": "test.json"}.items():
        listed = json.loads((tmp_path / "10-flod-1" / file).read_text("utf-8"))
        kept = [one for one in drawn[split] if one.sentiment]
        assert [(row["id"], SENTIMENTS[row["emotion_label"]]) for row in listed] == [
            (one.id, one.sentiment) for one in kept
        ]
        assert stated[split] == msa_ceilings(drawn[split])
    assert len({one.id for one in every}) == 16
    facts = json.loads((tmp_path / "scenes-msa.json").read_text("utf-8"))
    assert facts["ceilings"]["test"]["text"] == stated["test"].text


def test_an_example_is_a_function_of_its_arguments() -> None:
    one, same, other = (msa_example(SMALL, seed, 4, "valid") for seed in (1, 1, 2))
    assert (one.words, one.rendering.scene) == (same.words, same.rendering.scene)
    assert one.rendering.scene != other.rendering.scene


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contradict": -0.1}, r"contradict must be in \[0, 1\], got -0\.1\."),
        ({"pixels": 4}, r"pixels must be at least 16, got 4\."),
    ],
    ids=str,
)
def test_settings_out_of_their_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MsaScenes(**options)  # type: ignore[arg-type]


def test_the_set_is_the_one_that_was_committed() -> None:
    """Results are of this set: who changes its world, words or settings says so, and runs them again."""
    drawn = examples(MsaScenes(), 12, "test")
    facts = [(" ".join(one.words), one.text_sentiment, one.image_sentiment) for one in drawn]
    said = "".join(f"{'|'.join(fact)}\n" for fact in facts)
    assert sha256(said.encode()).hexdigest()[:16] == "3abb74a680795834"
    brightness = [one.rendering.rgb.mean() for one in drawn]
    shown = [(one.rendering.instance > 0).sum() for one in drawn]
    stated = [179.8, 150.4, 136.4, 150.4, 146.9, 136.2, 130.7, 172.1, 165.7, 150.2, 124.9, 149.7]
    np.testing.assert_allclose(brightness, stated, atol=0.3)
    np.testing.assert_allclose(shown, [255, 616, 310, 604, 756, 300, 624, 418, 197, 357, 449, 655], atol=3)
