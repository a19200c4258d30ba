from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from fuseloom.data.cells import clean
from fuseloom.data.dataset import Image
from fuseloom.data.files import array_files, checked, file_bytes, items_of, load_array
from fuseloom.data.ragged import Problems
from fuseloom.errors import DataError


def test_paths_are_relative_to_the_table_unless_they_are_absolute(tmp_path: Path) -> None:
    items = items_of(clean(["a b/ü.png", "", "/x/y.png"]), tmp_path)
    assert items.tolist() == [tmp_path / "a b" / "ü.png", None, Path("/x/y.png")]
    assert items_of(clean(["a.png"]), None).tolist() == [Path("a.png")]


def test_every_item_is_read_once_and_the_first_reason_kept(tmp_path: Path) -> None:
    Picture.new("RGB", (3, 3)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    items = items_of(clean(["good.png", "bad.png", "NA", "no.png"]), tmp_path)
    problems: Problems = {3: "said before"}
    modality = Image(items=items)
    assert checked(modality, "photo", problems) is modality
    assert problems == {1: "photo: bad.png: not a picture in a known format", 3: "said before"}


def test_arrays_of_files_are_laid_beside_one_another(tmp_path: Path) -> None:
    for name, length in (("a", 2), ("b", 3)):
        np.save(tmp_path / f"{name}.npy", np.arange(length * 2).reshape(length, 2))
    problems: Problems = {}
    found = array_files(items_of(clean(["a.npy", "b.npy", "?", "no.npy"]), tmp_path), "steps", problems)
    assert found.values[1].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.mask.tolist() == [[True, True, False], [True] * 3, [False] * 3, [False] * 3]
    assert problems == {3: "steps: no.npy: must be a file that can be read, got: no such file or directory"}


def test_an_array_is_mapped_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0))
    array = load_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array.sum() == 15


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(DataError, match="must be a file that can be read, got: embedded null byte"):
        load_array(Path("a\0b.npy"))


def test_bytes_of_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match=r"x\.csv must be a file that can be read, got: is a directory\."):
        file_bytes(tmp_path / "x.csv")
