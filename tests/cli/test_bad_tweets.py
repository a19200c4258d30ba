"""Tweets as they come: what is wrong with them is named, and the rest is trained on and predicted."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image as Picture

from fuseloom.cli.group import fuseloom
from fuseloom.metrics.spans import entity_spans

QUICK = [
    *("--set", "fit.max_epochs=2", "--set", "model.dim=8", "--set", "fit.batch_size=8"),
    *("--set", "data.task_options.constrained=true"),
]
ODD = "Zo\u00eb\tB-PER\n\u200b\tO\n\U0001f468\u200d\U0001f469\u200d\U0001f467\tO\n\ufe0f\tO\nRome\tB-LOC\n"
"""A letter with a mark, a word of zero width, a family of one emoji, and a mark of how one looks."""
ODD_TEST = f"IMGID:31\n{ODD}.\tO\n"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


def sentence(number: int) -> str:
    return f"IMGID:{number}\nAnn{number}\tB-PER\nSmith\tI-PER\nsings\tO\nin\tO\nRome{number % 3}\tB-LOC\n"


def write(place: Path, tweets: dict[str, list[str]]) -> Path:
    place.mkdir(exist_ok=True)
    for split, sentences in tweets.items():
        (place / f"{split}.txt").write_text("\n".join(sentences), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tweets of which some are odd, with pictures of which some are no pictures."""
    place = tmp_path_factory.mktemp("tweets") / "mine"
    train = [*map(sentence, range(12)), f"IMGID:12\n{ODD}", "IMGID:13\n"]
    write(place, {"train": train, "valid": [*map(sentence, range(20, 26))], "test": [sentence(30), ODD_TEST]})
    for number in (*range(1, 13), *range(20, 26), 30, 31):
        Picture.new("RGB", (6, 4), (number,) * 3).save(place / f"{number}.jpg")
    Picture.new("RGB", (1, 1)).save(place / "1.jpg")
    Picture.new("CMYK", (5, 3)).save(place / "2.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Picture.fromarray(noise).save(place / "3.jpg")
    (place / "3.jpg").write_bytes((place / "3.jpg").read_bytes()[:1500])
    return place


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("run") / "run"
    done = run("train", "entities", "--data", folder, *QUICK, "--out", out)
    assert done.exit_code == 0, done.output
    return out, done


def predicted(trained: tuple[Path, Result], place: Path) -> tuple[dict[str, dict[str, str]], Result]:
    served = run("predict", trained[0], place)
    assert served.exit_code == 0, served.output
    limit = csv.field_size_limit(10_000_000)  # the entities of thousands of words stand in one cell
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(served.stdout))}
    csv.field_size_limit(limit)
    return rows, served


def test_what_is_wrong_with_pictures_and_sentences_is_named(folder: Path) -> None:
    shown = run("data", "check", folder)
    assert shown.exit_code == 1
    assert "- 0: 0.jpg: no such file" in shown.stdout
    assert "- 3: 3.jpg: not a whole picture" in shown.stdout
    assert "train.txt:92: no word follows 'IMGID:13'" in shown.stdout
    assert "21 rows, 1 error, 1 warning" in shown.stdout


def test_the_rest_is_trained_on(trained: tuple[Path, Result]) -> None:
    out, done = trained
    assert "no word follows 'IMGID:13'" in done.stderr
    assert "image: 2 of 21 pictures are missing in their rows: 0.jpg: no such file" in done.stderr
    assert "rows: 13 train, 6 valid, 2 test" in done.stdout
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["valid_score"] <= 1 for line in lines)


def test_a_sentence_longer_than_those_of_training_is_scored_whole(
    trained: tuple[Path, Result], folder: Path
) -> None:
    with (trained[0] / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows["31"]["prediction"].split(" ")) == len(rows["31"]["target"].split(" ")) == 6
    of_run = json.loads((trained[0] / "scores.json").read_text())["scores"]["test"]
    again = json.loads(run("evaluate", trained[0], folder, "--json").stdout)["test"]
    assert {metric: again[metric] for metric in of_run} == pytest.approx(of_run)


def test_constrained_tags_follow_one_another_as_the_scheme_says(
    trained: tuple[Path, Result], folder: Path, tmp_path: Path
) -> None:
    config = json.loads((trained[0] / "model" / "config.json").read_text())
    assert config["task"]["constrained"] is True
    for row in predicted(trained, folder)[0].values():
        tags = row["prediction"].split(" ")
        assert entity_spans(tags, "strict") == entity_spans(tags)
    wrong = ("--set", "data.task_options.constraint=true", "--out", tmp_path / "run")
    refused = run("train", "entities", "--data", folder, *wrong)
    assert refused.exit_code == 1
    assert "Options of tagging must be of ['constrained'], got 'constraint'" in refused.stderr


def test_odd_words_are_tagged_as_words(trained: tuple[Path, Result], folder: Path) -> None:
    rows, _ = predicted(trained, folder)
    assert len(rows) == 21
    assert [len(rows[name]["prediction"].split(" ")) for name in ("12", "31")] == [5, 6]


def test_a_sentence_of_five_thousand_words_is_tagged_whole(
    trained: tuple[Path, Result], folder: Path, tmp_path: Path
) -> None:
    alone = write(tmp_path / "alone", {"test": [sentence(30), ODD_TEST]})
    with_long = write(tmp_path / "long", {"test": [sentence(30), f"IMGID:32\n{ODD * 1000}", ODD_TEST]})
    for place in (alone, with_long):
        for number in (30, 31, 32):
            Picture.new("RGB", (6, 4), (number,) * 3).save(place / f"{number}.jpg")
    without, _ = predicted(trained, alone)
    rows, _ = predicted(trained, with_long)
    assert {name: rows[name] for name in without} == without
    assert len(rows["32"]["prediction"].split(" ")) == 5000
    for entity in json.loads(rows["32"]["entities"]):
        assert 0 <= entity["start"] < entity["end"] <= 5000
        assert 0 < entity["confidence"] <= 1
    scored = json.loads(run("evaluate", trained[0], with_long, "--json").stdout)
    assert scored["all"]["rows"] == 3
    assert 0 < scored["all"]["token_accuracy"] <= 1


def test_sentences_without_words_are_set_aside_where_they_are_predicted(
    trained: tuple[Path, Result], tmp_path: Path
) -> None:
    place = write(tmp_path / "empty", {"test": ["IMGID:1\n", "IMGID:2\nAnn\nsings\n"]})
    rows, served = predicted(trained, place)
    assert [*rows] == ["2"]
    assert "test.txt:1: no word follows 'IMGID:1'" in served.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "Rome\tC-LOC\n",
            "train.txt:2: a tag must be O, or B-, I-, E- or S- before a type of entity, got 'C-LOC'",
        ),
        ("Rome\tNN\tB-LOC\n", "train.txt:2 must be a word, a tab and a tag, got 3 columns"),
    ],
)
def test_lines_that_are_no_word_with_a_tag_stop_every_command(
    trained: tuple[Path, Result], tmp_path: Path, line: str, message: str
) -> None:
    place = write(tmp_path / "bad", {"train": [f"IMGID:1\n{line}"], "test": [sentence(2)]})
    out = tmp_path / "run"
    for command in (
        ("data", "check", place),
        ("train", "entities", "--data", place, "--out", out),
        ("predict", trained[0], place),
        ("evaluate", trained[0], place),
    ):
        done = run(*command)
        assert done.exit_code == 1
        assert message in done.stderr
    assert not out.exists()


def test_a_label_that_was_not_trained_is_answered(trained: tuple[Path, Result], tmp_path: Path) -> None:
    place = write(tmp_path / "other", {"test": ["IMGID:1\nRome\tB-LCO\n"]})
    done = run("evaluate", trained[0], place)
    assert done.exit_code == 1
    assert "got 'B-LCO'. Did you mean 'B-LOC'?" in done.stderr
    rows, _ = predicted(trained, place)
    assert [*rows] == ["1"]
