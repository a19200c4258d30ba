from pathlib import Path

import pytest

from fuseloom.data import load
from fuseloom.errors import DataError


def test_the_six_files_become_six_modalities(mfeat_folder: Path) -> None:
    rows = load(mfeat_folder)
    assert list(rows.modalities) == ["fou", "fac", "kar", "pix", "zer", "mor"]
    assert [m.values.shape[1] for m in rows.modalities.values()] == [1, 2, 3, 4, 5, 6]
    assert rows.modalities["kar"].values.tolist()[2] == [2.0, 2.25, 2.5]
    assert rows.target.tolist() == ["0", "1", "2", "3"]
    assert rows.schema.target_kind == "category"


def test_labels_must_agree_between_files(mfeat_folder: Path) -> None:
    path = mfeat_folder / "mfeat-zer.csv"
    path.write_text(path.read_text().rsplit("\n", 1)[0])
    with pytest.raises(
        DataError, match=r"mfeat-zer.csv must have as many rows as mfeat-fou.csv, got 3 and 4"
    ):
        load(mfeat_folder)


def test_the_published_files_are_read(data_dir: Path) -> None:
    rows = load(data_dir / "mfeat")
    shapes = [m.values.shape for m in rows.modalities.values()]
    assert shapes == [(2000, width) for width in (76, 216, 64, 240, 47, 6)]
    assert [(rows.target == str(digit)).sum() for digit in range(10)] == [200] * 10
