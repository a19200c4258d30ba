"""The program that labels and makes pixels of generated scenes."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


def small(name: str, **changes: Any) -> Any:
    table = import_module("seg_scenes").TABLES[name]
    return replace(table, scenes={"train": 4, "valid": 2, "test": 2}, pixels=32, **changes)


def shown(table: Any, folder: Path, *variants: str) -> str:
    program = import_module("seg_scenes")
    data = program.written(table, folder)
    assert program.written(table, folder) == data
    found = program.measured(table, data, folder / "runs", workers=1, variants=variants)
    stored = json.dumps(found | {"environment": {"commit": "none", "workers": 1}})
    assert str(folder) not in stored
    return str(program.render(json.loads(stored)))


def test_variants_are_run_and_printed_with_ceilings_and_failing_sensors(tmp_path: Path) -> None:
    table = small("labels", settings=("fit.max_epochs=1", "data.conditions=failure"))
    text = shown(table, tmp_path, "mean of streams", "depth alone")
    assert "scenes-seg, seed 2, 32 x 32 pixels, 4 scenes to learn from (fit.max_epochs=1, " in text
    assert "can be expected of who sees: rgb 0." in text
    assert "failure night" in text
    assert "depth alone" in text
    assert "GeminiFusion" not in text


@pytest.mark.parametrize(("name", "variant"), [("normals", "depth alone"), ("rgb", "shade alone")])
def test_pictures_are_made_and_scored(tmp_path: Path, name: str, variant: str) -> None:
    text = shown(small(name, settings=("fit.max_epochs=1",)), tmp_path, "TokenFusion", variant)
    assert "scenes-seg, seed 3, 32 x 32 pixels, 4 scenes to learn from (fit.max_epochs=1)" in text
    assert "test mae" in text
    assert "fid_random" in text
    assert variant in text
    assert "can be expected" not in text
