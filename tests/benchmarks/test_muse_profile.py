"""The program that says what each of our ways to compute MuSE saves."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("transformers")

SWAPS = ["nothing", "the exchange", "attention", "the captioner", "the CRF", "all of these"]


@pytest.fixture
def program() -> Any:
    return import_module("muse_profile")


@pytest.fixture
def behind(program: Any, tiny: dict[str, Any]) -> Any:
    """Models, streams and rows of a tiny size."""
    size, device = program.Size(**tiny), torch.device("cpu")
    both, rows = program.entrants(size, device), program.draw(size, device)
    streams = {name: torch.randn(3, 5, 16, requires_grad=True) for name in ("text", "image")}
    return program.swapped(both.ours, both.plain, both.task), streams, rows


def test_a_swap_changes_how_and_not_what_is_computed(behind: Any) -> None:
    models, streams, rows = behind
    assert list(models) == SWAPS
    found = {}
    for name, model in models.items():
        model.parts.eval()
        losses = model.losses(streams, rows)
        pulled = [torch.autograd.grad(loss, streams["image"], retain_graph=True) for loss in losses]
        found[name] = losses, pulled, model.paths(streams, rows)
    losses, gradients, paths = found["nothing"]
    for other, pulled, others in found.values():
        torch.testing.assert_close(other, losses)
        torch.testing.assert_close(pulled, gradients, rtol=1e-3, atol=1e-7)
        assert others == paths


def test_each_swap_is_of_its_own_part(behind: Any) -> None:
    models, _, _ = behind
    marks = {"_Loop", "MultiheadAttention", "PlainCaptioner", "CRF", "ClsExchange", "Captioner"}
    found = {
        name: {type(part).__name__ for part in model.parts.modules()} & marks
        for name, model in models.items()
    }
    assert found == {
        "nothing": {"ClsExchange", "Captioner"},
        "the exchange": {"_Loop", "Captioner"},
        "attention": {"MultiheadAttention", "ClsExchange", "Captioner"},
        "the captioner": {"ClsExchange", "PlainCaptioner"},
        "the CRF": {"ClsExchange", "Captioner", "CRF"},
        "all of these": {"MultiheadAttention", "PlainCaptioner", "CRF"},
    }


def test_models_that_differ_are_not_timed(program: Any, behind: Any) -> None:
    models, streams, rows = behind
    torch.nn.init.ones_(models["the captioner"].parts[1].captioner.fc.weight)
    with pytest.raises(SystemExit, match=r"All must agree, got losses .*\(the captioner\)"):
        program.check(models, streams, rows)


def test_it_times_every_swap_and_says_what_of_a_step_it_saves(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: dict[str, Any]
) -> None:
    path = tmp_path / "found.json"
    given = [text for name, value in tiny.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert program.main([*given, "--rounds", "2", "--seconds", "0", "--json", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert list(found["training"]) == list(found["peak_mb"]) == SWAPS
    assert list(found["inference"]) == [name for name in SWAPS if name != "the captioner"]
    assert all(megabytes > 0 for megabytes in found["peak_mb"].values())
    shown = capsys.readouterr().out
    assert shown == program.render(found)
    found["training"]["the CRF"]["median_s"] = found["training"]["nothing"]["median_s"] * 2
    found["step"]["ours"]["median_s"] = found["training"]["nothing"]["median_s"] * 10
    line = next(line for line in program.render(found).splitlines() if line.startswith("the CRF"))
    assert " 10.00%" in line
    assert "2.00 " in line
