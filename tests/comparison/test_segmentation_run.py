"""Labels of pixels from a folder of pictures to masks: trained, scored, predicted."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.comparison.diagnosis import Subject, diagnose_model
from fuseloom.comparison.evaluate import evaluate_model
from fuseloom.comparison.experiments import is_experiment
from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import load, read_rows
from fuseloom.data.label_maps import read_label_format, read_labels
from fuseloom.data.scenes.seg import SEG_LABELS, SegScenes, write_seg_scenes
from fuseloom.errors import DataError, OptionError
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.train.masks import write_masks
from fuseloom.train.recipe import Recipe, read_recipe
from fuseloom.train.saved import SavedModel

Image = pytest.importorskip("PIL.Image")

SIZE = {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1]}
SETTINGS = [
    "data.modalities=[rgb,depth]",
    "model.fusion=tokenfusion",
    "model.dropout=0",
    f"model.options.tokenfusion={json.dumps({'size': SIZE, 'head_dim': 8})}",
    "fit.batch_size=4",
    "fit.max_epochs=2",
    "fit.select=metric",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "scenes"
    scenes = {"train": 12, "valid": 4, "test": 4}
    write_seg_scenes(data, SegScenes(pixels=40), scenes=scenes, failures=["night"], seed=5)
    return data


def recipe(folder: Path, *more: str) -> Recipe:
    return read_recipe("digits", [f"data.source={folder}", "model.encoders={}", *SETTINGS, *more])


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    augment = 'fit.augment={"rgb+depth":{"RandomHorizontalFlip":{}}}'
    result = run_recipe(recipe(folder, augment), out)
    assert result is not None
    assert result.rows == {"train": 12, "valid": 4, "test": 4}
    assert result.scores["test"].keys() >= {"miou", "pixel_accuracy", "iou_sky"}
    return out


def test_scenes_are_read_with_the_units_of_their_maps(folder: Path) -> None:
    rows = load(folder)
    assert rows.schema.label_format is not None
    assert rows.schema.label_format.names == SEG_LABELS
    assert len(rows) == 24
    assert rows.split is not None
    assert dict(zip(*np.unique(rows.split, return_counts=True), strict=True)) == {
        "": 4,
        "test": 4,
        "train": 12,
        "valid": 4,
    }
    assert set(rows.labels["failure"]) == {"none", "night"}


def test_a_trained_model_is_scored_by_split_and_by_any_column(folder: Path, run: Path) -> None:
    saved = SavedModel.of_run(run)
    rows = read_rows(str(folder), saved.schema)
    scores = evaluate_model(saved, rows)
    assert {name: one.rows for name, one in scores.items()} == {"all": 24, "train": 12, "valid": 4, "test": 4}
    assert scores["test"].metrics["miou"] == pytest.approx(
        run_recipe(read_recipe(str(run / "config.yaml")), run).scores["test"]["miou"]  # type: ignore[union-attr]
    )
    by = evaluate_model(saved, rows, by="failure")
    assert {name: one.rows for name, one in by.items()} == {"all": 24, "night": 4, "none": 20}
    with pytest.raises(DataError, match=r"by must name a column of scenes-seg, got 'weather'\. Known: \["):
        evaluate_model(saved, rows, by="weather")
    shown = CliRunner().invoke(fuseloom, ["evaluate", str(run), str(folder), "--by", "failure"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[0].split() == ["all", "night", "none"]


def test_masks_are_as_large_as_their_pictures_and_say_what_they_mean(
    folder: Path, run: Path, tmp_path: Path
) -> None:
    large = tmp_path / "new"
    large.mkdir()
    names = ["rgb,depth"]
    for row in range(2):
        for kind in ("rgb", "depth"):
            picture = Image.open(folder / kind / f"test_{row}.png").resize((50, 60), Image.Resampling.NEAREST)
            picture.save(large / f"{kind}_{row}.png")
        names.append(f"rgb_{row}.png,depth_{row}.png")
    (large / "rows.csv").write_text("\n".join(names), encoding="utf-8")
    arguments = ["predict", str(run), str(large / "rows.csv"), "--masks", str(tmp_path / "masks")]
    shown = CliRunner().invoke(fuseloom, arguments)
    assert shown.exit_code == 0, shown.output
    assert f"2 masks and their labels in {tmp_path / 'masks'}" in shown.stderr
    form = read_label_format(tmp_path / "masks/labels.csv")
    assert form.names == SEG_LABELS
    labels = read_labels(tmp_path / "masks/1.png", form)
    assert labels.shape == (60, 50)
    colours = Image.open(tmp_path / "masks/1.png").convert("RGB")
    assert read_labels(np.asarray(colours), form).tolist() == labels.tolist()
    (first, _) = csv.DictReader(shown.stdout.splitlines())
    shares = np.bincount(labels.reshape(-1), minlength=12) / labels.size
    assert float(first["share_ground"]) == pytest.approx(shares[1], abs=0.1)


def test_scenes_can_be_looked_at_more_than_once(folder: Path, run: Path) -> None:
    def scored(*options: str) -> float:
        shown = CliRunner().invoke(fuseloom, ["evaluate", str(run), str(folder), "--json", *options])
        assert shown.exit_code == 0, shown.output
        return float(json.loads(shown.stdout)["test"]["pixel_accuracy"])

    assert 0 <= scored("--scales", "0.8,1", "--mirror") <= 1
    assert 0 <= scored("--window", "32x32") <= 1
    for option, value, message in (
        ("--scales", "a", "must be numbers with ',' between them, got 'a'"),
        ("--window", "3", "must be HxW, such as 480x640, got '3'"),
        ("--scales", "-1", "scales must be above 0"),
    ):
        shown = CliRunner().invoke(fuseloom, ["evaluate", str(run), str(folder), option, value])
        assert shown.exit_code != 0
        assert message in shown.output


def test_a_modality_may_be_missing_when_it_predicts(folder: Path, run: Path) -> None:
    saved = SavedModel.of_run(run)
    rows = read_rows(str(folder), saved.schema)
    assert rows.modalities["depth"] is not None
    dark = {**rows.modalities, "depth": type(rows.modalities["depth"])(items=np.full(24, None, dtype=object))}
    found = saved.predictions(replace(rows, modalities=dark))
    assert found.shape == (24, 40, 40)
    assert found.dtype == np.uint8


def test_what_needs_one_answer_per_row_says_so(folder: Path, run: Path) -> None:
    saved = SavedModel.of_run(run)
    rows = read_rows(str(folder), saved.schema)
    assert rows.target is not None
    batch = saved.encode(rows)
    target = torch.from_numpy(saved.task.encode(rows.target))
    subject = Subject(
        name="tokenfusion",
        model=saved.model,
        task=saved.task,
        metric=("miou", saved.task.metrics["miou"]),
        rows=type(batch)(inputs=batch.inputs, masks=batch.masks, target=target),
    )
    found = diagnose_model(subject, only=["emap", "reliance", "attention"])
    assert found.reliance is not None
    assert (
        found.not_told["emap"]
        == "It needs one answer for each row, and segmentation answers at each of its pixels."
    )
    assert "dense prediction has none" in found.not_told["attention"]


def test_what_cannot_be_trained_is_answered(folder: Path, tmp_path: Path) -> None:
    sizes = ["model.encoders.rgb=image,size=32", "model.encoders.depth=map,size=40"]
    with pytest.raises(OptionError, match=r"must have a fusion for one, .* got 'concat' for segmentation"):
        run_recipe(recipe(folder, "model.fusion=concat"), tmp_path / "a")
    with pytest.raises(
        OptionError, match=r"size must be one for all modalities of segmentation, got \['32',"
    ):
        run_recipe(recipe(folder, *sizes), tmp_path / "b")
    shown = CliRunner().invoke(fuseloom, ["compare", str(folder), "--out", str(tmp_path / "c")])
    assert shown.exit_code != 0
    said = " ".join(shown.output.split())
    assert "got segmentation. Train one model of these data, with the same options" in said
    for command, name in re.findall(r"fuseloom (train|recipe) (\S+) ", said):
        assert is_experiment(name) == (command == "recipe")
    assert "fuseloom train segformer-small --data SOURCE. Several" in said


def test_a_mask_is_called_as_its_row(folder: Path, tmp_path: Path) -> None:
    rows = load(folder)
    named = replace(rows, ids=["a/b", "a b", *rows.ids[2:]])
    task = Segmentation(SEG_LABELS, size=(40, 40))
    assert write_masks(tmp_path, task, named, np.zeros((len(rows), 40, 40), dtype=np.uint8)) == 24
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"a_b.png", "a_b_1.png", "train_2.png", "labels.csv"}


def test_masks_of_other_tasks_are_refused(tmp_path: Path) -> None:
    rows = load("digits")
    with pytest.raises(OptionError, match="masks must be of a model that labels pixels, got one for classif"):
        write_masks(tmp_path, Classification(["a", "b"]), rows, np.zeros((1, 2)))


def test_a_size_of_one_modality_is_that_of_all(folder: Path, tmp_path: Path) -> None:
    run_recipe(recipe(folder, "model.encoders.rgb=image,size=24x32", "fit.max_epochs=1"), tmp_path / "run")
    saved = SavedModel.of_run(tmp_path / "run")
    assert saved.task.size == (24, 32)
    assert {name: one.state()["size"] for name, one in saved.preprocessors.items()} == {
        "rgb": "24x32",
        "depth": "24x32",
    }


def test_test_rows_are_scored_under_conditions_too(folder: Path, tmp_path: Path) -> None:
    result = run_recipe(recipe(folder, "fit.max_epochs=1", "data.conditions=failure"), tmp_path / "run")
    assert result is not None
    assert list(result.scores) == ["valid", "test", "failure night", "failure none"]
    assert result.scores["failure none"] == result.scores["test"]
    saved = SavedModel.of_run(tmp_path / "run")
    by = evaluate_model(saved, read_rows(str(folder), saved.schema), by="failure")
    assert result.scores["failure night"] == by["night"].metrics
    with pytest.raises(
        DataError, match=r"conditions must name a label of scenes-seg, .* got 'fail'.*failure"
    ):
        run_recipe(recipe(folder, "data.conditions=fail"), tmp_path / "other")
