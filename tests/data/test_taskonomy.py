"""Twins of Taskonomy's sample building, with and without the lists of CEN and TokenFusion."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import ReadOptions, load, read_taskonomy
from fuseloom.data.maps import read_map
from fuseloom.data.named import recognised
from fuseloom.errors import DataError

Paint = Callable[..., None]
VIEWS = {"train": ("point_407_view_2", "point_407_view_3", "point_1_view_0"), "val": ("point_12_view_1",)}
DOMAINS = {"rgb": (8, np.uint8), "normal": (8, np.uint8), "depth_euclidean": (16, np.uint16)}


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    for view in (one for views in VIEWS.values() for one in views):
        for domain, (bits, kind) in DOMAINS.items():
            pixels = np.full((4, 4), 1024, dtype=kind) if bits == 16 else np.full((4, 4, 3), 127, dtype=kind)
            if bits == 16:
                pixels[0] = 65535
            paint(f"building/{domain}/{view}_domain_{domain}.png", pixels)
    for split, views in VIEWS.items():
        lines = [f"{{domain}}/{view}_domain_{{domain}}.png" for view in views]
        (tmp_path / "building" / f"{split}_domain.txt").write_text("\n".join(lines))
    return tmp_path / "building"


def test_domains_are_modalities_and_any_of_them_the_target(folder: Path) -> None:
    source = read_taskonomy(folder)
    assert {name: one.kind for name, one in source.arrays.items()} == {
        "rgb": "image",
        "normal": "image",
        "depth_euclidean": "map",
    }
    assert source.ids[:2] == ["point_407_view_2", "point_407_view_3"]
    assert source.labels["split"].tolist() == ["train"] * 3 + ["test"]
    assert source.labels["point"].tolist() == ["407", "407", "1", "12"]
    assert (source.target, source.grouping) == (None, "point")
    assert "splits: papers also choose by val_domain.txt; here validation rows are drawn" in source.notes[0]
    with pytest.raises(DataError, match=r"target must name the column of taskonomy .* Known: .*rgb, normal"):
        load(folder)
    rows = load(folder, ReadOptions(target="normal"))
    assert (rows.schema.target_kind, sorted(rows.modalities)) == ("image", ["depth_euclidean", "rgb"])
    rows = load(folder, ReadOptions(target="depth_euclidean"))
    assert rows.target is not None
    assert rows.target[0].read()[0, 1:].tolist() == [[2.0] * 4] * 3


def test_depth_is_in_metres_and_the_largest_number_unknown(folder: Path) -> None:
    depth = read_taskonomy(folder).arrays["depth_euclidean"]
    values, known = read_map(depth.items[0], depth.form)
    assert (values[0, 1, 0], known[0].any(), known[1:].all()) == (2.0, False, True)


def test_without_lists_all_views_are_rows_of_no_split(folder: Path) -> None:
    for name in ("train_domain.txt", "val_domain.txt"):
        (folder / name).rename(folder.parent / name)
    source = read_taskonomy(folder)
    assert (len(source), source.split_column, "split" in source.labels) == (4, None, False)
    found = recognised(folder)
    assert found is not None
    assert found.read(folder).name == "taskonomy"
    assert read_taskonomy(folder, lists=folder.parent).split_column == "split"


def test_what_is_missing_is_answered(folder: Path) -> None:
    (folder / "val_domain.txt").write_text("rgb/point_12_view_1_domain_rgb.png")
    with pytest.raises(DataError, match=r"val_domain\.txt must have lines such as \{domain\}/point_0"):
        read_taskonomy(folder)
    (folder / "val_domain.txt").write_text("{domain}/12_{domain}.png")
    with pytest.raises(DataError, match=r"val_domain\.txt must name views such as .* got '12_rgb\.png'"):
        read_taskonomy(folder)
    (folder / "val_domain.txt").unlink()
    with pytest.raises(DataError, match=r"must hold train_domain\.txt and val_domain\.txt, got train_domain"):
        read_taskonomy(folder)
    for name in ("normal", "depth_euclidean"):
        (folder / name).rename(folder / f"{name}s")
    with pytest.raises(DataError, match=r"must hold two or more of rgb, normal, .* got rgb"):
        read_taskonomy(folder)
