from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.merge.routing import Routing, convert_routing
from fuseloom.types import Trace

Array = NDArray[np.float64]
DIMS = {"text": 4, "audio": 3, "video": 2}


def redraw(merge: Routing) -> Routing:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_(std=0.5)
    return merge


def fuse(merge: Routing, values: dict[str, Array], order: int) -> tuple[Array, dict[str, float]]:
    """One sample of the modalities that are there, by the formula; and the gates of its subsets."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    names = [name for name in merge.dims if name in values]
    votes, gates = [], {}
    for size in range(1, order + 1):
        for subset in combinations(names, size):
            key = "_from_".join(subset)
            joined = np.concatenate([values[name] for name in subset])
            *features, gate = state[f"encode.{key}.weight"] @ joined + state[f"encode.{key}.bias"]
            votes.append(np.einsum("f,fje->je", np.tanh(features), state[f"vote.{key}"]))
            gates[key] = 1 / (1 + np.exp(-gate))
    shape = next(value.shape[1:] for key, value in state.items() if key.startswith("vote."))
    concepts = np.ones(shape)
    for _ in range(merge.iterations):
        total = np.zeros(shape)
        for vote, gate in zip(votes, gates.values(), strict=True):
            agreement = np.exp((vote * concepts).sum(1))
            total += gate * (agreement / agreement.sum())[:, None] * vote
        concepts = total
    return state["out.weight"] @ concepts.ravel() + state["out.bias"], gates


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_subsets_up_to_the_order_are_routed_to_concepts(order: int) -> None:
    merge = redraw(Routing(DIMS, 5, order=order, concepts=(3, 4), feature_dim=6, iterations=4))
    assert len(merge.subsets) == [3, 6, 7, 7][order - 1]
    streams = {name: torch.randn(7, width) for name, width in DIMS.items()}
    fused = merge(streams).detach().numpy()
    for sample in range(7):
        row = {name: value[sample].double().numpy() for name, value in streams.items()}
        np.testing.assert_allclose(fused[sample], fuse(merge, row, min(order, 3))[0], rtol=1e-3, atol=1e-4)


def test_a_subset_with_an_absent_modality_is_silent(case: Any) -> None:
    merge = redraw(Routing(case.dims, 5, concepts=(3, 4), feature_dim=6))
    trace = Trace()
    fused = merge(case.streams, case.masks, trace=trace).detach().numpy()
    for sample in range(4):
        there = {n: case.pooled[n][sample] for n in case.dims if case.present[n][sample]}
        expected, gates = fuse(merge, there, 2)
        np.testing.assert_allclose(fused[sample], expected, rtol=1e-3, atol=1e-4)
        wanted = [gates.get(key, 0.0) for key in ("text", "audio", "text_from_audio")]
        np.testing.assert_allclose(trace.records["gate"][sample], wanted, rtol=1e-4)
    np.testing.assert_allclose(fused[3], merge.out.bias.detach(), rtol=1e-6)
    routing = trace.records["routing"]
    torch.testing.assert_close(routing.sum(-1), torch.ones(4, 3))
    assert routing[2].std() > 0.01


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(Routing({"rgb": 4, "depth": 3}, 5, concepts=(3, 4), feature_dim=6, pool=None))
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        expected, _ = fuse(merge, {n: maps[n][b, :, h, w].double().numpy() for n in there}, 2)
        np.testing.assert_allclose(fused[b, :, h, w], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "claim"),
    [
        ({}, "nonlinear"),
        ({"order": 1}, "nonlinear"),
        ({"order": 1, "iterations": 1}, "additive"),
        ({"order": 1, "concepts": (1, 4)}, "additive"),
        ({"order": 2, "iterations": 1}, "nonlinear"),
    ],
)
def test_it_claims_to_be_additive_only_where_it_is(options: dict[str, Any], claim: str) -> None:
    merge = redraw(Routing({"text": 4, "audio": 3}, 5, **options)).double()
    a, b = ({"text": torch.randn(9, 4).double(), "audio": torch.randn(9, 3).double()} for _ in range(2))
    mixed = merge(a) - merge(a | {"text": b["text"]}) - merge(a | {"audio": b["audio"]}) + merge(b)
    assert merge.card.interaction == claim
    assert (mixed.abs().max() < 1e-10) == (claim == "additive")


@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    fused = Routing(dims, dim=256)({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.8 < fused.std() < 1.5


def test_official_weights_convert() -> None:
    weights = torch.randn(7, 6, 3, 4)
    merge = Routing(DIMS, concepts=(3, 4), feature_dim=6)
    merge.vote.load_state_dict(convert_routing(weights, DIMS))
    features, gates = torch.randn(5, 7, 6), torch.rand(5, 7)
    votes, concepts = torch.einsum("bid,idje->bije", features, weights), torch.ones(5, 3, 4)
    for _ in range(3):
        shares = torch.einsum("bije,bje->bij", votes, concepts).softmax(2)
        concepts = torch.einsum("bi,bij,bije->bje", gates, shares, votes)
    found = merge.route(features, gates)
    torch.testing.assert_close(found[0], concepts, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[1], shares, rtol=1e-3, atol=1e-4)


def test_official_weights_of_other_subsets_are_refused() -> None:
    with pytest.raises(
        OptionError,
        match=r"^weights must have shape \[6, F, J, E\], one for each subset, got \[7, 6, 3, 4\]\.$",
    ):
        convert_routing(torch.randn(7, 6, 3, 4), DIMS, order=2)


@pytest.mark.parametrize("option", ["order", "feature_dim", "iterations"])
def test_numbers_below_one_are_refused(option: str) -> None:
    wrong: dict[str, Any] = {option: 0}
    with pytest.raises(OptionError, match=rf"^{option} must be at least 1, got 0\.$"):
        Routing(DIMS, **wrong)


def test_no_concepts_are_refused() -> None:
    with pytest.raises(
        OptionError, match=r"^concepts must be a number and a width, both at least 1, got \(0, 4\)\.$"
    ):
        Routing(DIMS, concepts=(0, 4))


def test_too_many_subsets_are_refused() -> None:
    dims = {f"m{i}": 2 for i in range(12)}
    assert len(Routing(dims, order=2).subsets) == 78
    message = (
        r"^order must give at most 255 subsets, got 3, which gives 298 of 12 modalities\. Pass a smaller"
        r" order\.$"
    )
    with pytest.raises(OptionError, match=message):
        Routing(dims)
