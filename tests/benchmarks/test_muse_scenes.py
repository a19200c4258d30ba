"""The program that trains MuSE on generated scenes."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def program() -> Any:
    return import_module("muse_scenes")


def test_a_table_is_drawn_run_and_stored_with_its_ceilings(program: Any, tmp_path: Path) -> None:
    settings = ("fit.max_epochs=1", "fit.lr=1e-3", "data.fraction=0.5")
    table = program.ScenesTable(
        experiment="muse-ablations",
        set="scenes-ner",
        data_seed=9,
        rows=100,
        variants=("MuSE", "text alone"),
        settings=settings,
    )
    data = program.drawn(table.set, tmp_path, rows=table.rows, seed=table.data_seed)
    eye, seen = program.seeing(tmp_path, rows=100, seed=9, settings=["fit.max_epochs=1"])
    assert "map" in seen.scores["test"]
    found = program.measured(table, data, eye, tmp_path / "runs", workers=1)
    written = json.loads((data / "scenes-ner.json").read_text("utf-8"))
    assert found["ceilings"] == written["ceilings"]["test"]
    assert [row["variant"] for row in found["variants"]] == ["MuSE", "text alone"]
    assert all(len(row["scores"]) == 3 for row in found["variants"])
    text = program.render(json.loads(json.dumps(found)) | {"environment": {"commit": "none"}})
    assert "scenes-ner, seed 9, 100 rows" in text
    assert text.splitlines()[2].startswith("MuSE ")
    assert text.splitlines()[3].split("(")[0].split()[:2] == ["text", "alone"]


def test_every_table_is_of_an_experiment_with_such_variants(program: Any) -> None:
    for table in program.TABLES.values():
        config = program.read_experiment(table.experiment)
        assert set(table.variants) <= set(config.variants)
        assert config.reference in (table.variants or config.variants)
