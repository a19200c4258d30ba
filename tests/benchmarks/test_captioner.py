"""The program that says what captioning costs."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom.testing.goldens import read_case


@pytest.fixture
def program() -> Any:
    return import_module("captioner")


def test_the_plain_formulation_reproduces_the_official_tensors(program: Any, goldens_dir: Path) -> None:
    for path in sorted((goldens_dir / "muse").glob("nicatt_*.json")):
        case = read_case(path)
        widths = {
            name: case.config[f"{key}_dim"]
            for name, key in (("attention", "attention"), ("embedding", "embed"), ("hidden", "decoder"))
        }
        model = program.PlainCaptioner(case.config["encoder_dim"], case.config["vocab_size"], **widths).eval()
        model.load_state_dict(case.weights)
        given = (
            case.inputs["encoder_out"].flatten(1, 2),
            case.inputs["captions"],
            case.inputs["lengths"][:, 0],
        )
        logits, looks, order = model(*given)
        assert order.equal(case.expected["output.sort_ind"])
        torch.testing.assert_close(logits, case.expected["output.predictions"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(looks, case.expected["output.alphas"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            model.loss(*given)[None], case.expected["output.loss"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("kind", ["full", "ragged"])
def test_both_have_the_same_loss_and_gradient(program: Any, kind: str) -> None:
    size = program.Size(batch=5, patches=4, length=12, words=20, dim=6, width=8)
    ours, plain = program.models(size)
    data = program.draw(size, kind)
    image = data["image"].requires_grad_()
    losses = [
        ours.eval().loss(image, data["captions"], data["mask"]),
        plain.eval().loss(image, data["captions"], data["lengths"]),
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, image)[0] for loss in losses))


def test_it_times_both_and_searches(program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    small = {
        "batch": 4,
        "patches": 4,
        "length": 10,
        "words": 20,
        "dim": 6,
        "width": 8,
        "rounds": 2,
        "seconds": 0,
    }
    options = [text for name, value in small.items() for text in (f"--{name}", str(value))]
    assert program.main([*options, "--json", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert next((one["captions"], one["words"]) for one in found["training"]) == ("full", 40)
    assert 32 <= found["training"][1]["words"] < 40
    assert all(list(one["seconds"]) == ["ours", "plain", "keys once"] for one in found["training"])
    assert list(found["search"]) == ["width 1", "width 5"]
    shown = capsys.readouterr().out
    assert "ragged, " in shown
    assert "width 5" in shown
