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
    first, once = program.seeing(tmp_path, rows=100, seed=9, settings=["fit.max_epochs=1"])
    eye, seen = program.seeing(tmp_path, rows=100, seed=9, lessons=2, settings=["fit.max_epochs=1"])
    assert "map" in seen.scores["test"]
    assert str(first) in (eye / "config.yaml").read_text("utf-8")
    assert seen.train_s > once.train_s
    found = program.measured(table, data, eye, tmp_path / "runs", workers=1)
    written = json.loads((data / "scenes-ner.json").read_text("utf-8"))
    assert found["ceilings"] == written["ceilings"]["test"]
    (one,) = found["found"]["tables"]
    assert [row["name"] for row in one["variants"]] == ["MuSE", "text alone"]
    assert [len(row["runs"]) for row in one["variants"]] == [3, 3]
    stored = json.dumps(
        found
        | {"things": {"pictures": 100, "train_s": 90.0}, "environment": {"commit": "none", "workers": 1}}
    )
    assert str(tmp_path) not in stored.replace(f"model.start.image={eye}", "")
    text = program.render(json.loads(stored))
    assert "scenes-ner, seed 9, 100 rows (fit.max_epochs=1, fit.lr=1e-3, data.fraction=0.5)" in text
    assert "what 100 other pictures showed, in 2 minutes" in text
    assert "All runs trained for 0 minutes in sum, 1 at once." in text
    assert "MuSE" in text
    assert "text alone" in text


def test_a_sweep_is_stored_and_rendered_too(program: Any, tmp_path: Path) -> None:
    settings = ("fit.max_epochs=1", "data.fraction=0.2")
    table = program.ScenesTable(experiment="muse-theta", data_seed=9, rows=100, settings=settings)
    data = program.drawn(table.set, tmp_path, rows=table.rows, seed=table.data_seed)
    eye, _ = program.seeing(tmp_path, rows=100, seed=9, settings=["fit.max_epochs=1"])
    found = program.measured(table, data, eye, tmp_path / "runs", workers=1)
    stored = json.dumps(
        found | {"things": {"pictures": 60, "train_s": 1.0}, "environment": {"commit": "none", "workers": 1}}
    )
    text = program.render(json.loads(stored))
    assert "0.25" in text
    assert "scenes-ner" in text


def test_what_is_not_finite_is_none_in_json(program: Any) -> None:
    given = {"a": (1.0, float("nan")), "b": [{"c": float("inf"), "d": "text", "e": 3}]}
    assert program.finite(given) == {"a": [1.0, None], "b": [{"c": None, "d": "text", "e": 3}]}


def test_every_table_is_of_an_experiment_with_such_variants(program: Any) -> None:
    for table in program.TABLES.values():
        config = program.read_experiment(table.experiment)
        if table.variants:
            assert set(table.variants) <= set(config.variants)
            assert config.reference in table.variants
