"""The program that says which methods see how two views pair."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom.registry import create, list_names
from fuseloom.tasks.classification import Classification


@pytest.fixture
def program() -> Any:
    return import_module("two_view")


def job(program: Any, fusion: str, kind: str = "tokens", steps: int = 2) -> Any:
    return program.Job(fusion=fusion, kind=kind, seed=0, steps=steps, batch=16, lr=0.01)


def test_every_exchange_and_every_merge_is_tried(program: Any) -> None:
    fusions = program.known_fusions()
    assert {name for name in fusions if "+" in name} == {f"{n}+concat" for n in list_names(kind="exchange")}
    assert {name for name in fusions if "+" not in name} <= set(list_names(kind="merge"))
    assert {"concat", "early_transformer", "late", "mro"} <= set(fusions)


def test_places_stand_beside_tokens_so_that_their_mean_is_constant(program: Any) -> None:
    tokens = torch.randn(5, 4, 8)
    placed = program._placed(tokens)
    assert placed[..., :8].equal(tokens)
    assert placed[..., 8:].unique(dim=0).shape == (1, 4, 4)
    assert torch.linalg.matrix_rank(placed[0, :, 8:]) == 4


def test_an_exchange_that_reads_an_alignment_gets_that_of_the_places(program: Any) -> None:
    streams = {"a": torch.randn(3, 4, 2), "b": torch.randn(3, 4, 2)}
    swapped = create("feature_swap", {"a": 2, "b": 2})(streams, alignment=program._same_places(3, 4))
    assert swapped["a"].equal(streams["b"])
    assert swapped["b"].equal(streams["a"])
    held = program._rows(job(program, "feature_swap+concat"))["test"]
    assert program._model(job(program, "feature_swap+concat"), 8, Classification(["x", "y"])).reads == (
        "alignment",
    )
    assert held.extras["alignment"].real.all()


@pytest.mark.parametrize("fusion", ["late", "mro", "feature_swap+concat", "modality_shift+concat"])
def test_a_run_ends_after_its_last_step(program: Any, fusion: str) -> None:
    found = program.run(job(program, fusion, "placed"))
    assert found["trained_steps"] == 2
    assert 0.3 < found["test_accuracy"] < 0.7


@pytest.mark.slow
def test_a_run_ends_where_it_is_solved(program: Any) -> None:
    found = program.run(
        program.Job(fusion="modality_shift+concat", kind="placed", seed=0, steps=700, batch=128, lr=0.01)
    )
    assert found["test_accuracy"] > 0.98
    assert found["trained_steps"] < 700


def test_results_are_stored_shown_and_not_made_again(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two_view.json"
    made = [
        {
            **vars(program.Job(fusion=fusion, kind=kind, seed=seed, steps=700, batch=128, lr=0.01)),
            "test_accuracy": 0.5 if kind == "tokens" else 0.991,
            "trained_steps": 700 if kind == "tokens" else 100 * (seed + 1),
        }
        for fusion in ("sum", "concat")
        for kind in ("tokens", "placed")
        for seed in range(2)
    ]
    path.write_text(json.dumps({"format_version": 1, "runs": made}), "utf-8")
    before = path.read_text("utf-8")
    status = program.main(["--json", str(path), "--seeds", "2", "--fusion", "sum", "--fusion", "concat"])
    assert status == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split() == ["sum", "0.500", "0.500", "0.991", "0.991", "in", "200", "steps"]
    assert shown[2].startswith("concat ")
    assert path.read_text("utf-8") == before
