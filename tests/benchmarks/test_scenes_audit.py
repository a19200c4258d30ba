"""The program that looks for shortcuts in the generated sets."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOLD = 0.3


@pytest.fixture
def program() -> Any:
    return import_module("scenes_audit")


def question(program: Any, rows: int = 1200) -> Any:
    """Three classes of uneven size, and a fact that tells them in three rows of ten."""
    generator = np.random.default_rng(0)
    answers = generator.choice(["a", "b", "c"], size=rows, p=[0.5, 0.35, 0.15])
    places = np.searchsorted(["a", "b", "c"], answers)
    guessed = np.where(generator.random(rows) < TOLD, places, generator.integers(3, size=rows))
    return program.Question(
        set="made",
        label="class",
        answers=answers.tolist(),
        facts={
            "nothing": generator.normal(size=(rows, 3)),
            "always the same": np.ones((rows, 2)),
            "a shortcut": np.eye(3)[guessed],
        },
    )


def test_a_shortcut_is_found_and_noise_is_not(program: Any) -> None:
    found = program.audited(question(program))
    assert (found["rows"], found["chance"]) == (600, pytest.approx(1 / 3))
    lines = {line["fact"]: line["scores"] for line in found["lines"]}
    above = {fact for fact, scores in lines.items() if all(score["above"] for score in scores.values())}
    assert above == {"a shortcut", "all of these"}
    assert not any(score["above"] for score in lines["nothing"].values())
    for score in lines["a shortcut"].values():
        assert score["low"] < TOLD + (1 - TOLD) / 3 < score["high"]
    for score in lines["always the same"].values():
        assert score["low"] == score["accuracy"] == score["high"] == pytest.approx(1 / 3)
        assert score["p"] == 1


def test_the_error_of_chance_is_that_of_answers_dealt_anew(program: Any) -> None:
    generator = np.random.default_rng(1)
    predicted, counts = np.array([50, 90, 20]), np.array([80, 60, 20])
    dealt = np.repeat(np.arange(3), counts)
    named = np.repeat(np.arange(3), predicted)
    scores = []
    for _ in range(4000):
        own = generator.permutation(dealt)
        scores.append((np.bincount(own[named == own], minlength=3) / counts).mean())
    assert np.mean(scores) == pytest.approx(1 / 3, abs=0.003)
    assert program._error_of_chance(predicted, counts) == pytest.approx(np.std(scores), rel=0.05)


def test_the_table_marks_what_is_above_chance(program: Any) -> None:
    results = {"questions": [program.audited(question(program))], "environment": {"seed": 3}}
    title, head, *lines = program.render(results).splitlines()
    assert title.startswith("made, class: 600 rows (a ")
    assert title.endswith("; chance is 0.333")
    assert head.split() == ["logistic", "regression", "gradient", "boosting"]
    assert [line.count("above") for line in lines[:4]] == [0, 0, 2, 2]
    assert lines[1].split("  ")[0] == "always the same"
    assert lines[-1] == "seed 3"


def test_all_sets_are_asked_for_every_label(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.json"
    program.main(["--rows", "40", "--seed", "5", "--json", str(path)])
    results = json.loads(path.read_text("utf-8"))
    asked = [(one["set"], one["label"], one["rows"]) for one in results["questions"]]
    assert asked == [
        ("scenes-ner", "type of a name that the sentence leaves open", 40),
        ("scenes-msa", "sentiment of the pair", 40),
        ("scenes-msa", "sentiment of the picture", 40),
        ("scenes-seg", "whether a thing is a board, by the photograph", 40),
        ("scenes-seg", "whether a vehicle or toy is warm, by distances", 40),
    ]
    facts = [{line["fact"] for line in one["lines"]} for one in results["questions"]]
    wanted = {"mean colour", "image size", "number of things", "answer: where it stands", "file order"}
    assert all(wanted <= own for own in facts[:4])
    assert "length of the sentence" in facts[0]
    assert facts[1] - facts[2] == {"length of the text"}
    assert "mean colour" not in facts[4]
    assert {"mean distance", "answer: kind", "answer: pixels", "file order"} <= facts[4]
    assert "scenes-ner, type of a name" in capsys.readouterr().out
