"""Rows shown with their inputs: what each modality says alone, what the fusion says, and what is true."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fuseloom.comparison.findings import Disagreement, Guess
from fuseloom.data.exhibit import Exhibit
from fuseloom.diagnose.complementarity import Complementarity, Sample
from fuseloom.report.tables import answer_name
from fuseloom.report.words import score

__all__ = ["Answer", "Card", "Gallery", "Look", "Shelf", "disagreement_gallery", "sample_gallery"]

_SIDE = 96
"""Pixels of the page, to which small pictures are enlarged."""
_DIGITS = 2
"""Of probabilities."""

_KINDS = {
    "rescued": (
        "Fusing rescues",
        "every modality alone is wrong and the fusion is right",
        "the fusion is nearer to the truth than every modality alone",
    ),
    "harmed": (
        "Fusing harms",
        "one modality alone is right, another is not, and the fusion is wrong",
        "one modality alone is nearer to the truth than the fusion and another is not",
    ),
    "spoiled": (
        "Fusing spoils",
        "every modality alone is right and the fusion is wrong",
        "every modality alone is nearer to the truth than the fusion",
    ),
}

_AS_READ = "Pictures and texts are as they were read, before they were resized or cut for the model."
_READING = {
    "image": _AS_READ,
    "text": _AS_READ,
    "audio": "Of a sound, time runs to the right, low tones are at the bottom, and darker is louder.",
    "map": "Of a map, darker is larger, from its least number to its greatest.",
    "embedding": "Of numbers, darker is larger, from the least of the row to its greatest; steps run right.",
    "series": "Of a series, each line is a channel, from its least value to its greatest.",
}
"""Kind of modality -> how it is read."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says of a row."""

    said: str
    right: bool | None
    """None where there is no right and wrong, but near and far."""
    sure: str = ""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One modality of a row."""

    name: str
    exhibit: Exhibit
    answer: Answer | None
    """Of the model of this modality alone; None where the row lacks it."""

    @property
    def scale(self) -> int:
        """By how much its picture is enlarged."""
        return max(1, _SIDE // max(self.exhibit.width, self.exhibit.height, 1))


@dataclass(frozen=True, kw_only=True)
class Card:
    """One row."""

    row: str
    target: str
    looks: tuple[Look, ...]
    model: str
    """The fusion."""
    fused: Answer
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Rows of one kind."""

    cards: tuple[Card, ...]
    title: str = ""
    saying: str = ""
    """What they have in common, and how many there are in all."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All that is shown in one place."""

    shelves: tuple[Shelf, ...]

    @property
    def reading(self) -> str:
        """How the inputs are to be read."""
        cards = [card for shelf in self.shelves for card in shelf.cards]
        kinds = [look.exhibit.kind for card in cards for look in card.looks if look.exhibit.state == "shown"]
        return " ".join(dict.fromkeys(_READING[kind] for kind in kinds if kind in _READING))


def sample_gallery(one: Complementarity, decimals: int, classes: Sequence[str] = ()) -> Gallery | None:
    """The rows that fusing rescues, harms and spoils; None where none of them has something to show.

    Args:
        one: Of one model.
        decimals: Of numbers that are predicted.
        classes: Their names, by number.
    """
    shelves = tuple(_sample_shelves(one, decimals, classes))
    return Gallery(shelves=shelves) if shelves else None


def _sample_shelves(one: Complementarity, decimals: int, classes: Sequence[str]) -> Iterator[Shelf]:
    counts = {
        "rescued": one.rescued.rows,
        "harmed": one.harmed.rows - one.spoiled.rows,
        "spoiled": one.spoiled.rows,
    }
    for kind, (title, *common) in _KINDS.items():
        shown = [sample for sample in one.samples if sample.kind == kind and sample.inputs]
        if shown:
            yield Shelf(
                title=title,
                saying=_how_many(counts[kind], len(shown), common[one.measure != "accuracy"]),
                cards=tuple(_sample_card(one, sample, decimals, classes) for sample in shown),
            )


def _how_many(count: int, shown: int, common: str) -> str:
    rows = "1 row" if count == 1 else f"{count:,} rows"
    few = "The one with the largest margin is" if shown == 1 else f"The {shown} with the largest margins are"
    return f"{rows} on which {common}.{f' {few} shown.' if shown < count else ''}"


def _sample_card(one: Complementarity, sample: Sample, decimals: int, classes: Sequence[str]) -> Card:
    name = answer_name(one, decimals, classes)

    def answer(value: float) -> Answer:
        return Answer(said=name(value), right=value == sample.target if one.measure == "accuracy" else None)

    return Card(
        row=sample.row,
        target=name(sample.target),
        looks=_looks(sample.inputs, {modality: answer(value) for modality, value in sample.alone.items()}),
        model=one.model,
        fused=answer(sample.fused),
        note=_margin(one, sample, decimals),
    )


def _margin(one: Complementarity, sample: Sample, decimals: int) -> str:
    better = sample.margin if sample.kind == "rescued" else -sample.margin
    if one.measure == "accuracy":
        size, side = score(abs(better), _DIGITS), "more" if better >= 0 else "less"
        return f"It gives the true class {size} {side} probability than the best modality alone does."
    size, side = score(abs(better), decimals), "nearer to" if better >= 0 else "farther from"
    return f"It is {size} {side} the truth than the best modality alone is."


def disagreement_gallery(found: Sequence[Disagreement]) -> Gallery | None:
    """The rows on which the modalities differ most; None where none of them has something to show.

    Args:
        found: Of a comparison, in their order.
    """
    cards = tuple(_disagreement_card(one) for one in found if one.inputs)
    return Gallery(shelves=(Shelf(cards=cards),)) if cards else None


def _disagreement_card(one: Disagreement) -> Card:
    return Card(
        row=one.row,
        target=one.target,
        looks=_looks(one.inputs, {guess.model: _answer(guess, one.target) for guess in one.alone}),
        model=one.fused.model,
        fused=_answer(one.fused, one.target),
    )


def _answer(guess: Guess, target: str) -> Answer:
    if guess.confidence is None:
        return Answer(said=guess.prediction, right=None)
    sure = f"{100 * guess.confidence:.0f} % sure"
    return Answer(said=guess.prediction, right=guess.prediction == target, sure=sure)


def _looks(inputs: Mapping[str, Exhibit], answers: Mapping[str, Answer]) -> tuple[Look, ...]:
    return tuple(
        Look(name=name, exhibit=found, answer=None if found.state == "missing" else answers.get(name))
        for name, found in inputs.items()
    )
