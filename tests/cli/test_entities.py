"""Sentences with pictures, tagged: from a folder to a saved model that is served, scored and read."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fuseloom.cli.group import fuseloom
from fuseloom.data.scenes.ner import NerScenes, write_ner_scenes

QUICK = ["--set", "fit.max_epochs=2", "--set", "model.dim=8", "--set", "fit.batch_size=8"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four sentences with their pictures."""
    place = tmp_path_factory.mktemp("scenes")
    write_ner_scenes(place, NerScenes(pixels=16), seed=3, sentences={"train": 12, "valid": 6, "test": 6})
    return place


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    done = run("train", "entities", "--data", folder, *QUICK, "--out", out)
    assert done.exit_code == 0, done.output
    assert "span_f1" in done.stdout
    return out


def test_words_are_tagged_with_what_the_picture_says(folder: Path, trained: Path) -> None:
    served = run("predict", trained, folder)
    assert served.exit_code == 0, served.output
    rows = list(csv.DictReader(io.StringIO(served.stdout)))
    assert len(rows) == 24
    for row in rows:
        for entity in json.loads(row["entities"]):
            assert 0 <= entity["start"] < entity["end"] <= len(row["prediction"].split(" "))
            assert 0 <= entity["confidence"] <= 1
    config = json.loads((trained / "model" / "config.json").read_text())
    assert config["model"]["anchor"] == "text"
    assert set(config["model"]["encoders"]) == {"text", "image"}


def test_it_is_scored_by_entities(folder: Path, trained: Path) -> None:
    scored = json.loads(run("evaluate", trained, folder, "--json").stdout)
    assert scored["all"]["rows"] == 24
    assert {"span_f1", "precision", "recall", "span_f1_seqeval", "token_accuracy"} <= scored["all"].keys()
    assert 0 <= scored["all"]["span_f1"] <= 1


def test_it_is_diagnosed_by_entities_and_what_cannot_be_told_says_why(folder: Path, trained: Path) -> None:
    done = run("diagnose", trained, folder, "--only", "emap,reliance,exchanged", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["metric"], found["rows"]) == ("span_f1", 6)
    assert found["reliance"]["hidden"].keys() == {"text", "image"}
    assert "answers at each word of its text" in found["not_told"]["emap"]
    assert "has no exchange that says what it takes" in found["not_told"]["exchanged"]


def test_text_alone_is_told_and_trained_on(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("train.txt", "valid.txt", "test.txt"):
        (alone / name).write_bytes((folder / name).read_bytes())
    done = run("train", "entities", "--data", alone, *QUICK, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "text is the only modality" in done.stderr


def test_a_fusion_without_positions_is_answered(folder: Path, tmp_path: Path) -> None:
    done = run(
        "train", "entities", "--data", folder, *QUICK, "--fusion", "attention_pool", "--out", tmp_path / "run"
    )
    assert done.exit_code == 1
    assert "A merge behind an anchor must keep positions, got 'attention_pool'" in done.stderr


def test_of_muse_exchanged_words_and_patches_are_drawn(folder: Path, tmp_path: Path) -> None:
    small = "model.options.muse={num_layers: 2, num_heads: 2, hidden: 8, eta: 2, captioning: 0, painting: 0}"
    muse = [
        "--set",
        "model.fusion=muse",
        "--set",
        small,
        "--set",
        "model.encoders.image=image,body=patch,patch=4",
    ]
    done = run("train", "entities", "--data", folder, *QUICK, *muse, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    told = run(
        "diagnose", tmp_path / "run", folder, "--only", "exchanged", "--json", "--out", tmp_path / "look"
    )
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)["exchanged"]
    assert [layer["modality"] for layer in found["layers"]] == ["text", "image"]
    text, image = found["samples"][0]["streams"]
    assert len(text["words"]) == text["positions"]
    assert image["grid"] == [4, 4]
    page = (tmp_path / "look" / "diagnosis.html").read_text()
    assert "<mark>" in page
    assert '<image href="data:image/' in page
