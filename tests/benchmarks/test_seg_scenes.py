"""The program that labels pixels of generated scenes."""

import json
from importlib import import_module
from pathlib import Path


def test_variants_are_run_and_printed_with_ceilings_and_failing_sensors(tmp_path: Path) -> None:
    program = import_module("seg_scenes")
    data = program.written(tmp_path, scenes={"train": 4, "valid": 2, "test": 2}, pixels=32)
    assert program.written(tmp_path, scenes={"train": 4}, pixels=32) == data
    settings = ("fit.max_epochs=1", "data.conditions=failure")
    chosen = ("mean of streams", "depth alone")
    found = program.measured(data, tmp_path / "runs", workers=1, settings=settings, variants=chosen)
    stored = json.dumps(found | {"environment": {"commit": "none", "workers": 1}})
    assert str(tmp_path) not in stored
    text = program.render(json.loads(stored))
    assert "scenes-seg, seed 2, 32 x 32 pixels, 4 scenes to learn from (fit.max_epochs=1, " in text
    assert "can be expected of who sees: rgb 0." in text
    assert "failure night" in text
    assert "depth alone" in text
    assert "GeminiFusion" not in text
