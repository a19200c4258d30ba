import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data.idx import read_idx
from fuseloom.errors import DataError


def write(path: Path, values: np.ndarray, sizes: tuple[int, ...] | None = None) -> Path:
    announced = values.shape if sizes is None else sizes
    head = bytes((0, 0, 8, len(announced))) + struct.pack(f">{len(announced)}I", *announced)
    path.write_bytes(gzip.compress(head + values.tobytes()))
    return path


def test_values_and_axes_come_back(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(read_idx(write(tmp_path / "a.gz", pixels), axes=3), pixels)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((5,), r"a\.gz must hold the 5 values it announces, got 4"),
        ((3,), r"must hold the 3 values it announces, got more"),
        ((2**31,), r"must hold at most 268,435,456 values, got 2,147,483,648"),
    ],
)
def test_no_more_is_read_than_is_announced(tmp_path: Path, sizes: tuple[int, ...], message: str) -> None:
    path = write(tmp_path / "a.gz", np.zeros(4, np.uint8), sizes)
    with pytest.raises(DataError, match=message):
        read_idx(path, axes=1)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 1)) + struct.pack(">I", 10) + bytes(2**26)))
    with pytest.raises(DataError, match="got more"):
        read_idx(path, axes=1)


def test_other_axes_types_and_damage_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", np.zeros(400, np.uint8))
    with pytest.raises(
        DataError, match="must be an IDX file of bytes with 3 axes, got one that begins with 0"
    ):
        read_idx(path, axes=3)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match="must be a whole file"):
        read_idx(path, axes=1)
    path.write_bytes(b"digits")
    with pytest.raises(DataError, match="must be a whole file, got: Not a gzipped file"):
        read_idx(path, axes=1)
