"""The plain loop over samples and tokens is what the official code computes."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom import create
from fuseloom.testing.goldens import read_case

GOLDENS = Path(__file__).parents[1] / "goldens"


def drawn(batch: int, tokens: int, width: int) -> tuple[dict[str, Any], dict[str, Any]]:
    names = ("text", "image")
    streams = {name: torch.randn(batch, tokens, width).requires_grad_() for name in names}
    return streams, {name: torch.rand(batch, tokens) for name in names}


@pytest.mark.parametrize("name", ["case7", "case14"])
def test_the_loop_reproduces_the_official_tensors(name: str) -> None:
    case = read_case(GOLDENS / "muse" / "select_01_part.json")
    (config,) = (one for one in case.config["cases"] if f"case{one['case']}" == name)
    assert config["quant"]
    assert config["skip"]
    streams = {n: case.inputs[f"{name}.x{n}"].clone().requires_grad_() for n in "12"}
    scores = {n: case.inputs[f"{name}.attn{n}"][:, 0] for n in streams}
    out = import_module("rivals.cls").loop(streams, scores, theta=config["theta"])
    cotangents = [case.inputs[f"{name}.cotangent{n}"] for n in streams]
    gradients = torch.autograd.grad(out, list(streams.values()), cotangents)
    for n, value, gradient in zip(streams, out, gradients, strict=True):
        torch.testing.assert_close(value, case.expected[f"output.{name}.x{n}"], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient, case.expected[f"grad.{name}.x{n}"], rtol=1e-5, atol=1e-5)


def test_the_loop_agrees_with_scores_given() -> None:
    loop = import_module("rivals.cls").loop
    streams, scores = drawn(3, 32, 4)
    part = create("cls_exchange", dict.fromkeys(streams, 4))
    ours, theirs = list(part(streams, scores=scores).values()), loop(streams, scores)
    torch.testing.assert_close(ours, theirs)
    cotangents = [torch.randn_like(value) for value in ours]
    found, expected = (torch.autograd.grad(out, list(streams.values()), cotangents) for out in (ours, theirs))
    torch.testing.assert_close(found, expected)
