"""Saved models as ONNX files, which say what the models say."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data import load
from fuseloom.data.scenes.seg import SegScenes, write_seg_scenes
from fuseloom.errors import OptionError
from fuseloom.train import exported
from fuseloom.train.exported import export_onnx
from fuseloom.train.recipe import read_recipe
from fuseloom.train.saved import SavedModel

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "digits"
    run_recipe(read_recipe("digits", ["fit.max_epochs=1", "model.dim=8"]), out)
    return out


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_rows_gives_the_same_outputs_for_any_number_of_them(digits: Path, tmp_path: Path) -> None:
    saved, rows = SavedModel.of_run(digits), load("digits")
    found = export_onnx(saved, rows, tmp_path / "model.onnx")
    assert sorted(found.inputs) == ["bottom", "bottom.mask", "top", "top.mask"]
    assert (found.output, found.rows) == ("outputs", len(rows))
    assert found.largest < 1e-4
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    batch = saved.encode(rows).take(slice(0, 1))
    inputs = {name: value.numpy() for name, value in batch.inputs.items()}
    inputs |= {f"{name}.mask": mask.numpy() for name, mask in batch.masks.items()}
    (one,) = session.run(None, inputs)
    assert saved.task.columns(saved.task.predict(one.astype(np.float64)))["prediction"].shape == (1,)
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    about = json.loads(told["fuseloom"])
    assert about["task"]["name"] == "classification"
    assert [one["name"] for one in about["preprocessors"]] == list(saved.preprocessors)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fusion", ["cen", "geminifusion", "segformer", "tokenfusion"])
def test_a_model_of_pixels_gives_the_same_masks(fusion: str, tmp_path: Path) -> None:
    data = tmp_path / "scenes"
    counts = {"train": 8, "valid": 4, "test": 4}
    write_seg_scenes(data, SegScenes(pixels=64), scenes=counts, seed=5)
    size = {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1]}
    small = {"size": size, "head_dim": 8}
    if fusion == "cen":
        small = {"depths": [1, 1, 1, 1], "dim": 4, "head_dim": 8}
    settings = [f"data.source={data}", "data.modalities=[rgb,depth]", f"model.fusion={fusion}"]
    more = [f"model.options.{fusion}={json.dumps(small)}", "model.encoders={}", "fit.max_epochs=1"]
    run_recipe(read_recipe("digits", [*settings, *more, "fit.batch_size=4"]), tmp_path / "run")
    shown = CliRunner().invoke(
        fuseloom, ["export", str(tmp_path / "run"), str(data), "--out", str(tmp_path / "model.onnx")]
    )
    assert shown.exit_code == 0, shown.output
    first, second = shown.stdout.strip().splitlines()[-2:]
    assert first.endswith("inputs rgb, rgb.mask, depth, depth.mask; output labels")
    assert second == "on 16 rows, 0.00% of the labels differ from the model's"


def test_one_row_does_not_say_what_a_batch_is(digits: Path, tmp_path: Path) -> None:
    saved = SavedModel.of_run(digits)
    rows = load("digits")
    first = {name: value.take(slice(0, 1)) for name, value in rows.modalities.items()}
    one = replace(rows, modalities=first, ids=rows.ids[:1])
    with pytest.raises(OptionError, match=r"rows must be two at least, .* got 1"):
        export_onnx(saved, one, tmp_path / "model.onnx")


@pytest.mark.filterwarnings("ignore")
def test_the_verb_tells_what_the_graph_takes(digits: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(
        fuseloom, ["export", str(digits), "digits", "--out", str(tmp_path / "model.onnx")]
    )
    assert shown.exit_code == 0, shown.output
    assert "outputs differ from the model's by" in shown.stdout


def test_a_part_that_no_graph_can_have_is_named(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("no such operator\nand more")

    monkeypatch.setattr(exported.torch.onnx, "export", refuse)
    with pytest.raises(OptionError, match=r"a graph can have, got: no such operator\.$"):
        export_onnx(SavedModel.of_run(digits), load("digits"), tmp_path / "model.onnx")
