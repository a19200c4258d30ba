from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import fit_preprocessors, load, make_splits, read_rows
from fuseloom.errors import DataError


def test_the_six_files_become_three_modalities(mosi_folder: Path) -> None:
    rows = load(mosi_folder)
    assert {name: m.values.shape for name, m in rows.modalities.items()} == {
        "text": (5, 3),
        "audio": (5, 2),
        "video": (5, 4),
    }
    assert rows.modalities["audio"].values[:, 0].tolist() == [1, 2, 3, 1, 2]
    assert rows.target.tolist() == ["negative", "positive", "positive", "positive", "negative"]
    assert rows.split.tolist() == ["train"] * 3 + ["test"] * 2
    assert rows.ids[3] == "test-0"


def test_labels_must_agree_between_files(mosi_folder: Path) -> None:
    path = mosi_folder / "video_train.csv"
    path.write_text(path.read_text().replace('"1"', '"0"'))
    with pytest.raises(
        DataError, match=r"video_train.csv must have the labels of text_train.csv, got another in"
    ):
        load(mosi_folder)


def test_labels_must_be_the_two_classes(mosi_folder: Path) -> None:
    for path in mosi_folder.glob("*_test.csv"):
        path.write_text(path.read_text().replace('"0"\n', '"2"\n'))
    with pytest.raises(DataError, match=r"Labels of mosi must be 0 or 1, got 2 in the test files"):
        load(mosi_folder)


def test_the_published_files_are_read(data_dir: Path) -> None:
    rows = load(data_dir / "mosi")
    widths = {
        name: p.encoder_options()["in_dim"] for name, p in fit_preprocessors(rows, np.arange(9)).items()
    }
    assert widths == {"text": 100, "audio": 73, "video": 100}
    (split,) = make_splits(rows, stratify=True, seed=0)
    assert {name: int((split == name).sum()) for name in ("train", "valid", "test")} == {
        "train": 1447 - 289,
        "valid": 289,
        "test": 752,
    }
    again = read_rows(data_dir / "mosi", rows.schema)
    np.testing.assert_array_equal(again.modalities["video"].values, rows.modalities["video"].values)
