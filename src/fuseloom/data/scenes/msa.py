"""The set ``scenes-msa``: texts and pictures that are positive, neutral or negative, each by itself.

The text says it in an adjective, which ``never`` turns round, or says nothing of the kind, always in two
words of the same lengths. The picture says it by one thing whose kind has a mood: three families have a
positive, a neutral and a negative kind each, in an order such that neither family nor colour tells the mood.
The sentiment of the pair is what the field makes of two labels: that of both, or of the one that is not
neutral; pairs of positive and negative are written, and left out by readers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuseloom.data.scenes.draw import Look, draw_look, generator_of, is_held_out, one_of, scene_of
from fuseloom.data.scenes.kinds import FAMILIES
from fuseloom.data.scenes.ner_words import CLOSERS, OPENERS
from fuseloom.data.scenes.render import Rendering, render
from fuseloom.data.scenes.world import COLOURS
from fuseloom.data.scenes.writing import Progress, counted, jpeg, write_facts
from fuseloom.data.writing import make_folders
from fuseloom.errors import OptionError

__all__ = [
    "MOODS",
    "SENTIMENTS",
    "MsaCeilings",
    "MsaExample",
    "MsaScenes",
    "combined",
    "msa_ceilings",
    "msa_example",
    "said_in",
    "shown_in",
    "write_msa_scenes",
]

Generator = np.random.Generator

SENTIMENTS = ("positive", "neutral", "negative")

MOODS: Mapping[str, Mapping[str, str]] = {
    "person": {"dancer": "positive", "walker": "neutral", "sitter": "negative"},
    "toy": {"cone": "positive", "crate": "neutral", "ball": "negative"},
    "vehicle": {"car": "positive", "rocket": "neutral", "truck": "negative"},
}
"""Family -> kind -> what a picture of it is; such that things of each mood are equally large on the whole."""

_WORDS = {
    "positive": ("fun", "nice", "great", "lovely", "perfect", "splendid", "wonderful", "delightful"),
    "negative": ("sad", "ugly", "awful", "boring", "painful", "terrible", "miserable", "disgusting"),
}
"""With three to ten letters."""
_PLAIN = (
    "at school",
    "on Tuesday",
    "in February",
    "at breakfast",
    "by motorcycle",
    "near Frankfurt",
    "with colleagues",
    "between meetings",
)
"""As long as an adjective with one of the words before it."""
_NEVER, _BEFORE = "never", ("quite", "truly")
_SUBJECTS = ("our trip was", "this place is", "lunch was", "the show is", "my day was", "that street is")
_OPPOSITE = {"positive": "negative", "negative": "positive"}
_NEGATED = 0.25
_PAIRS = [(text, image) for text in SENTIMENTS for image in SENTIMENTS]
_OTHERS = tuple(family for family in FAMILIES if family not in MOODS)
_MOST_DISTRACTORS = 3
_LEAST_PIXELS = 40
"""Of 64 x 64: what has a mood shows at least so much of itself, or nothing."""
_COUNTS = {"train": 8000, "valid": 1000, "test": 1000}
_FOLD = {"train": "train.json", "valid": "dev.json", "test": "test.json"}


@dataclass(frozen=True, kw_only=True)
class MsaScenes:
    """How texts and pictures are drawn; shares are probabilities."""

    contradict: float = 0.1
    """Share of pairs of positive and negative; all seven others are equally frequent."""
    pixels: int = 64
    """Side of the pictures."""

    def __post_init__(self) -> None:
        if not 0 <= self.contradict <= 1:
            raise OptionError(f"contradict must be in [0, 1], got {self.contradict}.")
        if self.pixels < 16:
            raise OptionError(f"pixels must be at least 16, got {self.pixels}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class MsaExample:
    """A text and its picture."""

    id: str
    words: tuple[str, ...]
    text_sentiment: str
    image_sentiment: str
    rendering: Rendering
    """The picture, and the scene behind it."""

    @property
    def sentiment(self) -> str | None:
        """That of the pair; none where text and picture contradict each other."""
        return combined(self.text_sentiment, self.image_sentiment)


@dataclass(frozen=True, kw_only=True)
class MsaCeilings:
    """The best accuracy that can be expected of whoever reads the text, the picture, or both."""

    text: float
    image: float
    both: float


def combined(text: str, image: str) -> str | None:
    """What the field makes of the sentiment of a text and of its picture.

    Example:
        >>> combined("neutral", "negative"), combined("positive", "negative")
        ('negative', None)
    """
    if "neutral" in (text, image):
        return image if text == "neutral" else text
    return text if text == image else None


def msa_example(settings: MsaScenes, seed: int, index: int, split: str = "train") -> MsaExample:
    """One text with its picture, a function of these arguments alone.

    Args:
        settings: Shares and sizes.
        seed: Of the whole set.
        index: Number of the example in its split.
        split: As of `draw_scene`; things of test are of combinations that the others never have.

    Example:
        >>> example = msa_example(MsaScenes(), seed=0, index=1)
        >>> " ".join(example.words), example.image_sentiment, example.sentiment
        ('just now : my day was near Frankfurt !', 'positive', 'positive')
    """
    generator = generator_of(seed, split, index)
    contradicting = bool(generator.random() < settings.contradict)
    pairs = [pair for pair in _PAIRS if (combined(*pair) is None) == contradicting]
    text, image = pairs[int(generator.integers(len(pairs)))]
    words = _words(generator, text)
    held_out = split == "test"
    looks = [_look(generator, image, held_out=held_out)]
    looks += [
        draw_look(generator, one_of(generator, _OTHERS), held_out=held_out)
        for _ in range(generator.integers(1, _MOST_DISTRACTORS, endpoint=True))
    ]
    return MsaExample(
        id=str(list(_FOLD).index(split) * 10**6 + index),
        words=words,
        text_sentiment=text,
        image_sentiment=image,
        rendering=_picture(generator, looks, settings.pixels),
    )


def said_in(words: Iterable[str]) -> str:
    """The sentiment of a text, to whoever knows all its words.

    Example:
        >>> said_in("wow , this place is never great !".split())
        'negative'
    """
    before = ""
    for word in words:
        for sentiment, own in _WORDS.items():
            if word in own:
                return _OPPOSITE[sentiment] if before == _NEVER else sentiment
        before = word
    return "neutral"


def shown_in(rendering: Rendering) -> str | None:
    """The sentiment of a picture, to whoever knows what shows a pixel; none if nothing with a mood does."""
    moods = {kind: mood for kinds in MOODS.values() for kind, mood in kinds.items()}
    seen = [thing.kind for thing, count in zip(rendering.scene.things, rendering.shown, strict=True) if count]
    return next((moods[kind] for kind in seen if kind in moods), None)


def msa_ceilings(examples: Iterable[MsaExample]) -> MsaCeilings:
    """What is expected of oracles on these examples, without those that contradict themselves.

    Each knows how frequent pairs are: of what it has read, it says the sentiment that is likeliest.
    """
    chances = [
        (_chance(said, None), _chance(None, shown), _chance(said, shown))
        for example in examples
        if example.sentiment
        for said, shown in [(said_in(example.words), shown_in(example.rendering))]
    ]
    text, image, both = np.mean(np.array(chances).reshape(-1, 3), axis=0).tolist()
    return MsaCeilings(text=text, image=image, both=both)


def _chance(said: str | None, shown: str | None) -> float:
    """How often the likeliest sentiment is right, of all pairs with that text and that picture."""
    fitting = [combined(*pair) for pair in _PAIRS if said in (None, pair[0]) and shown in (None, pair[1])]
    kept = [sentiment for sentiment in fitting if sentiment]
    return max(map(kept.count, SENTIMENTS)) / len(kept)


def write_msa_scenes(
    folder: Path | str,
    settings: MsaScenes = MsaScenes(),
    *,
    examples: Mapping[str, int] = _COUNTS,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> dict[str, MsaCeilings]:
    """Write texts and pictures in the format of MVSA-Single, and what can be expected of them.

    The folder gets ``data/<id>.txt`` and ``<id>.jpg``, ``labelResultAll.txt`` with the sentiments of text and
    picture, ``10-flod-1`` with the splits as lists (``train.json``, ``dev.json`` and ``test.json``, in which
    pairs that contradict themselves are left out), and ``scenes-msa.json`` with the settings and ceilings.

    Args:
        folder: Made where it is not there; it must hold nothing.
        settings: Shares and sizes.
        examples: Split -> how many pairs.
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
    make_folders(folder, "data", "10-flod-1")
    lines, stated = ["ID\ttext,image\n"], {}
    for split, count in examples.items():
        drawn = (msa_example(settings, seed, index, split) for index in range(count))
        listed: list[dict[str, object]] = []
        written = _written(folder / "data", drawn, lines, listed)
        stated[split] = msa_ceilings(counted(written, split, count, progress))
        (folder / "10-flod-1" / _FOLD[split]).write_text(json.dumps(listed, indent=1), encoding="utf-8")
    (folder / "labelResultAll.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    write_facts(folder / "scenes-msa.json", settings, stated, seed=seed, examples=dict(examples))
    return stated


def _written(
    folder: Path, examples: Iterable[MsaExample], lines: list[str], listed: list[dict[str, object]]
) -> Iterator[MsaExample]:
    """The same examples, each written, and put on both lists, before it is passed on."""
    for example in examples:
        text = " ".join(example.words)
        (folder / f"{example.id}.txt").write_text(text + "\n", encoding="utf-8", newline="\n")
        (folder / f"{example.id}.jpg").write_bytes(jpeg(example.rendering.rgb))
        lines.append(f"{example.id}\t{example.text_sentiment},{example.image_sentiment}\n")
        if example.sentiment:
            label = SENTIMENTS.index(example.sentiment)
            listed.append({"id": example.id, "text": text, "emotion_label": label})
        yield example


def _words(generator: Generator, sentiment: str) -> tuple[str, ...]:
    negated = sentiment in _OPPOSITE and generator.random() < _NEGATED
    if sentiment == "neutral":
        said: tuple[tuple[str, ...], ...] = (_PLAIN,)
    else:
        said = (_NEVER,) if negated else _BEFORE, _WORDS[_OPPOSITE[sentiment] if negated else sentiment]
    parts = [OPENERS, _SUBJECTS, *said, CLOSERS]
    return tuple(" ".join(one_of(generator, part) for part in parts).split())


def _look(generator: Generator, mood: str, *, held_out: bool) -> Look:
    """A kind with that mood, of any of the families, in a colour held out from training or not."""
    kinds = MOODS[one_of(generator, list(MOODS))]
    kind = next(kind for kind, own in kinds.items() if own == mood)
    colours = [colour for colour in COLOURS if is_held_out(kind, colour) == held_out]
    return Look(kind, one_of(generator, colours))


def _picture(generator: Generator, looks: list[Look], pixels: int) -> Rendering:
    """The first that is drawn in which the first of the things is plain to see or not seen at all."""
    while True:
        order = generator.permutation(len(looks))
        rendering = render(scene_of(generator, [looks[place] for place in order]), pixels, pixels)
        shown = rendering.shown[int(np.argmin(order))]
        if not 0 < shown < _LEAST_PIXELS * (pixels / 64) ** 2:
            return rendering
