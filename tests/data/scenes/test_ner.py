"""The stated ceilings of scenes-ner, and that nothing but what the names point at tells their type."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fuseloom.data.scenes import (
    COLOURS,
    KINDS,
    SPLITS,
    Camera,
    Light,
    Scene,
    Thing,
    family_of,
    holds,
    is_held_out,
    render,
)
from fuseloom.data.scenes.ner import (
    NerExample,
    NerScenes,
    best_f1,
    ceilings,
    expected_ceilings,
    ner_example,
    write_ner_scenes,
)
from fuseloom.data.scenes.ner_words import AMBIGUOUS, TYPES, Name, names_in
from fuseloom.data.scenes.words import OPPOSITES
from fuseloom.errors import OptionError

OPEN = NerScenes(ambiguous=1.0, pixels=20)
DEVIATIONS = 3.5


@cache
def examples(settings: NerScenes, count: int, split: str = "train") -> tuple[NerExample, ...]:
    return tuple(ner_example(settings, 21, index, split) for index in range(count))


def open_name(example: NerExample) -> Name:
    """The name whose type the words leave open."""
    (name,) = [name for name in names_in(example.words) if name.type is None]
    return name


def type_of(example: NerExample) -> str:
    return example.tags[open_name(example).start].removeprefix("B-")


def bearers(scene: Scene) -> dict[int, str]:
    """Number of each thing that could bear a name -> the type it would have."""
    types = {family: name for name, family in TYPES.items()}
    families = [family_of(thing.kind) for thing in scene.things]
    return {number: types[family] for number, family in enumerate(families) if family in types}


def fixed_thing(example: NerExample) -> int:
    name = open_name(example)
    things = enumerate(example.rendering.scene.things)
    (number,) = [n for n, thing in things if (thing.colour, thing.kind) == (name.colour, name.kind)]
    return number


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("relation", ["left of", "right of", "behind", "in front of"])
def test_the_thing_that_the_relation_points_at_has_the_type_of_the_name(relation: str, split: str) -> None:
    settings = NerScenes(ambiguous=1.0, rivals=0.7, relations=(relation,), pixels=16)
    rivals = 0
    for example in examples(settings, 12, split):
        scene, fixed, name = example.rendering.scene, fixed_thing(example), open_name(example)
        assert name.relation == relation
        pointed = [number for number in bearers(scene) if holds(scene, number, relation, fixed)]
        assert [bearers(scene)[number] for number in pointed] == [type_of(example)]
        others = set(bearers(scene)) - set(pointed)
        assert all(holds(scene, other, OPPOSITES[relation], fixed) for other in others)
        assert all(bearers(scene)[other] != type_of(example) for other in others)
        rivals += len(others)
    assert 3 <= rivals <= 12


@pytest.mark.parametrize("split", SPLITS)
def test_things_of_test_are_in_combinations_that_no_other_split_has(split: str) -> None:
    things = [thing for example in examples(OPEN, 15, split) for thing in example.rendering.scene.things]
    assert {is_held_out(thing.kind, thing.colour) for thing in things} == {split == "test"}


def test_tags_are_the_types_that_words_say_where_they_do() -> None:
    seen: Counter[str] = Counter()
    for example in examples(NerScenes(pixels=16), 100):
        spans = [(name.start, name.stop) for name in names_in(example.words)]
        inside = {place for start, stop in spans for place in range(start, stop)}
        assert all((tag == "O") == (place not in inside) for place, tag in enumerate(example.tags))
        for name in names_in(example.words):
            first, *rest = example.tags[name.start : name.stop]
            assert first.startswith("B-")
            assert set(rest) <= {first.replace("B-", "I-")}
            assert name.type in (None, first.removeprefix("B-"))
            seen["open" if name.type is None else "told"] += 1
    share = NerScenes().ambiguous_share
    assert share == pytest.approx(0.4)
    assert seen["open"] / seen.total() == pytest.approx(share, abs=DEVIATIONS * 0.5 / seen.total() ** 0.5)


def chi_square(pairs: list[tuple[object, str]]) -> float:
    """How many deviations the table's chi-square lies over what independence would give."""
    table = Counter(pairs)
    rows, columns = (Counter(pair[place] for pair in pairs) for place in (0, 1))
    total = sum(
        (table[row, column] - rows[row] * columns[column] / len(pairs)) ** 2
        / (rows[row] * columns[column] / len(pairs))
        for row, column in itertools.product(rows, columns)
    )
    freedom = (len(rows) - 1) * (len(columns) - 1)
    return float((total - freedom) / (2 * freedom) ** 0.5)


def test_no_word_of_a_sentence_depends_on_a_type_that_it_leaves_open() -> None:
    drawn = examples(OPEN, 300)
    facts = {
        "name": lambda example: example.words[open_name(example).start],
        "second word": lambda example: open_name(example).stop - open_name(example).start,
        "relation": lambda example: open_name(example).relation,
        "colour": lambda example: open_name(example).colour,
        "kind": lambda example: open_name(example).kind,
        "place": lambda example: open_name(example).start,
        "first word": lambda example: example.words[0],
        "last word": lambda example: example.words[-1],
        "other names": lambda example: tuple(name.type for name in names_in(example.words) if name.type),
        "things": lambda example: len(example.rendering.scene.things),
    }
    for fact, of in facts.items():
        assert chi_square([(of(example), type_of(example)) for example in drawn]) < 4, fact
    assert chi_square([(type_of(example), type_of(example)) for example in drawn]) > 100
    counts = Counter(type_of(example) for example in drawn)
    assert all(abs(count - 75) < DEVIATIONS * 56**0.5 for count in counts.values())


def shortcuts(example: NerExample) -> dict[str, NDArray[np.float64]]:
    """What a lazy model could look at."""
    pixels = example.rendering.rgb / 255
    height, width, _ = pixels.shape
    standing_out = np.abs(pixels - np.median(pixels, axis=(0, 1))).sum(-1)
    rows, columns = np.mgrid[:height, :width]
    name = open_name(example)
    words = [*COLOURS, *KINDS]
    return {
        "mean colour": pixels.mean((0, 1)),
        "contrast": pixels.std((0, 1)),
        "colours": np.histogramdd(pixels.reshape(-1, 3), bins=(2, 2, 2), range=[(0, 1)] * 3)[0].ravel(),
        "image size": np.array([height, width]),
        "length": np.array([len(example.words), sum(map(len, example.words))]),
        "object count": np.array([len(example.rendering.scene.things)]),
        "position": np.array([(standing_out * rows).sum(), (standing_out * columns).sum()])
        / standing_out.sum(),
        "place of the name": np.array([name.start, name.stop]),
        "fixed thing": np.array([word in (name.colour, name.kind) for word in words]),
        "file order": np.array([int(example.id.split("_")[1])]),
    }


def audited(settings: NerScenes, count: int) -> dict[str, float]:
    """Shortcut -> accuracy of a linear classifier on it, in five folds."""
    drawn = examples(settings, count)
    types = np.array([type_of(example) for example in drawn])
    table = [shortcuts(example) for example in drawn]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return {
        name: float(cross_val_score(model, np.array([row[name] for row in table]), types, cv=5).mean())
        for name in table[0]
    }


def test_shortcuts_tell_the_type_no_better_than_chance() -> None:
    chance = 1 / len(TYPES)
    bound = chance + DEVIATIONS * (chance * (1 - chance) / 300) ** 0.5
    found = audited(OPEN, 300)
    assert len(found) == 10
    assert {name: share for name, share in found.items() if share > bound} == {}


@pytest.mark.slow
def test_shortcuts_tell_the_type_no_better_than_chance_in_more_and_larger_pictures() -> None:
    bound = 0.25 + DEVIATIONS * (0.25 * 0.75 / 1200) ** 0.5
    found = audited(NerScenes(ambiguous=1.0, pixels=32), 1200)
    assert {name: share for name, share in found.items() if share > bound} == {}


def test_the_audit_finds_a_shortcut_where_there_is_one() -> None:
    drawn = examples(OPEN, 300)
    types = np.array([type_of(example) for example in drawn])
    told = np.array([[type_of(example) == "PER"] for example in drawn], dtype=float)
    assert cross_val_score(LogisticRegression(), told, types, cv=5).mean() > 0.4


@pytest.mark.parametrize("seed", range(5))
def test_the_best_f1_is_that_of_the_best_subset(seed: int) -> None:
    chances = np.random.default_rng(seed).uniform(size=7)
    subsets = itertools.chain.from_iterable(itertools.combinations(chances, size) for size in range(8))
    best = max(2 * sum(subset) / (len(subset) + 7) for subset in subsets)
    assert best_f1(chances.tolist()) == pytest.approx(best)
    assert best_f1([]) == 0


@pytest.mark.parametrize("ambiguous", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("more", [0.0, 0.5])
def test_the_expected_ceiling_is_that_of_very_many_names(ambiguous: float, more: float) -> None:
    settings = NerScenes(ambiguous=ambiguous, more=more)
    open_names = round(12_000 * settings.ambiguous_share)
    chances = [0.25] * open_names + [1.0] * (12_000 - open_names)
    assert expected_ceilings(settings).text == pytest.approx(best_f1(chances), abs=1e-4)


def test_text_alone_is_twenty_points_below_both() -> None:
    assert expected_ceilings(NerScenes()).both - expected_ceilings(NerScenes()).text > 0.2
    found = ceilings(examples(NerScenes(pixels=16), 100))
    assert found.both > 0.98
    assert found.text == pytest.approx(expected_ceilings(NerScenes()).text, abs=0.08)


def test_readers_score_what_is_stated() -> None:
    """Play both out: the one that leaves open names out, and the one that guesses them."""
    golds = [
        (name.type or type_of(example), name.type)
        for example in examples(NerScenes(pixels=16), 100)
        for name in names_in(example.words)
    ]
    told = sum(known is not None for _, known in golds)
    silent = 2 * told / (told + len(golds))
    assert silent == pytest.approx(ceilings(examples(NerScenes(pixels=16), 100)).text)
    guesses = np.random.default_rng(0).choice(list(TYPES), size=(400, len(golds)))
    right = [
        sum(gold == (known or guess) for (gold, known), guess in zip(golds, row, strict=True))
        for row in guesses
    ]
    assert np.mean(right) / len(golds) == pytest.approx(1 - 0.75 * (1 - told / len(golds)), abs=0.02)
    assert np.mean(right) / len(golds) < silent


def hidden_example(*others: Thing) -> NerExample:
    """A house behind a truck, left of a ball."""
    house = Thing(kind="house", colour="red", size="small", place=(4.0, 1.0))
    wall = Thing(kind="crate", colour="blue", size="large", place=(-3.0, 0.35))
    ball = Thing(kind="ball", colour="green", place=(0.0, -1.6))
    scene = Scene(
        things=(house, wall, ball, *others),
        camera=Camera(position=(-5.0, 0.0, 0.5), target=(0.0, 0.0, 0.5), field_of_view=60),
        light=Light(azimuth=0, elevation=60),
    )
    words = ("look", "at", "Orlay", "left", "of", "the", "green", "ball")
    return NerExample(
        id="train_0", words=words, tags=("O", "O", "B-LOC", *["O"] * 5), rendering=render(scene)
    )


def test_what_is_hidden_can_only_be_guessed() -> None:
    example = hidden_example()
    assert 1 not in example.rendering.instance
    assert ceilings([example]).both == ceilings([example]).text == 0.25
    rival = hidden_example(Thing(kind="walker", colour="red", place=(1.0, -3.0)))
    assert 4 in rival.rendering.instance
    assert ceilings([rival]).both == pytest.approx(1 / 3)
    shown = replace(
        example,
        rendering=render(replace(example.rendering.scene, things=example.rendering.scene.things[::2])),
    )
    assert ceilings([shown]).both == 1


def test_an_example_is_a_function_of_its_arguments() -> None:
    settings = NerScenes(pixels=16)
    one, same = (ner_example(settings, 3, 8, "valid") for _ in range(2))
    assert (one.id, one.words, one.tags) == (same.id, same.words, same.tags)
    assert one.rendering.scene == same.rendering.scene
    assert one.id == "valid_8"
    other = ner_example(settings, 4, 8, "valid")
    assert other.rendering.scene != one.rendering.scene


def test_it_is_written_as_the_twitter_sets_are(tmp_path: Path) -> None:
    settings, counts = NerScenes(pixels=16), {"train": 5, "test": 3}
    stated = write_ner_scenes(tmp_path, settings, sentences=counts, seed=2)
    for split, count in counts.items():
        blocks = (tmp_path / f"{split}.txt").read_bytes().decode("utf-8").split("\n\n")
        assert blocks.pop() == ""
        assert len(blocks) == count
        for index, block in enumerate(blocks):
            head, *lines = block.split("\n")
            example = ner_example(settings, 2, index, split)
            assert head == f"IMGID:{example.id}"
            assert [tuple(line.split("\t")) for line in lines] == list(
                zip(example.words, example.tags, strict=True)
            )
            with Image.open(tmp_path / "images" / f"{example.id}.jpg") as picture:
                pixels = np.asarray(picture).astype(int)
            assert np.abs(pixels - example.rendering.rgb).mean() < 4
        assert stated[split] == ceilings([ner_example(settings, 2, index, split) for index in range(count)])
    assert len(list((tmp_path / "images").iterdir())) == 8
    facts = json.loads((tmp_path / "scenes-ner.json").read_text("utf-8"))
    assert facts["ceilings"]["test"] == {"text": stated["test"].text, "both": stated["test"].both}
    assert (facts["seed"], facts["sentences"], facts["settings"]["pixels"]) == (2, counts, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ambiguous": 1.5}, r"ambiguous must be in \[0, 1\], got 1\.5\."),
        ({"more": -0.1}, r"more must be in \[0, 1\], got -0\.1\."),
        ({"rivals": float("nan")}, r"rivals must be in \[0, 1\], got nan\."),
        ({"pixels": 8}, r"pixels must be at least 16, got 8\."),
        ({"relations": ("left",)}, r"relations must be .*, got 'left'\. Did you mean 'left of'\?"),
        ({"relations": ("larger than",)}, r"relations must be .*, got 'larger than'\."),
        ({"relations": ()}, r"relations must be at least one, got none\."),
    ],
    ids=str,
)
def test_settings_out_of_their_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        NerScenes(**options)  # type: ignore[arg-type]


def test_names_are_many_enough_to_be_no_clue() -> None:
    assert len(AMBIGUOUS) >= 20


def test_the_set_is_the_one_that_was_committed() -> None:
    """Results are of this set: who changes its world, words or settings says so, and runs them again."""
    drawn = examples(NerScenes(), 12, "test")
    blocks = "".join(f"{' '.join(one.words)}|{' '.join(one.tags)}\n" for one in drawn)
    assert sha256(blocks.encode()).hexdigest()[:16] == "aac069a1cd10ca71"
    brightness = [one.rendering.rgb.mean() for one in drawn]
    shown = [(one.rendering.instance > 0).sum() for one in drawn]
    stated = [160.6, 166.2, 169.7, 148.2, 145.5, 167.6, 155.8, 167.4, 163.6, 162.2, 160.6, 148.3]
    np.testing.assert_allclose(brightness, stated, atol=0.3)
    np.testing.assert_allclose(shown, [818, 466, 628, 661, 418, 213, 850, 527, 736, 657, 282, 350], atol=3)
