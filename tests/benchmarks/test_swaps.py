"""The plain forms of the exchanges that swap and that shift, on the golden tensors."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom import create
from fuseloom.exchange.modality_shift import convert_modality_shift
from fuseloom.testing.goldens import read_case
from fuseloom.types import Alignment

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def swaps() -> Any:
    return import_module("rivals.swaps")


@pytest.mark.parametrize("stem", ["one_to_one", "projected", "text_only", "weighted_mix"])
def test_plain_feature_swap_reproduces_the_specified_tensors(swaps: Any, stem: str) -> None:
    case = read_case(GOLDENS / "fsmr" / f"spec_swap_{stem}.json")
    streams = {name: case.inputs[name] for name in ("text", "vision")}
    pairs = case.inputs["pairs"]
    alignment = Alignment(
        source_index=pairs[..., 0],
        target_index=pairs[..., 1],
        weight=case.inputs.get("pair_weights", torch.ones(pairs.shape[:2])),
    )
    state = {
        f"bring.{target}_from_{source}.{kind}": case.weights[f"{source}_to_{target}.{kind}"]
        for source, target in (("text", "vision"), ("vision", "text"))
        for kind in ("weight", "bias")
        if case.weights
    }
    targets = None if case.config["direction"] == "both" else ("text",)
    plain = swaps.PlainFeatureSwap(
        state, {n: v.shape[2] for n, v in streams.items()}, mix=case.config["alpha"], targets=targets
    )
    for name, value in zip(streams, plain(streams, alignment={"vision_from_text": alignment}), strict=True):
        torch.testing.assert_close(value, case.expected[f"output.{name}"], rtol=1e-4, atol=1e-5)


def check_shift(swaps: Any, path: Path) -> None:
    case = read_case(path)
    streams = {name: case.inputs[name] for name in ("text_embedding", "visual", "acoustic")}
    state = convert_modality_shift(case.weights, {"visual": "v", "acoustic": "a"})
    dims = {name: value.shape[2] for name, value in streams.items()}
    out, *others = swaps.PlainModalityShift(state, dims, beta=case.config["beta_shift"])(streams)
    torch.testing.assert_close(out, case.expected["output.y"], rtol=1e-5, atol=1e-6)
    assert others[0] is streams["visual"]


def test_plain_modality_shift_reproduces_the_official_tensors(swaps: Any) -> None:
    check_shift(swaps, GOLDENS / "lecture" / "mag__edge_zero_norm.json")


@pytest.mark.parametrize("stem", ["beta1", "beta1e-3"])
def test_plain_modality_shift_reproduces_the_other_goldens_too(
    swaps: Any, goldens_dir: Path, stem: str
) -> None:
    check_shift(swaps, goldens_dir / "lecture" / f"mag__eval_{stem}.json")


def test_the_pairs_of_the_race_swap_a_quarter_of_the_tokens(swaps: Any) -> None:
    streams = {"a": torch.randn(2, 8, 4), "b": torch.randn(2, 8, 4)}
    out = create("feature_swap", {"a": 4, "b": 4})(streams, **swaps.crossed_pairs(streams))
    assert (out["a"] != streams["a"]).any(-1).sum(1).tolist() == [2, 2]
    assert out["b"][:, 7].equal(streams["a"][:, 0])


def test_the_floors_are_the_products_or_the_copies(swaps: Any) -> None:
    streams = {"a": torch.randn(2, 8, 4), "b": torch.randn(2, 8, 4)}
    *copies, to_b, to_a = swaps.floor_feature_swap({}, streams)
    torch.testing.assert_close(copies, list(streams.values()))
    assert (to_b.shape, to_a.shape) == ((2, 2, 4), (2, 2, 4))
    state = create("modality_shift", {"a": 4, "b": 4}).state_dict()
    products = swaps.floor_modality_shift(state, streams)
    torch.testing.assert_close(products[0], streams["b"] @ state["read.b.weight"].T)
    torch.testing.assert_close(products[1], streams["a"] @ state["gate.b.weight"].T)
