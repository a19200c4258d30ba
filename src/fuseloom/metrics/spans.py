"""Precision, recall and F1 of entities in tagged sentences: the field's score, and three official ones.

The score that papers on named entities compare is ``conll``: of words, micro-averaged, by the lenient rule of
conlleval. MuSE's own (``muse``) is of word pieces, where a further piece (``X``) ends an entity, so that its
numbers are higher and compare with no other paper's; UMT's (``umt``) and seqeval's differ from ``conll`` only
where a word is tagged with something else than ``O`` and the prefixes of a scheme, which is ``O`` here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fuseloom.errors import DataError, UnknownNameError, did_you_mean
from fuseloom.metrics.spans_rules import RULES, Span, SpanRule

__all__ = [
    "Span",
    "SpanCounts",
    "SpanRule",
    "SpanScores",
    "compare_scorers",
    "entity_spans",
    "piece_tags",
    "span_scores",
]

Tags = Sequence[Sequence[str]]

_FURTHER_PIECE = "X"
_OF_WORDS: tuple[SpanRule, ...] = ("conll", "strict", "seqeval", "umt")


@dataclass(frozen=True, kw_only=True)
class SpanCounts:
    """How many entities there are, were predicted, and are the same in type, start and end."""

    correct: int
    predicted: int
    support: int

    @property
    def precision(self) -> float:
        """Share of those predicted that are correct; 0 where there are none."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of those there that are found; 0 where there are none."""
        return self.correct / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is nothing to find or to judge."""
        together = self.predicted + self.support
        return 2 * self.correct / together if together else 0.0


@dataclass(frozen=True, kw_only=True)
class SpanScores:
    """Scores of predicted tags: of all entities (micro-averaged), and of each type."""

    overall: SpanCounts
    per_type: Mapping[str, SpanCounts]
    """Every type that occurs, sorted."""
    token_accuracy: float
    """Share of tags that are equal; NaN where there is none."""


def entity_spans(tags: Sequence[str], rule: SpanRule = "conll") -> list[Span]:
    """Entities of one sequence of tags, of the schemes BIO, BIOES or BILOU.

    Args:
        tags: Of a sentence.
        rule: ``conll``: an ``I-`` of no open entity of its type opens one, any other tag is outside.
            ``strict``: it opens none (IOB2). ``seqeval``, ``umt``, ``muse`` and ``muse_bios``: as the
            official codes do it, see `fuseloom.metrics.spans_rules`.

    Raises:
        UnknownNameError: no rule has the name.

    Example:
        >>> entity_spans(["B-PER", "I-PER", "O", "I-LOC"])
        [Span(type='PER', start=0, end=2), Span(type='LOC', start=3, end=4)]
        >>> entity_spans(["B-PER", "I-PER", "O", "I-LOC"], "muse")
        [Span(type='PER', start=0, end=2)]
    """
    _check_rule(rule)
    return RULES[rule](tags)


def span_scores(predicted: Tags, target: Tags, rule: SpanRule = "conll") -> SpanScores:
    """Score predicted tags by the entities that they and the true ones hold.

    Args:
        predicted: A sequence of tags for each sentence, one per word; for ``muse`` one per word piece, with
            ``X`` on further pieces (see `piece_tags`).
        target: The true ones.
        rule: What counts as an entity, see `entity_spans`.

    Raises:
        DataError: other numbers of sentences, or of tags in one of them.
        UnknownNameError: no rule has the name.

    Example:
        >>> target = [["B-PER", "I-PER", "O"], ["O", "B-LOC"]]
        >>> scores = span_scores([["B-PER", "I-PER", "O"], ["B-LOC", "B-LOC"]], target)
        >>> round(scores.overall.f1, 3), scores.per_type["PER"].f1, scores.token_accuracy
        (0.8, 1.0, 0.8)
    """
    _check_rule(rule)
    _check_lengths(predicted, target)
    accuracy = _token_accuracy(predicted, target)
    if rule == "seqeval":  # it reads all sentences as one, and not every tag is closed by the end of one
        predicted, target = [_joined(predicted)], [_joined(target)]
    found, true, correct = Counter[str](), Counter[str](), Counter[str]()
    for ours, theirs in zip(predicted, target, strict=True):
        spans, known = set(RULES[rule](ours)), set(RULES[rule](theirs))
        found.update(span.type for span in spans)
        true.update(span.type for span in known)
        correct.update(span.type for span in spans & known)
    per_type = {
        kind: SpanCounts(correct=correct[kind], predicted=found[kind], support=true[kind])
        for kind in sorted(found | true)
    }
    overall = SpanCounts(correct=correct.total(), predicted=found.total(), support=true.total())
    return SpanScores(overall=overall, per_type=per_type, token_accuracy=accuracy)


def compare_scorers(
    predicted: Tags, target: Tags, *, pieces: Sequence[Sequence[int]] | None = None
) -> dict[SpanRule, SpanScores]:
    """Scores of the same tags by several scorers, side by side.

    Args:
        predicted: A sequence of tags for each sentence, one per word.
        target: The true ones.
        pieces: Number of word pieces of each word. With it MuSE's score is among them, as of a model that
            tags each further piece rightly.

    Raises:
        DataError: numbers of sentences or words that differ.

    Example:
        >>> target = [["B-PER", "I-PER"]]
        >>> scores = compare_scorers([["B-PER", "I-LOC"]], target, pieces=[[2, 1]])
        >>> scores["conll"].overall.f1, scores["muse"].overall.f1
        (0.0, 1.0)
    """
    scores = {rule: span_scores(predicted, target, rule) for rule in _OF_WORDS}
    if pieces is not None:
        _check_lengths(pieces, target, name="pieces")
        ours, theirs = (
            [piece_tags(tags, counts) for tags, counts in zip(tagged, pieces, strict=True)]
            for tagged in (predicted, target)
        )
        scores["muse"] = span_scores(ours, theirs, "muse")
    return scores


def piece_tags(tags: Sequence[str], pieces: Sequence[int]) -> list[str]:
    """Tags of word pieces: a word's tag on its first, ``X`` on its further ones; none of a word without any.

    Args:
        tags: Of words.
        pieces: How many each of them has.

    Example:
        >>> piece_tags(["B-PER", "I-PER", "O"], [1, 3, 0])
        ['B-PER', 'I-PER', 'X', 'X']
    """
    return [
        part
        for tag, count in zip(tags, pieces, strict=True)
        for part in [tag, *[_FURTHER_PIECE] * (count - 1)][:count]
    ]


def _joined(sentences: Tags) -> list[str]:
    return [tag for tags in sentences for tag in (*tags, "O")]


def _token_accuracy(predicted: Tags, target: Tags) -> float:
    pairs = [pair for tags in zip(predicted, target, strict=True) for pair in zip(*tags, strict=True)]
    return sum(one == other for one, other in pairs) / len(pairs) if pairs else float("nan")


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise UnknownNameError(f"Unknown rule {rule!r}.{did_you_mean(rule, RULES)}")


def _check_lengths(
    found: Sequence[Sequence[object]], target: Sequence[Sequence[object]], *, name: str = "predicted"
) -> None:
    if len(found) != len(target):
        raise DataError(f"{name} must be {len(target)} sentences like target, got {len(found)}.")
    for place, (ours, theirs) in enumerate(zip(found, target, strict=True)):
        if len(ours) != len(theirs):
            raise DataError(
                f"{name} must have {len(theirs)} entries in sentence {place} like target, got {len(ours)}."
            )
