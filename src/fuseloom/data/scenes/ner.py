"""The set ``scenes-ner``: sentences with names whose type, at times, only the picture tells.

Of the sentences a share has a name that may be of any type, whose thing the sentence points at: "look at
Orlay left of the red ball". The name is a PER if what stands left of the red ball is a person, a LOC if it is
a building, an ORG if it is an emblem (a flag, a billboard, a roundel) and a MISC if it is a vehicle. Nothing
in the sentence depends on the type, which is drawn first and evenly. All other names are told by the words
alone, and what the picture shows says nothing of them.

Every picture holds one such thing, the thing that relations are to, up to two things of other families,
and in a share of them a rival: a thing of another of the four families, on the other side of the relation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuseloom.data.scenes.draw import Look, draw_look, generator_of, one_of, scene_of
from fuseloom.data.scenes.kinds import FAMILIES, family_of
from fuseloom.data.scenes.ner_words import TYPES, Name, names_in, phrase, sentence
from fuseloom.data.scenes.render import Rendering, render
from fuseloom.data.scenes.words import OPPOSITES, holds
from fuseloom.data.scenes.writing import Progress, counted, jpeg, write_facts
from fuseloom.data.writing import make_folders
from fuseloom.errors import OptionError, did_you_mean

__all__ = [
    "Ceilings",
    "NerExample",
    "NerScenes",
    "best_f1",
    "ceilings",
    "expected_ceilings",
    "ner_example",
    "write_ner_scenes",
]

Generator = np.random.Generator

_OTHERS = tuple(family for family in FAMILIES if family not in TYPES.values())
_MOST_DISTRACTORS = 2
_LEAST_PIXELS = 40
"""Of 64 x 64: what a sentence speaks of shows at least so much of itself, or what bears a name nothing."""
_POINTING = ("left of", "right of", "behind", "in front of")
_COUNTS = {"train": 8000, "valid": 1000, "test": 1000}


@dataclass(frozen=True, kw_only=True)
class NerScenes:
    """How sentences and pictures are drawn; shares are probabilities."""

    ambiguous: float = 0.6
    """Share of sentences with a name of which only the picture tells the type."""
    more: float = 0.5
    """Share of sentences with a second name; words tell its type."""
    rivals: float = 0.25
    """Share of pictures with a thing of another deciding family, which only the relation rules out."""
    relations: Sequence[str] = ("left of", "right of")
    """Those that sentences use: also ``behind`` and ``in front of``."""
    pixels: int = 64
    """Side of the pictures."""

    def __post_init__(self) -> None:
        for name in ("ambiguous", "more", "rivals"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} must be in [0, 1], got {getattr(self, name)}.")
        if self.pixels < 16:
            raise OptionError(f"pixels must be at least 16, got {self.pixels}.")
        if unknown := [relation for relation in self.relations if relation not in _POINTING]:
            hint = did_you_mean(unknown[0], _POINTING)
            raise OptionError(f"relations must be known ones, got {unknown[0]!r}.{hint}")
        if not self.relations:
            raise OptionError("relations must be at least one, got none.")

    @property
    def ambiguous_share(self) -> float:
        """Expected share of names of which only the picture tells the type."""
        return self.ambiguous / (1 + self.more)


@dataclass(frozen=True, kw_only=True, eq=False)
class NerExample:
    """A sentence and its picture."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    """``O``, ``B-PER``, ``I-PER``, and so on, one per word."""
    rendering: Rendering
    """The picture, and the scene behind it."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The best span F1 that can be expected of whoever reads one modality, or both."""

    text: float
    both: float


def ner_example(settings: NerScenes, seed: int, index: int, split: str = "train") -> NerExample:
    """One sentence with its picture, a function of these arguments alone.

    The type and what the sentence says are drawn first; then scenes of these things are drawn until one fits,
    so that nothing in a sentence depends on the type of a name that it leaves open.

    Args:
        settings: Shares and sizes.
        seed: Of the whole set.
        index: Number of the example in its split.
        split: As of `draw_scene`; things of test are of combinations that the others never have.

    Example:
        >>> example = ner_example(NerScenes(), seed=0, index=4)
        >>> " ".join(example.words)
        'good morning ! finally Jorvan right of the white lamp . also here we see Grand Moskito . more soon'
        >>> [tag for tag in example.tags if tag != "O"]
        ['B-PER', 'B-MISC', 'I-MISC']
    """
    generator = generator_of(seed, split, index)
    own_type, relation = (one_of(generator, options) for options in (list(TYPES), settings.relations))
    roles = _roles(generator, settings, own_type, held_out=split == "test")
    first = None if generator.random() < settings.ambiguous else one_of(generator, list(TYPES))
    types = [first] + [one_of(generator, list(TYPES))] * (generator.random() < settings.more)
    generator.shuffle(types)
    pointing = f"{relation} the {roles.fixed.colour} {roles.fixed.kind}"
    words, names = sentence(generator, [phrase(generator, told, "" if told else pointing) for told in types])
    tags = ["O"] * len(words)
    for told, place in zip(types, names, strict=True):
        tags[place] = [f"{mark}-{told or own_type}" for mark in "BI"][: place.stop - place.start]
    rendering = _picture(generator, settings, relation, roles)
    return NerExample(id=f"{split}_{index}", words=words, tags=tuple(tags), rendering=rendering)


@dataclass(frozen=True, kw_only=True)
class _Roles:
    """Which things are in a picture."""

    bearer: Look
    """Bears the name."""
    fixed: Look
    """The sentence says where the bearer is by it."""
    rival: Look | None
    """Could bear the name, but is on the other side."""
    distractors: Sequence[Look]


def _roles(generator: Generator, settings: NerScenes, own_type: str, *, held_out: bool) -> _Roles:
    def look(families: Iterable[str]) -> Look:
        return draw_look(generator, one_of(generator, list(families)), held_out=held_out)

    fixed = look(_OTHERS)
    others = [look(_OTHERS) for _ in range(generator.integers(_MOST_DISTRACTORS, endpoint=True))]
    rival_families = [family for name, family in TYPES.items() if name != own_type]
    return _Roles(
        bearer=look([TYPES[own_type]]),
        fixed=fixed,
        rival=look(rival_families) if generator.random() < settings.rivals else None,
        distractors=[other for other in others if other != fixed],
    )


def _picture(generator: Generator, settings: NerScenes, relation: str, roles: _Roles) -> Rendering:
    """The first picture that is drawn in which the relation tells the bearer from its rival."""
    looks = [roles.bearer, roles.fixed, *([roles.rival] if roles.rival else []), *roles.distractors]
    least = _LEAST_PIXELS * (settings.pixels / 64) ** 2
    while True:
        order = generator.permutation(len(looks))
        scene = scene_of(generator, [looks[place] for place in order])
        bearer, fixed, *others = np.argsort(order).tolist()
        fits = holds(scene, bearer, relation, fixed) and (
            roles.rival is None or holds(scene, others[0], OPPOSITES[relation], fixed)
        )
        if fits:
            rendering = render(scene, settings.pixels, settings.pixels)
            shown = rendering.shown
            if shown[fixed] >= least and not 0 < shown[bearer] < least:
                return rendering


def best_f1(chances: Sequence[float]) -> float:
    r"""The best expected span F1 of a reader who is right about each name with a known probability.

    It names those of which it is sure enough and leaves out the others, as a wrong name costs more than none:

    .. math:: \max_k\; \frac{2 \sum_{i \le k} p_i}{k + n}, \quad p_1 \ge \dots \ge p_n,

    the ratio of expectations, which of many names is the expectation of the ratio.

    Example:
        >>> best_f1([1.0, 1.0, 1.0, 0.5]), best_f1([1.0, 0.25])
        (0.875, 0.6666666666666666)
    """
    sorted_chances = np.sort(np.array(chances, dtype=np.float64))[::-1]
    named = np.arange(1, len(sorted_chances) + 1)
    return float((2 * np.cumsum(sorted_chances) / (named + len(sorted_chances))).max(initial=0))


def expected_ceilings(settings: NerScenes) -> Ceilings:
    r"""What the settings say, if nothing that bears a name is hidden.

    With a share :math:`a` of names that may be of each of four types, a reader of the text does best to leave
    those out, :math:`2 (1 - a) / (2 - a)`, or where they are many to guess, :math:`1 - 3 a / 4`.

    Example:
        >>> round(expected_ceilings(NerScenes()).text, 6)
        0.75
    """
    share = settings.ambiguous_share
    return Ceilings(text=max(2 * (1 - share) / (2 - share), 1 - (1 - 1 / len(TYPES)) * share), both=1.0)


def ceilings(examples: Iterable[NerExample]) -> Ceilings:
    """What is expected of oracles on these examples: one reads the words, the other the picture too.

    Neither is a model. The first knows all words and what they mean. The second also knows, of all that
    shows at least one pixel, what it is and where: it finds the thing that the relation is to, and takes what
    bears names on that side of it. Where that is hidden, it knows at most a type that it is not: a rival's.
    (Who sees the picture alone finds no name, as it shows no words.)
    """
    text, both = [], []
    for example in examples:
        for name in names_in(example.words):
            text.append(1.0 if name.type else 1 / len(TYPES))
            both.append(1.0 if name.type else _chance_with_picture(name, example.rendering))
    return Ceilings(text=best_f1(text), both=best_f1(both))


def _chance_with_picture(name: Name, rendering: Rendering) -> float:
    scene = rendering.scene
    seen = [number for number, shown in enumerate(rendering.shown) if shown]
    kinds = {number: scene.things[number].kind for number in seen}
    bearers = [number for number in seen if family_of(kinds[number]) in TYPES.values()]
    fixed = [n for n in seen if (scene.things[n].colour, kinds[n]) == (name.colour, name.kind)]
    assert len(fixed) == 1
    assert name.relation is not None
    pointed = [number for number in bearers if holds(scene, number, name.relation, fixed[0])]
    return 1.0 if pointed else 1 / (len(TYPES) - len(bearers))


def write_ner_scenes(
    folder: Path | str,
    settings: NerScenes = NerScenes(),
    *,
    sentences: Mapping[str, int] = _COUNTS,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> dict[str, Ceilings]:
    """Write sentences and pictures in the format of the Twitter sets, and what can be expected of them.

    The folder gets ``train.txt``, ``valid.txt`` and ``test.txt`` (a line ``IMGID:<id>``, a line per word with
    its tag behind a tab, an empty line), ``images/<id>.jpg``, and ``scenes-ner.json`` with the settings and
    ceilings.

    Args:
        folder: Made where it is not there; it must hold nothing.
        settings: Shares and sizes.
        sentences: Split -> how many.
        seed: Of everything that is drawn.
        progress: Called with a line for a person, now and then.

    Returns:
        Split -> its ceilings.

    Raises:
        DataError: the folder holds something.
        MissingExtraError: Pillow is not installed.
        OptionError: there is no such split, or a negative number.
    """
    folder = Path(folder)
    make_folders(folder, "images")
    stated = {}
    for split, count in sentences.items():
        drawn = (ner_example(settings, seed, index, split) for index in range(count))
        stated[split] = ceilings(counted(_written(folder, split, drawn), split, count, progress))
    write_facts(folder / "scenes-ner.json", settings, stated, seed=seed, sentences=dict(sentences))
    return stated


def _written(folder: Path, split: str, examples: Iterable[NerExample]) -> Iterator[NerExample]:
    """The same examples, each written before it is passed on."""
    with (folder / f"{split}.txt").open("w", encoding="utf-8", newline="\n") as file:
        for example in examples:
            file.write(_block(example))
            (folder / "images" / f"{example.id}.jpg").write_bytes(jpeg(example.rendering.rgb))
            yield example


def _block(example: NerExample) -> str:
    lines = [f"{word}\t{tag}\n" for word, tag in zip(example.words, example.tags, strict=True)]
    return "".join([f"IMGID:{example.id}\n", *lines, "\n"])
