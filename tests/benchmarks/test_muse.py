"""The program that says what a training step of MuSE costs, and the plain formulation in it."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom.testing.goldens import read_case

pytest.importorskip("timm")
pytest.importorskip("transformers")


@pytest.fixture
def program() -> Any:
    return import_module("muse")


@pytest.mark.parametrize("name", ["ct_01_quantile_skip", "ct_09_authors_shape", "ct_10_integer_index"])
def test_the_plain_transformer_reproduces_the_official_tensors(name: str, goldens_dir: Path) -> None:
    case = read_case(goldens_dir / "muse" / f"{name}.json")
    option = case.config.__getitem__
    model = import_module("rivals.muse").PlainTransformer(
        option("d_model"),
        num_layers=option("num_layers"),
        num_heads=option("nhead"),
        hidden=option("dim_feedforward"),
        layers=range(option("replace_start"), option("replace_end") + 1),
        theta=option("theta"),
    )
    model.load_state_dict(case.weights)
    streams = {n: case.inputs[f"src{n}"].clone().requires_grad_() for n in "12"}
    out = model.eval()(streams)
    cotangents = [case.inputs[f"cotangent{n}"] for n in streams]
    gradients = torch.autograd.grad(list(out.values()), list(streams.values()), cotangents)
    for n, gradient in zip(streams, gradients, strict=True):
        torch.testing.assert_close(out[n], case.expected[f"output.out{n}"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, case.expected[f"grad.src{n}"], rtol=1e-3, atol=3e-4)


def test_both_have_the_same_loss_gradient_and_paths(program: Any, tiny: dict[str, Any]) -> None:
    size, device = program.Size(**tiny), torch.device("cpu")
    both, rows = program.entrants(size, device), program.draw(size, device)
    both.ours.eval()
    both.plain.eval()
    losses = [both.our_loss(rows), both.plain.loss(rows)]
    torch.testing.assert_close(*losses)
    shared = [value for value in both.plain.encoders.parameters() if value.requires_grad]
    ours, plain = (torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses)
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-6)
    paths = [path[path >= 0].tolist() for path in both.our_paths(rows)]
    assert paths == both.plain.predict(rows)


@pytest.mark.parametrize("part", ["classifier", "captioner.embedding"])
def test_models_that_differ_are_not_timed(program: Any, part: str, tiny: dict[str, Any]) -> None:
    size, device = program.Size(**tiny), torch.device("cpu")
    both, rows = program.entrants(size, device), program.draw(size, device)
    program.check(both, rows)
    torch.nn.init.normal_(both.plain.get_submodule(part).weight)
    with pytest.raises(SystemExit, match="The two must agree, got losses"):
        program.check(both, rows)


def test_it_times_parts_and_the_whole(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: dict[str, Any]
) -> None:
    path = tmp_path / "found.json"
    given = [text for name, value in tiny.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert program.main([*given, "--rounds", "2", "--seconds", "0", "--json", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert set(found["seconds"]["transformer"]) == {"ours", "plain", "no exchange"}
    assert set(found["seconds"]["training step"]) == {"ours", "plain"}
    assert list(found["seconds"]["painter"]) == ["ours"]
    step = found["seconds"]["training step"]["ours"]["median_s"]
    exchange = found["seconds"]["exchange"]["ours"]["median_s"]
    assert found["shares"]["exchange"] == pytest.approx(exchange / step)
    assert all(megabytes > 0 for megabytes in found["peak_mb"].values())
    shown = capsys.readouterr().out
    assert "exchange, as a difference" in shown
    assert "peak memory of forward and backward: ours " in shown
