import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval import metrics as oracle
from seqeval.scheme import IOB2

from fuseloom.errors import DataError, UnknownNameError
from fuseloom.metrics.spans import (
    Span,
    SpanCounts,
    SpanRule,
    compare_scorers,
    entity_spans,
    piece_tags,
    span_scores,
)

TYPES = ("PER", "LOC", "ORG", "MISC")
RULES: dict[str, SpanRule] = {
    "muse_bio": "muse",
    "muse_bios": "muse_bios",
    "umt_ner_evaluate": "umt",
    "seqeval_1.2.2_default": "seqeval",
}
"""Scorer as the golden file calls it -> as we do."""


def drawn(generator: np.random.Generator, tags: list[str], sentences: int = 40) -> list[list[str]]:
    return [generator.choice(tags, size=generator.integers(1, 12)).tolist() for _ in range(sentences)]


def bio(prefixes: str = "BI") -> list[str]:
    return ["O", "O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in TYPES[:2])]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(3)


def stored(goldens_dir: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((goldens_dir / "muse" / "ner_f1.json").read_text())["cases"]
    return cases


def found_spans(case: dict[str, Any], side: str, scorer: str) -> list[list[list[Any]]]:
    """Entities of the stored form: chunks of UMT end behind, all others at their last word."""
    last = 0 if scorer.startswith("umt") else 1
    spans = [entity_spans(tags, RULES[scorer]) for tags in case[side]]
    return [[[span.type, span.start, span.end - last] for span in found] for found in spans]


@pytest.mark.parametrize("scorer", RULES)
def test_official_scorers_find_the_same_entities(goldens_dir: Path, scorer: str) -> None:
    word = "chunks" if scorer.startswith("umt") else "entities"
    for case in stored(goldens_dir):
        for side in ("gold", "pred"):
            assert found_spans(case, side, scorer) == case[scorer][f"{side}_{word}"], case["name"]


@pytest.mark.parametrize("scorer", RULES)
def test_official_scorers_give_the_same_numbers(goldens_dir: Path, scorer: str) -> None:
    for case in stored(goldens_dir):
        theirs, ours = case[scorer], span_scores(case["pred"], case["gold"], RULES[scorer])
        numbers = [ours.overall.precision, ours.overall.recall, ours.overall.f1]
        assert numbers == pytest.approx([theirs["precision"], theirs["recall"], theirs["f1"]]), case["name"]
        if "n_gold" in theirs:
            assert ours.overall == SpanCounts(
                correct=theirs["n_right"], predicted=theirs["n_pred"], support=theirs["n_gold"]
            )
        if "token_accuracy" in theirs:
            assert ours.token_accuracy == pytest.approx(theirs["token_accuracy"])
        for kind, scores in theirs.get("per_class", {}).items():
            of = ours.per_type.get(kind, SpanCounts(correct=0, predicted=0, support=0))
            assert [of.precision, of.recall, of.f1] == pytest.approx([*scores.values()], abs=5e-5), kind


def test_the_rule_of_conlleval_is_that_of_umt_and_seqeval_on_tags_of_the_scheme(
    generator: np.random.Generator,
) -> None:
    target, predicted = (drawn(generator, bio()) for _ in range(2))
    lengths = [min(map(len, pair)) for pair in zip(target, predicted, strict=True)]
    target = [tags[:n] for tags, n in zip(target, lengths, strict=True)]
    predicted = [tags[:n] for tags, n in zip(predicted, lengths, strict=True)]
    conll = span_scores(predicted, target)
    assert conll == span_scores(predicted, target, "umt") == span_scores(predicted, target, "seqeval")
    report = oracle.classification_report(target, predicted, output_dict=True, zero_division=0)
    assert conll.overall.f1 == pytest.approx(report["micro avg"]["f1-score"])
    for kind, counts in conll.per_type.items():
        assert counts.precision == pytest.approx(report[kind]["precision"])
        assert counts.recall == pytest.approx(report[kind]["recall"])
        assert counts.support == report[kind]["support"]
    assert conll.token_accuracy == pytest.approx(oracle.accuracy_score(target, predicted))


def test_seqeval_is_repeated_on_tags_of_any_kind(generator: np.random.Generator) -> None:
    tags = [*bio("BIES"), "X", "B", "I", "[CLS]"]
    for _ in range(20):
        target = drawn(generator, tags)
        predicted = [generator.permutation(one).tolist() for one in target]
        with pytest.warns(UserWarning, match="seems not to be NE tag"):
            expected = [
                score(target, predicted, zero_division=0)
                for score in (oracle.precision_score, oracle.recall_score, oracle.f1_score)
            ]
        ours = span_scores(predicted, target, "seqeval").overall
        assert [ours.precision, ours.recall, ours.f1] == pytest.approx(expected)


def test_the_strict_rule_is_that_of_iob2(generator: np.random.Generator) -> None:
    for _ in range(20):
        target = drawn(generator, bio())
        predicted = [generator.permutation(one).tolist() for one in target]
        expected = oracle.f1_score(target, predicted, mode="strict", scheme=IOB2, zero_division=0)
        assert span_scores(predicted, target, "strict").overall.f1 == pytest.approx(expected)


def test_schemes_with_ends_and_singles_hold_the_same_entities() -> None:
    as_bio = ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-LOC", "I-LOC", "I-LOC"]
    as_bioes = ["B-PER", "E-PER", "S-PER", "O", "S-LOC", "B-LOC", "I-LOC", "E-LOC"]
    as_bilou = [tag.replace("E-", "L-").replace("S-", "U-") for tag in as_bioes]
    spans = [Span("PER", 0, 2), Span("PER", 2, 3), Span("LOC", 4, 5), Span("LOC", 5, 8)]
    for rule in ("conll", "strict"):
        assert [entity_spans(tags, rule) for tags in (as_bio, as_bioes, as_bilou)] == [spans] * 3


@pytest.mark.parametrize(
    ("tags", "lenient", "strict"),
    [
        (["I-PER", "I-PER"], [Span("PER", 0, 2)], []),
        (["B-PER", "I-LOC", "I-LOC"], [Span("PER", 0, 1), Span("LOC", 1, 3)], [Span("PER", 0, 1)]),
        (["E-PER", "I-PER"], [Span("PER", 0, 1), Span("PER", 1, 2)], []),
        (["B-PER", "X", "I-PER"], [Span("PER", 0, 1), Span("PER", 2, 3)], [Span("PER", 0, 1)]),
        (["[SEP]", "PER", "O-PER"], [], []),
        (["B", "I", "O", "I"], [Span("_", 0, 2), Span("_", 3, 4)], [Span("_", 0, 2)]),
        (["B-a-b", "I-a-b"], [Span("a-b", 0, 2)], [Span("a-b", 0, 2)]),
        ([], [], []),
    ],
    ids=lambda value: " ".join(map(str, value)) or "none",
)
def test_malformed_tags_by_the_lenient_and_the_strict_rule(
    tags: list[str], lenient: list[Span], strict: list[Span]
) -> None:
    assert (entity_spans(tags), entity_spans(tags, "strict")) == (lenient, strict)


def test_a_further_piece_ends_an_entity_of_muse() -> None:
    words, pieces = ["B-PER", "I-PER", "O"], [2, 1, 1]
    assert piece_tags(words, pieces) == ["B-PER", "X", "I-PER", "O"]
    assert entity_spans(piece_tags(words, pieces), "muse") == [Span("PER", 0, 1)]


def test_scorers_side_by_side_differ_where_words_have_pieces() -> None:
    target, predicted = [["B-PER", "I-PER", "O"], ["O"]], [["B-PER", "O", "B-LOC"], ["O"]]
    scores = compare_scorers(predicted, target, pieces=[[3, 1, 0], [1]])
    assert {rule: one.overall for rule, one in scores.items() if rule != "muse"} == dict.fromkeys(
        ("conll", "strict", "seqeval", "umt"), SpanCounts(correct=0, predicted=2, support=1)
    )
    assert scores["muse"].overall == SpanCounts(correct=1, predicted=1, support=1)
    assert "muse" not in compare_scorers(predicted, target)


def test_nothing_to_find_scores_nothing() -> None:
    scores = span_scores([["O", "B-LOC"]], [["O", "O"]])
    assert (scores.overall.precision, scores.overall.recall, scores.overall.f1) == (0, 0, 0)
    empty = span_scores([], [])
    assert (empty.overall.f1, empty.per_type) == (0, {})
    assert np.isnan(empty.token_accuracy)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ([["O"]], "predicted must be 2 sentences like target, got 1"),
        ([["O"], ["O"]], "predicted must have 2 entries in sentence 1 like target, got 1"),
    ],
)
def test_other_lengths_are_refused(predicted: list[list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        span_scores(predicted, [["O"], ["O", "O"]])


def test_pieces_must_be_of_the_same_words() -> None:
    with pytest.raises(DataError, match="pieces must have 2 entries in sentence 0 like target, got 1"):
        compare_scorers([["O", "O"]], [["O", "O"]], pieces=[[1]])


def test_an_unknown_rule_is_refused_with_a_guess() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown rule 'conl'\. Did you mean 'conll'\?"):
        entity_spans(["O"], "conl")  # type: ignore[arg-type]
