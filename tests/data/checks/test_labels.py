"""What is told of maps of labels, on data made for it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.data import ReadOptions, load
from fuseloom.data.checks import Finding, check
from fuseloom.data.label_maps import IGNORED

Image = pytest.importorskip("PIL.Image")
ROWS = 30


def scenes(folder: Path, labels: Sequence[np.ndarray] | None = None, size: tuple[int, int] = (8, 10)) -> Path:
    """Photographs with depth and labels 0 to 2; three rows in five are trained."""
    generator = np.random.default_rng(0)
    lines = ["photo,depth,mask,split"]
    for row in range(ROWS):
        label = generator.integers(0, 3, (8, 10)).astype(np.uint8)
        label[0, 0] = IGNORED
        label = label if labels is None or row >= len(labels) else labels[row]
        pixels = {
            "photo": generator.integers(0, 255, (*size, 3)).astype(np.uint8),
            "depth": generator.integers(1, 9999, (8, 10)).astype(np.uint16),
            "mask": label.astype(np.uint8),
        }
        for name, one in pixels.items():
            Image.fromarray(one).save(folder / f"{name}_{row}.png")
        split = ("train", "valid", "train", "test", "train")[row % 5]
        lines.append(",".join([*(f"{name}_{row}.png" for name in pixels), split]))
    (folder / "scenes.csv").write_text("\n".join(lines))
    (folder / "labels.csv").write_text("label,name\n0,road\n1,sky\n2,car\n")
    return folder / "scenes.csv"


def found(table: Path, *, named: bool = True) -> dict[str, Finding]:
    names = str(table.parent / "labels.csv") if named else None
    options = ReadOptions(image=("photo",), map=("depth",), labels=names)
    return {one.kind: one for one in check(load(table, options, target="mask")).findings}


def full(value: int, *rest: int) -> np.ndarray:
    """A map of one label, whose first pixels are of others."""
    label = np.full((8, 10), value)
    label.ravel()[: len(rest)] = rest
    return label


def test_maps_that_are_well_have_no_finding(tmp_path: Path) -> None:
    assert found(scenes(tmp_path)) == {}


def test_copies_of_a_scene_are_no_contradiction(tmp_path: Path) -> None:
    table = scenes(tmp_path)
    for name in ("photo", "depth", "mask"):
        (tmp_path / f"{name}_2.png").write_bytes((tmp_path / f"{name}_0.png").read_bytes())
    assert found(table) == {}


def test_labels_that_no_training_pixel_has_are_an_error(tmp_path: Path) -> None:
    plain = [full(0, 1) for _ in range(ROWS)]
    plain[1], plain[3] = full(0, 1, 2, 2), full(0, 1, 2)
    told = found(scenes(tmp_path, plain))
    one = told["untrained-classes"]
    assert (one.severity, one.where) == ("error", ("car: 3 pixels",))
    assert told["imbalance"].where == ("car: 3",)


def test_labels_that_no_pixel_has_and_rare_ones_are_told(tmp_path: Path) -> None:
    told = found(scenes(tmp_path, [full(0, *([1] if row == 0 else [])) for row in range(ROWS)]))
    assert told["empty-classes"].where == ("car",)
    assert told["imbalance"].where == ("sky: 1",)
    assert "of the 2,399 pixels of the most frequent" in told["imbalance"].what


def test_without_names_the_numbers_are_told_and_none_is_empty(tmp_path: Path) -> None:
    plain = [full(0, 4) for _ in range(ROWS)]
    plain[1] = full(0, 4, 7)
    told = found(scenes(tmp_path, plain), named=False)
    assert told["untrained-classes"].where == ("7: 1 pixels",)
    assert "empty-classes" not in told


def test_pixels_that_do_not_count_are_told_by_split(tmp_path: Path) -> None:
    many = [full(0, 1, 2) for _ in range(ROWS)]
    for row in (1, 3, 8):
        many[row] = full(IGNORED)
    told = found(scenes(tmp_path, many))
    assert told["blank-labels"].where == ("1", "3", "8")
    assert told["uncounted-pixels"].where == ("valid: 16.7%", "test: 33.3%")
    table = tmp_path / "scenes.csv"
    lines = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines))
    assert found(table)["uncounted-pixels"].where == ("all rows: 10.0%",)


def test_labels_of_another_size_or_shape_are_told(tmp_path: Path) -> None:
    table = scenes(tmp_path, [full(1, 0, 2)[:, :8], full(1, 0, 2).repeat(2, 0).repeat(2, 1)])
    told = found(table)
    assert told["unregistered"].where == ("0: photo 10 x 8, depth 10 x 8, labels 8 x 8",)
    assert told["other-sizes"].where == ("1: photo 10 x 8, depth 10 x 8, labels 20 x 16",)


def test_the_command_tells_labels_out_of_range_and_untrained_ones(tmp_path: Path) -> None:
    plain = [full(0, 1) for _ in range(ROWS)]
    plain[0], plain[3] = full(3), full(0, 2)
    table = scenes(tmp_path, plain)
    arguments = ["--target", "mask", "--image", "photo", "--map", "depth"]
    arguments += ["--labels", str(tmp_path / "labels.csv")]
    told = CliRunner().invoke(fuseloom, ["data", "check", str(table), *arguments, "--json"])
    assert told.exit_code == 1
    wrong = {one["kind"]: one["where"] for one in json.loads(told.stdout)["findings"]}
    assert "got mask_0.png: labels must be whole numbers from 0 to 2, or" in wrong["unreadable"][0]
    assert wrong["untrained-classes"] == ["car: 1 pixels"]


def test_a_description_says_how_large_maps_are_and_where_labels_stand(tmp_path: Path) -> None:
    table = scenes(tmp_path, [full(IGNORED, 0), full(1, 0, 2)] * (ROWS // 2))
    arguments = ["--target", "mask", "--image", "photo", "--map", "depth"]
    told = CliRunner().invoke(fuseloom, ["data", "describe", str(table), *arguments])
    assert "mask: maps of labels, 3 labels, 10 x 8 pixels, of which 49.4% do not count" in told.stdout
    assert "0 30 (100.0%), 1 15 (50.0%), 2 15 (50.0%)" in told.stdout
