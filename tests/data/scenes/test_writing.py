"""Pictures as files, and what is told and stated of a set."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuseloom.data.scenes.msa import MsaCeilings, MsaScenes
from fuseloom.data.scenes.writing import counted, jpeg, write_facts
from fuseloom.errors import MissingExtraError

PIXELS = np.linspace(0, 255, 16 * 8 * 3).reshape(8, 16, 3).astype(np.uint8)


def test_a_picture_is_read_as_it_was_but_for_a_little() -> None:
    with Image.open(io.BytesIO(jpeg(PIXELS))) as picture:
        assert picture.format == "JPEG"
        assert np.abs(np.asarray(picture).astype(int) - PIXELS).mean() < 2


def test_writing_needs_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"Writing pictures needs Pillow\. .*'fuseloom\[vision\]'"):
        jpeg(PIXELS)


def test_every_thousandth_and_the_last_are_told() -> None:
    lines: list[str] = []
    assert list(counted(range(2500), "train", 2500, lines.append)) == list(range(2500))
    assert lines == ["[1000/2500] train", "[2000/2500] train", "[2500/2500] train"]


def test_facts_are_json_with_the_settings_before_and_the_ceilings_behind(tmp_path: Path) -> None:
    stated = {"test": MsaCeilings(text=0.5, image=0.25, both=1.0)}
    write_facts(tmp_path / "facts.json", MsaScenes(pixels=16), stated, seed=3, examples={"test": 8})
    facts = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    assert facts == {
        "settings": {"contradict": 0.1, "pixels": 16},
        "seed": 3,
        "examples": {"test": 8},
        "ceilings": {"test": {"text": 0.5, "image": 0.25, "both": 1.0}},
    }
    assert list(facts) == ["settings", "seed", "examples", "ceilings"]
