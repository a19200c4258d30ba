import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fuseloom.data import encode, fit_preprocessors, load
from fuseloom.data.preprocessing import Store
from fuseloom.data.preprocessing._base import chunks
from fuseloom.errors import DataError

VALUES = np.random.default_rng(0).normal(size=(9000, 3)).astype(np.float32)


def test_what_is_large_lies_on_disk_and_is_the_same(tmp_path: Path) -> None:
    rows = load({"a": VALUES, "b": VALUES[:, :1]}, target=np.arange(9000) % 2)
    fitted = fit_preprocessors(rows, np.arange(8000))
    store = Store(folder=tmp_path / "new", large=VALUES.nbytes - 1)
    inputs, masks = encode(rows, fitted, store)
    expected, expected_masks = encode(rows, fitted)
    for name in ("a", "b"):
        assert torch.equal(inputs[name], expected[name])
        assert torch.equal(masks[name], expected_masks[name])
    assert store.file("a") == tmp_path / "new" / "a.npy"
    assert store.file("b") is None
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "a.npy"), expected["a"].numpy())


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(large=0)
    values, mask = store.put("a", iter([(VALUES[:5], np.ones(5, np.bool_))]), rows=5)
    assert not isinstance(values, np.memmap)
    assert mask.all()
    assert store.file("a") is None
    assert not list(tmp_path.iterdir())


def test_parts_are_laid_end_to_end(tmp_path: Path) -> None:
    parts = [(VALUES[start : start + 7], VALUES[start : start + 7, 0] > 0) for start in range(0, 20, 7)]
    values, mask = Store(folder=tmp_path, large=0).put("a", iter(parts), rows=21)
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, VALUES[:21])
    np.testing.assert_array_equal(mask, VALUES[:21, 0] > 0)


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        DataError, match=r"must have room for 0\.1 GB of inputs, got: No space left on device"
    ):
        Store(folder=tmp_path, large=0).put("a", iter([(VALUES[:5], VALUES[:5, 0] > 0)]), rows=9_000_000)


def test_long_rows_are_taken_a_few_at_a_time():
    short, long = np.zeros((9000, 4), np.float32), np.zeros((9, 1000, 40_000), np.uint8)
    assert [part.stop - part.start for part in chunks(short)] == [4096] * 3
    assert [part.stop - part.start for part in chunks(long)] == [1] * 9
    assert [part.start for part in chunks(short, rows=150, most=100)] == [0, 100]
    assert len(list(chunks(short[:0]))) == 1
