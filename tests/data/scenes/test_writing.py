"""Pictures as files."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuseloom.data.scenes.writing import save_jpeg
from fuseloom.errors import MissingExtraError

PIXELS = np.linspace(0, 255, 16 * 8 * 3).reshape(8, 16, 3).astype(np.uint8)


def test_a_picture_is_read_as_it_was_but_for_a_little(tmp_path: Path) -> None:
    save_jpeg(PIXELS, tmp_path / "one.jpg")
    with Image.open(tmp_path / "one.jpg") as picture:
        assert picture.format == "JPEG"
        assert np.abs(np.asarray(picture).astype(int) - PIXELS).mean() < 2


def test_writing_needs_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"Writing pictures needs Pillow\. .*'fuseloom\[vision\]'"):
        save_jpeg(PIXELS, tmp_path / "one.jpg")
