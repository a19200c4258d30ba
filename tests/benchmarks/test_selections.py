"""The plain exchanges of channels and tokens agree with ours where something is exchanged."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fuseloom import Trace, create
from fuseloom.exchange.channel_exchange import convert_channel_exchange
from fuseloom.exchange.token_exchange import convert_token_exchange
from fuseloom.testing.goldens import GoldenCase, read_case

GOLDENS = Path(__file__).parents[1] / "goldens"

COUNTS = (2, 3)


def plain_of(name: str, part: Any, dims: dict[str, int]) -> Any:
    plain, _ = import_module("rivals").RIVALS[name]
    return plain(part.state_dict(), dims).eval()


def agree(name: str, part: Any, shape: tuple[int, ...]) -> None:
    """Outputs and the gradients of all inputs, in float64; and some is exchanged, some kept."""
    dims = part.dims
    plain = plain_of(name, part, dims).double()
    values = {n: torch.randn(shape, dtype=torch.float64).requires_grad_() for n in dims}
    trace = Trace()
    ours, theirs = list(part.double()(values, trace=trace).values()), plain(values)
    torch.testing.assert_close(ours, theirs)
    cotangents = [torch.randn_like(value) for value in ours]
    found, expected = (torch.autograd.grad(out, list(values.values()), cotangents) for out in (ours, theirs))
    torch.testing.assert_close(found, expected)
    taken = torch.cat([trace.records[f"{n}.selected"].flatten() for n in dims])
    assert taken.any()
    assert not taken.all()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("shape", [(5, 8), (5, 7, 8)])
@pytest.mark.parametrize("faithful", [False, True])
def test_channels(count: int, shape: tuple[int, ...], faithful: bool) -> None:
    part = create("channel_exchange", {f"m{i}": 8 for i in range(count)}, faithful=faithful).eval()
    with torch.no_grad():
        for norm in part.norm.values():
            norm.weight.copy_(torch.where(torch.rand(8) < 0.5, 0.01, 1.0) * torch.randn(8))
            norm.bias.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    agree("channel_exchange", part, shape)


@pytest.mark.parametrize("count", COUNTS)
def test_tokens(count: int) -> None:
    part = create("token_exchange", {f"m{i}": 8 for i in range(count)}).eval()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_()
        for name in part.dims:
            part.predictor[name].layers[-1].bias.copy_(torch.tensor([-3.9, 0.0]))
    agree("token_exchange", part, (5, 40, 8))


def test_plain_channels_reproduce_the_official_tensors() -> None:
    case = read_case(GOLDENS / "cen" / "conv_bn_exchange_train.json")
    weights, names = case.weights, ("x0", "x1")
    hidden = {
        name: F.conv2d(
            case.inputs[name], weights["conv2.module.weight"], stride=case.config["stride"], padding=1
        ).movedim(1, -1)
        for name in names
    }
    dims = {name: value.shape[-1] for name, value in hidden.items()}
    official = {n.removeprefix("bn2."): value for n, value in weights.items() if n.startswith("bn2.")}
    plain = import_module("rivals.selections").PlainChannelExchange(
        convert_channel_exchange(official, dims), dims
    )
    assert case.config["bn_threshold"] == import_module("rivals.selections")._THRESHOLD
    for index, value in enumerate(plain.train()(hidden)):
        expected = case.expected[f"output.y{index}"].movedim(1, -1)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


def check(case: GoldenCase, found: dict[str, torch.Tensor]) -> None:
    for name, value in found.items():
        limit = case.tolerance(name)
        torch.testing.assert_close(value, case.expected[name], rtol=limit.rtol, atol=limit.atol)


def pulled(case: GoldenCase, out: dict[str, torch.Tensor], sources: dict[str, torch.Tensor]) -> Any:
    """Gradients of the outputs times their cotangents, under the names of the case."""
    total = torch.stack([(v * case.inputs[f"cotangent{i}"]).sum() for i, v in enumerate(out.values())]).sum()
    found = torch.autograd.grad(total, list(sources.values()))
    return {f"grad.{name}": value for name, value in zip(sources, found, strict=True)}


def leaves(case: GoldenCase, stem: str) -> dict[str, torch.Tensor]:
    return {f"{stem}{i}": case.inputs[f"{stem}{i}"].clone().requires_grad_() for i in range(2)}


def test_plain_scores_reproduce_the_official_predictor() -> None:
    case = read_case(GOLDENS / "tokenfusion" / "score_predictor_d22_odd.json")
    streams = leaves(case, "x")
    dims = {name: value.shape[-1] for name, value in streams.items()}
    state = convert_token_exchange(case.weights, dims)
    plain = import_module("rivals.selections").PlainTokenExchange(state, dims).eval()
    scores = plain.scores(streams)
    found = {f"output.mask{i}": value for i, value in enumerate(scores.values())}
    check(case, found | {"output.l1": torch.stack([value.sum() for value in scores.values()]).sum()})


def test_plain_updates_reproduce_the_official_attention() -> None:
    """The plain form exchanges what attention, as torch computes it, adds to tokens that are scored low."""
    case = read_case(GOLDENS / "tokenfusion" / "attention_sr1.json")
    streams, masks = leaves(case, "x"), leaves(case, "mask")
    official = {key.replace(".module", ""): value for key, value in case.weights.items()}
    attention = torch.nn.MultiheadAttention(case.config["dim"], case.config["num_heads"], batch_first=True)
    packed = {
        f"in_proj_{kind}": torch.cat([official[f"{role}.{kind}"] for role in ("q", "kv")])
        for kind in ("weight", "bias")
    }
    attention.load_state_dict(packed | {f"out_proj.{k}": official[f"proj.{k}"] for k in ("weight", "bias")})
    updates = {name: attention(x, x, x, need_weights=False)[0] for name, x in streams.items()}
    scores = dict(zip(streams, masks.values(), strict=True))
    assert all(0 < (value < case.config["mask_threshold"]).float().mean() < 1 for value in masks.values())
    out = import_module("rivals.selections").updated(updates, scores)
    found = {f"output.y{i}": value for i, value in enumerate(out.values())}
    check(case, found | pulled(case, out, streams | masks))


def check_tokens(path: Path) -> None:
    case = read_case(path)
    streams = leaves(case, "x")
    scores = {name: case.inputs[f"mask{i}"] for i, name in enumerate(streams)}
    out = import_module("rivals.selections").replaced(streams, scores)
    found = {f"output.y{i}": value for i, value in enumerate(out.values())}
    check(case, found | pulled(case, out, streams))


def test_plain_tokens_are_the_official_ones_to_the_last_bit() -> None:
    check_tokens(GOLDENS / "tokenfusion" / "token_exchange_mix.json")


@pytest.mark.parametrize("stem", ["all_keep", "all_swap", "one_way"])
def test_plain_tokens_are_so_in_the_other_goldens_too(goldens_dir: Path, stem: str) -> None:
    check_tokens(goldens_dir / "tokenfusion" / f"token_exchange_{stem}.json")
