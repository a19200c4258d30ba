"""A picture of a scene from others: from a folder of scenes to pictures in files."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.comparison.evaluate import evaluate_model
from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import read_rows
from fuseloom.data.scenes.seg import SegScenes, write_seg_scenes
from fuseloom.models.picture_systems import PicturePredictor
from fuseloom.tasks.translation import Translation
from fuseloom.train.recipe import Recipe, read_recipe
from fuseloom.train.saved import SavedModel

Image = pytest.importorskip("PIL.Image")

SMALL = ["model.options.cen_translation.dim=4", "model.options.cen_translation.depth=3"]
SETTINGS = [*SMALL, "fit.batch_size=4", "fit.max_epochs=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "scenes"
    write_seg_scenes(data, SegScenes(pixels=40), scenes={"train": 12, "valid": 4, "test": 4}, seed=5)
    return data


def recipe(folder: Path, *more: str) -> Recipe:
    return read_recipe("cen-translation-small", [f"data.source={folder}", *SETTINGS, *more])


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    augment = 'fit.augment={"*":{"RandomCrop":{"size":40,"padding":4}}}'
    result = run_recipe(recipe(folder, augment), out)
    assert result is not None
    assert result.rows == {"train": 12, "valid": 4, "test": 4}
    assert result.metric == "mae"
    assert not result.higher_is_better
    assert result.scores["test"].keys() == {"mae", "mse", "psnr", "fid_random", "kid_random"}
    return out


def test_a_saved_model_makes_the_pictures_of_its_run_without_its_judge(folder: Path, run: Path) -> None:
    saved = SavedModel.of_run(run)
    assert isinstance(saved.model, PicturePredictor)
    assert saved.model.judge is None
    rows = read_rows(str(folder), saved.schema)
    scores = evaluate_model(saved, rows)
    expected = json.loads((run / "scores.json").read_text())["scores"]["test"]
    assert scores["test"].metrics == pytest.approx(expected, rel=1e-5)


def test_made_pictures_are_files_as_large_as_their_inputs(folder: Path, run: Path, tmp_path: Path) -> None:
    large = tmp_path / "new"
    large.mkdir()
    lines = ["depth,edges"]
    for row in range(2):
        for kind in ("depth", "edges"):
            picture = Image.open(folder / kind / f"test_{row}.png").resize((50, 60), Image.Resampling.NEAREST)
            picture.save(large / f"{kind}_{row}.png")
        lines.append(f"depth_{row}.png,edges_{row}.png")
    (large / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    arguments = ["predict", str(run), str(large / "rows.csv"), "--pictures", str(tmp_path / "made")]
    shown = CliRunner().invoke(fuseloom, arguments)
    assert shown.exit_code == 0, shown.output
    assert "2 pictures in" in shown.output
    first, _ = sorted((tmp_path / "made").glob("*.png"))
    pixels = np.asarray(Image.open(first))
    assert (pixels.shape, pixels.dtype) == ((60, 50, 3), np.uint8)
    refused = CliRunner().invoke(fuseloom, [*arguments[:3], "--masks", str(tmp_path / "masks")])
    assert refused.exit_code == 1
    assert "one for translation" in refused.output
    refused = CliRunner().invoke(fuseloom, [*arguments[:3], "--mirror"])
    assert refused.exit_code == 1
    assert "models that label no pixels" in refused.output


def test_a_map_is_made_in_its_own_numbers(folder: Path, tmp_path: Path) -> None:
    made = recipe(
        folder,
        "data.read.target=depth",
        "data.modalities=[rgb,edges]",
        "data.task_options.log=true",
        "fit.max_epochs=1",
    )
    run_recipe(made, tmp_path / "run")
    saved = SavedModel.of_run(tmp_path / "run")
    assert isinstance(saved.task, Translation)
    assert saved.task.log
    assert saved.schema.target_kind == "map"
    arguments = ["predict", str(tmp_path / "run"), str(folder), "--pictures", str(tmp_path / "made")]
    shown = CliRunner().invoke(fuseloom, arguments)
    assert shown.exit_code == 0, shown.output
    numbers = np.load(tmp_path / "made" / "test_0.npy")
    assert (numbers.shape, numbers.dtype) == ((40, 40), np.float32)
    low, high = saved.task.low, saved.task.high
    assert low - 1e-3 <= numbers.min() < numbers.max() <= high + 1e-3
    assert 1 < low < high < 1000, "metres, not millimetres"


def test_the_published_settings_run_on_the_published_layout(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for point in range(24):
        for domain, shape in (("rgb", (30, 30, 3)), ("reshading", (30, 30, 3)), ("edge_texture", (30, 30))):
            home = tmp_path / "building" / domain
            home.mkdir(parents=True, exist_ok=True)
            kind = np.uint16 if domain == "edge_texture" else np.uint8
            pixels = generator.integers(0, 255, shape).astype(kind)
            Image.fromarray(pixels).save(home / f"point_{point}_view_0_domain_{domain}.png")
    crop = '{"*":{"Resize":{"size":[27,27]},"RandomCrop":{"size":24},"RandomHorizontalFlip":{}}}'
    settings = [
        *SMALL,
        "model.encoders.reshading=image,size=24",
        f"fit.augment={crop}",
        "fit.max_epochs=1",
        "trainer.accelerator=cpu",
    ]
    source = f"data.source={tmp_path / 'building'}"
    result = run_recipe(read_recipe("cen-taskonomy", [source, *settings]), tmp_path / "run")
    assert result is not None
    assert sum(result.rows.values()) == 24
    assert 0 < result.scores["test"]["mae"] < 2  # type: ignore[operator]


def test_pictures_are_refused_of_a_model_that_makes_none(folder: Path, tmp_path: Path) -> None:
    options = json.dumps({"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1]})
    labels = read_recipe(
        "segformer-small",
        [
            f"data.source={folder}",
            f"model.options.segformer.size={options}",
            "model.options.segformer.head_dim=8",
            "fit.max_epochs=1",
        ],
    )
    run_recipe(labels, tmp_path / "run")
    shown = CliRunner().invoke(
        fuseloom, ["predict", str(tmp_path / "run"), str(folder), "--pictures", str(tmp_path / "made")]
    )
    assert shown.exit_code == 1
    assert "pictures must be of a model that makes them, got one for segmentation" in shown.output
