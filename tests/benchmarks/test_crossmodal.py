"""The plain forms of the exchanges made of transformers, on the golden tensors."""

from collections.abc import Mapping
from importlib import import_module
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.exchange.bottleneck import convert_bottleneck
from fuseloom.exchange.mult import convert_mult
from fuseloom.nn.crossmodal import convert_crossmodal
from fuseloom.testing.goldens import GoldenCase, read_case

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def crossmodal() -> Any:
    return import_module("rivals.crossmodal")


def check(case: GoldenCase, found: Mapping[str, Tensor]) -> None:
    for name, value in found.items():
        limit = case.tolerance(name)
        torch.testing.assert_close(value, case.expected[name], rtol=limit.rtol, atol=limit.atol)


def gradients(output: Tensor, cotangent: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(output, list(inputs.values()), cotangent)
    return {f"grad.{name}": value for name, value in zip(inputs, found, strict=True)}


def leaves(case: GoldenCase, *names: str) -> dict[str, Tensor]:
    return {name: case.inputs[name].clone().requires_grad_() for name in names}


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def check_encoder(crossmodal: Any, path: Path) -> None:
    case = read_case(path)
    inputs = leaves(case, *(name for name in ("x", "kv") if name in case.inputs))
    encoder = crossmodal.PlainCrossmodal(
        convert_crossmodal(case.weights), case.config["num_heads"], causal=case.config["attn_mask"]
    ).eval()
    tokens = (crossmodal.placed_unless_zero(value.transpose(0, 1)) for value in inputs.values())
    output = encoder(*tokens).transpose(0, 1)
    check(case, {"output.y": output} | gradients(output, case.inputs["cotangent"], inputs))


@pytest.mark.parametrize("stem", ["cross__mask_q4_k7", "cross__nomask_odd_dim", "self__causal"])
def test_plain_crossmodal_reproduces_the_official_encoders(crossmodal: Any, stem: str) -> None:
    check_encoder(crossmodal, GOLDENS / "lecture" / f"mult_encoder_{stem}.json")


def check_mult(crossmodal: Any, path: Path) -> None:
    """All pairs by the plain form; behind them the transformer, the last step and the head of the model."""
    case = read_case(path)
    inputs, heads = leaves(case, "x_l", "x_a", "x_v"), case.config["num_heads"]
    streams = {name.removeprefix("x_"): value for name, value in inputs.items()}
    dims = {name: value.shape[2] for name, value in streams.items()}
    # The official model has no map back to the width of a stream.
    out = {f"{t}_from_{s}": torch.zeros(dims[t], case.config["d"]) for t, s in permutations(dims, 2)}
    state = convert_mult(case.weights, {name: name for name in dims}, out)
    place, causal = crossmodal.placed_unless_zero, case.config["attn_mask"]
    plain = crossmodal.PlainMult(state, dims, num_heads=heads, place=place, causal=causal).eval()
    memory = []
    for target, joined in plain.join(streams).items():
        weights = convert_crossmodal(under(case.weights, f"trans_{target}_mem."))
        encoder = crossmodal.PlainCrossmodal(weights, heads, causal=causal).eval()
        memory.append(encoder(place(joined))[:, -1])
    last = torch.cat(memory, 1)
    first, second, head = (under(case.weights, f"{name}.") for name in ("proj1", "proj2", "out_layer"))
    output = F.linear(last + F.linear(F.linear(last, **first).relu(), **second), **head)
    found = {"output.last_hs": last, "output.y": output}
    check(case, found | gradients(output, case.inputs["cotangent"], inputs))


def test_plain_mult_reproduces_the_official_model(crossmodal: Any) -> None:
    check_mult(crossmodal, GOLDENS / "lecture" / "mult_model__d8_skipproj_out8.json")


def test_what_has_no_place_is_a_token_whose_first_feature_is_zero(crossmodal: Any) -> None:
    tokens = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    ours, official = crossmodal.placed(tokens), crossmodal.placed_unless_zero(tokens)
    assert official[0, 0].tolist() == [0.0, pytest.approx(2**0.5)]
    assert official[0, 1].equal(ours[0, 1])
    assert not official[0, 0].equal(ours[0, 0])


def check_bottleneck(crossmodal: Any, path: Path) -> None:
    """From the tokens that enter the bottleneck layers to those behind the closing norms."""
    case = read_case(path)
    names = {"a": "audio", "v": "video"}
    streams = {name: case.expected[f"mid.{full}_blocks_out"] for name, full in names.items()}
    dims = dict.fromkeys(names, case.config["embed_dim"])
    plain = crossmodal.PlainBottleneck(convert_bottleneck(case.weights, names), dims).eval()
    assert case.config["bottleneck_block_heads"] == 1
    outputs = {}
    for (name, full), value in zip(names.items(), plain(streams), strict=True):
        outputs[name] = F.layer_norm(value, value.shape[2:], **under(case.weights, f"norm_{full}."), eps=1e-6)
    total = torch.stack([(outputs[n] * case.inputs[f"cotangent_{n}"]).sum() for n in names]).sum()
    (shared,) = torch.autograd.grad(total, plain.bottleneck)
    check(
        case,
        {f"output.{name}": value for name, value in outputs.items()}
        | {"grad.weight.bot_token": shared.unsqueeze(0)},
    )


def test_plain_bottleneck_reproduces_the_official_tensors(crossmodal: Any) -> None:
    check_bottleneck(crossmodal, GOLDENS / "rollingq" / "mbt_depth3_multi2.json")


@pytest.mark.parametrize(
    ("check_case", "stem"),
    [
        (check_encoder, "lecture/mult_encoder_cross__mask_q8_k3"),
        (check_mult, "lecture/mult_model__d10_all"),
        (check_bottleneck, "rollingq/mbt_depth2_multi1_bot2"),
    ],
)
def test_the_other_goldens_are_reproduced_too(
    crossmodal: Any, goldens_dir: Path, check_case: Any, stem: str
) -> None:
    check_case(crossmodal, goldens_dir / f"{stem}.json")
