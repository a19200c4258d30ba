import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fuseloom.exchange.cross_attention import CrossAttention
from fuseloom.exchange.pixel_attention import PixelAttention, convert_pixel_attention
from fuseloom.testing.goldens import read_case

GOLDENS = Path(__file__).parents[1] / "goldens" / "geminifusion"


@pytest.fixture
def rivals() -> ModuleType:
    """The plain formulations and floors of exchanges."""
    return importlib.import_module("rivals.exchanges")


def test_plain_pixel_attention_reproduces_the_official_tensors(rivals: ModuleType) -> None:
    case = read_case(GOLDENS / "fusion_c16_h8.json")
    streams = {name: case.inputs[name] for name in ("x0", "x1")}
    dims = {name: value.shape[-1] for name, value in streams.items()}
    state = convert_pixel_attention(case.weights, dims)
    found = rivals.PlainPixelAttention(state, dims, num_heads=case.config["cross_heads"])(streams)
    for index, value in enumerate(found):
        torch.testing.assert_close(value, case.expected[f"output.y{index}"], rtol=2e-5, atol=2e-5)


def test_plain_cross_attention_is_torchs_own_with_its_weights(rivals: ModuleType) -> None:
    """No official code has it; the oracle is torch's attention, computed through its weights."""
    dims, lengths = {"text": 6, "audio": 6, "video": 6}, (3, 5, 4)
    state = CrossAttention(dims).state_dict()
    streams = {n: torch.randn(2, length, 6) for n, length in zip(dims, lengths, strict=True)}
    found = rivals.PlainCrossAttention(state, dims)(streams)
    for target, value in zip(dims, found, strict=True):
        others = [name for name in dims if name != target]
        keys, values = (
            torch.cat([streams[n] @ state[f"{role}.{n}.weight"].T for n in others], 1)
            for role in ("key", "value")
        )
        oracle = torch.nn.MultiheadAttention(6, 1, bias=False, batch_first=True)
        same = torch.cat([state[f"query.{target}.weight"], torch.eye(6), torch.eye(6)])
        oracle.load_state_dict({"in_proj_weight": same, "out_proj.weight": state[f"out.{target}.weight"]})
        update, _ = oracle(streams[target], keys, values, need_weights=True)
        torch.testing.assert_close(value, streams[target] + update)


def test_the_floor_of_pixel_attention_is_sixteen_products_into_given_memory(rivals: ModuleType) -> None:
    dims = {"rgb": 4, "depth": 4}
    state = PixelAttention(dims).state_dict()
    streams = {name: torch.randn(2, 3, 4) for name in dims}
    out = [torch.empty(6, 4) for _ in range(16)]
    found = rivals.floor_pixel_attention(state, streams, out)
    assert [value.data_ptr() for value in found] == [value.data_ptr() for value in out]
    torch.testing.assert_close(found, rivals.floor_pixel_attention(state, streams))
    torch.testing.assert_close(found[0], streams["rgb"].flatten(0, 1) @ state["query.rgb.weight"].T)
