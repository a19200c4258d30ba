from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.pixel_attention import PixelAttention, convert_pixel_attention
from fuseloom.testing import check_exchange
from fuseloom.types import Streams, Trace

PAIR = {"rgb": 6, "depth": 6}
TRIPLE = PAIR | {"event": 6}
OPTIONS = [
    (PAIR, {}),
    (PAIR, {"num_heads": 4, "sharing": "paper"}),
    (PAIR, {"num_heads": 3, "relation": False, "faithful": True}),
    (PAIR, {"noise": None, "relation": False}),
    (TRIPLE, {"num_heads": 2}),
    (TRIPLE, {"num_heads": 3, "sharing": "paper", "relation": False, "faithful": True}),
    (TRIPLE, {"noise": None, "num_heads": 2, "faithful": True}),
    (TRIPLE, {"noise": None, "relation": False, "sharing": "paper"}),
]
Array = NDArray[np.float64]


def drawn(dims: dict[str, int], **options: Any) -> PixelAttention:
    """A part none of whose parameters is zero."""
    part = PixelAttention(dims, **options)
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.5)
    return part


def streams(dims: dict[str, int], *positions: int) -> Streams:
    return {name: torch.randn(4, *positions, width) for name, width in dims.items()}


def gaps(dims: dict[str, int], positions: int) -> dict[str, Tensor]:
    """Samples with everything, with some positions, with one modality, with nothing."""
    masks = {}
    for index, name in enumerate(dims):
        mask = torch.rand(4, positions) < 0.6
        mask[0], mask[2], mask[3] = True, index == 0, False
        masks[name] = mask
    return masks


def softmax(values: Array) -> Array:
    raised = np.exp(values - values.max())
    return np.asarray(raised / raised.sum())


class Plain:
    """The equations at one position, with all keys and values made and no algebra."""

    def __init__(self, part: PixelAttention) -> None:
        self.part = part
        self.state = {name: value.double().numpy() for name, value in part.state_dict().items()}

    def project(self, role: str, name: str, value: Array) -> Array:
        owner = "shared" if self.part.sharing == "paper" else name
        bias = self.state.get(f"{role}.{owner}.bias", 0.0)
        return np.asarray(self.state[f"{role}.{owner}.weight"] @ value + bias)

    def noise(self, role: str, name: str) -> Array:
        return self.state[f"{role}_noise.{'shared' if self.part.sharing == 'paper' else name}"]

    def relate(self, own: Array, other: Array) -> Array:
        state = self.state
        hidden = (
            state["relation.hidden.weight"] @ np.concatenate([own, other]) + state["relation.hidden.bias"]
        )
        hidden = torch.nn.functional.gelu(torch.from_numpy(hidden)).numpy()
        return softmax(state["relation.out.weight"] @ hidden + state["relation.out.bias"])

    def shares(self, target: str, own: Array, keys: list[Array]) -> Array:
        if len(keys) == 1:
            return np.ones((self.part.num_heads, 1))
        query = self.project("query", target, own).reshape(self.part.num_heads, -1)
        projected = np.stack([self.project("key", target, k).reshape(query.shape) for k in keys])
        scores = np.einsum("hd,khd->hk", query, projected) / np.sqrt(query.shape[1])
        return np.stack([softmax(row) for row in scores])

    def position(self, target: str, values: dict[str, Array]) -> Array:
        own, others = values[target], [value for name, value in values.items() if name != target]
        if not others:
            return own
        related = [own * self.relate(own, other) if self.part.relating else other for other in others]
        keys, seen = related, others
        if self.part.noisy:
            keys = [own + self.noise("key", target), *related]
            seen = [own + self.noise("value", target), *others]
        shares = self.shares(target, own, keys)
        heads = [self.project("value", target, v).reshape(self.part.num_heads, -1) for v in seen]
        mixed = np.einsum("hk,khd->hd", shares, np.stack(heads)).reshape(-1)
        return own + self.project("out", target, mixed)

    def __call__(self, given: Streams, masks: dict[str, Tensor]) -> dict[str, Array]:
        values = {name: value.double().numpy() for name, value in given.items()}
        out = {name: np.zeros_like(value) for name, value in values.items()}
        for b, i in np.ndindex(values["rgb"].shape[:2]):
            here = {name: value[b, i] for name, value in values.items() if masks[name][b, i]}
            for target in here:
                out[target][b, i] = self.position(target, here)
        return out


@pytest.mark.parametrize(("dims", "options"), OPTIONS)
def test_it_is_the_plain_attention_of_every_position(dims: dict[str, int], options: dict[str, Any]) -> None:
    part, given, masks = drawn(dims, **options), streams(dims, 5), gaps(dims, 5)
    out, expected = part(given, masks), Plain(part)(given, masks)
    for name in dims:
        np.testing.assert_allclose(out[name].detach().numpy(), expected[name], rtol=1e-4, atol=1e-5)


def test_two_keys_need_no_softmax_over_two() -> None:
    dims = dict.fromkeys(PAIR, 12)
    part, seen = drawn(dims, num_heads=3), Counter[tuple[str, int]]()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.dim():
                seen[func.__name__, out.shape[-1]] += 1
            return out

    given = streams(dims, 5)
    with Watch():
        part(given)
    assert seen["_softmax.default", 12] == 2  # of the relation, over the features
    assert not [
        operation for operation, width in seen if width == 2 or "bmm" in operation or "cat" in operation
    ]


def test_without_noise_and_relation_it_is_the_value_of_the_other() -> None:
    part, given = PixelAttention(PAIR, noise=None, relation=False, sharing="paper"), streams(PAIR, 5)
    assert set(part.state_dict()) == {f"{r}.shared.{k}" for r in ("value", "out") for k in ("weight", "bias")}
    value, out = part.value["shared"].weight, part.out["shared"].weight
    expected = given["depth"] @ value.T @ out.T + given["rgb"]
    torch.testing.assert_close(part(given)["rgb"], expected)
    assert part.card.interaction == "additive"


def test_the_contract_holds_without_an_own_key() -> None:
    def build(dims: dict[str, int]) -> PixelAttention:
        return PixelAttention(dims, noise=None, relation=False, num_heads=2)

    # Of two modalities it is additive, of three it is not.
    check_exchange(build, equal_widths=True, skip=("interaction_as_claimed", "compiles", "exports"))


def test_one_set_of_weights_is_separate_weights_that_are_equal() -> None:
    paper, given = drawn(TRIPLE, sharing="paper", num_heads=2), streams(TRIPLE, 5)
    separate = PixelAttention(TRIPLE, num_heads=2)
    assert sum(p.numel() for p in separate.parameters()) == 3 * (4 * 36 + 3 * 6 + 2 * 6) + 78 + 42
    shared = paper.state_dict()
    state = {key: shared[_shared_key(key)] for key in separate.state_dict()}
    separate.load_state_dict(state)
    torch.testing.assert_close(separate(given), paper(given))


def _shared_key(key: str) -> str:
    role, owner, *kind = key.split(".")
    return key if role == "relation" else ".".join([role, "shared" if owner in TRIPLE else owner, *kind])


def test_an_absent_other_returns_the_own_stream_exactly() -> None:
    part, given = drawn(TRIPLE, num_heads=2), streams(TRIPLE, 5)
    nothing = torch.zeros(4, 5, dtype=torch.bool)
    out = part(given, {"depth": nothing, "event": nothing})
    assert out["rgb"].equal(given["rgb"])
    assert not out["depth"].any()


def test_one_absent_modality_leaves_the_part_of_the_others() -> None:
    part, given = drawn(TRIPLE, num_heads=2), streams(TRIPLE, 5)
    pair = PixelAttention(PAIR, num_heads=2)
    pair.load_state_dict({key: value for key, value in part.state_dict().items() if ".event" not in key})
    out = part(given, {"event": torch.zeros(4, 5, dtype=torch.bool)})
    expected = pair({name: given[name] for name in PAIR})
    torch.testing.assert_close({name: out[name] for name in PAIR}, expected)


@given(st.permutations(range(6)))
def test_positions_are_independent_and_ranks_agree(order: list[int]) -> None:
    part, values = drawn(PAIR, num_heads=2), streams(PAIR, 6)
    out = part(values)
    moved = part({name: value[:, order] for name, value in values.items()})
    maps = part({n: v[:, order].transpose(1, 2).reshape(4, 6, 2, 3) for n, v in values.items()})
    single = part({name: value[:, order[0]] for name, value in values.items()})
    for name in PAIR:
        torch.testing.assert_close(moved[name], out[name][:, order])
        torch.testing.assert_close(maps[name].flatten(2).transpose(1, 2), out[name][:, order])
        torch.testing.assert_close(single[name], out[name][:, order[0]])


@pytest.mark.parametrize("dims", [PAIR, TRIPLE])
def test_records_are_distributions_over_the_keys_that_are_there(dims: dict[str, int]) -> None:
    part, given, masks, trace = drawn(dims, num_heads=2), streams(dims, 5), gaps(dims, 5), Trace()
    part(given, masks, trace=trace)
    assert sorted(trace.records) == sorted(f"{t}_from_{s}" for t in dims for s in dims)
    for target in dims:
        others = torch.stack([masks[name] for name in dims if name != target]).any(0)
        shares = {name: trace.records[f"{target}_from_{name}"] for name in dims}
        total, there = sum(shares.values()), masks[target] & others
        torch.testing.assert_close(total, there[:, None].expand(4, 2, 5).float())
        if len(dims) == 3:
            for name in set(dims) - {target}:
                assert not shares[name].masked_select(~masks[name][:, None]).any()


@pytest.mark.parametrize("positions", [(), (5,), (2, 3)])
def test_records_lie_as_the_streams_and_explain_the_output(positions: tuple[int, ...]) -> None:
    part, trace = drawn(PAIR, num_heads=2), Trace()
    given = {
        name: torch.randn(4, 6, *positions).movedim(1, 1 if len(positions) == 2 else -1) for name in PAIR
    }
    out = part(given, trace=trace)
    shares = [trace.records[f"rgb_from_{name}"] for name in ("rgb", "depth")]
    assert all(share.shape == (4, 2, *positions) for share in shares)
    own, other = (v.movedim(1, -1) if v.dim() == 4 else v for v in given.values())
    seen = part.value["rgb"](own + part.value_noise["rgb"]), part.value["rgb"](other)
    wide = [share.movedim(1, -1).repeat_interleave(3, -1) for share in shares]
    expected = own + part.out["rgb"](wide[0] * seen[0] + wide[1] * seen[1])
    found = out["rgb"].movedim(1, -1) if len(positions) == 2 else out["rgb"]
    torch.testing.assert_close(found, expected)


def test_the_only_key_is_not_recorded_nor_what_a_trace_does_not_keep() -> None:
    trace = Trace()
    PixelAttention(PAIR, noise=None, relation=False)(streams(PAIR, 2), trace=trace)
    assert trace.records == {}
    trace = Trace(keep_records=False)
    PixelAttention(PAIR)(streams(PAIR, 2), trace=trace)
    assert trace.records == {}


@pytest.mark.parametrize("chunk", [1, 7, 20, 100])
def test_chunks_change_neither_output_nor_gradients(chunk: int) -> None:
    whole, given, masks = drawn(TRIPLE, num_heads=2), streams(TRIPLE, 5), gaps(TRIPLE, 5)
    parts = PixelAttention(TRIPLE, num_heads=2, chunk=chunk)
    parts.load_state_dict(whole.state_dict())
    for expected, found in zip(_pass(whole, given, masks), _pass(parts, given, masks), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _pass(part: PixelAttention, given: Streams, masks: dict[str, Tensor]) -> list[Tensor]:
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    out = part(leaves, masks)
    loss = sum((value * (1 + value)).sum() for value in out.values())
    return [*out.values(), *torch.autograd.grad(loss, [*leaves.values(), *part.parameters()])]


def test_operations_are_linear_in_chunks() -> None:
    counts = []
    for chunk in (10, 5, 2):  # two, four and ten of them
        part, count, given = drawn(PAIR, chunk=chunk), Counter[str](), streams(PAIR, 5)

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                count["all"] += not func.is_view  # noqa: B023 - used up before the next round
                return func(*args, **(kwargs or {}))

        with torch.no_grad(), Watch():
            part(given)
        counts.append(count["all"])
    assert counts[2] - counts[1] == 3 * (counts[1] - counts[0]) > 0


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dims", "times"), [(PAIR, 4), (TRIPLE, 1)])
def test_no_more_than_this_is_kept_for_the_backward(dims: dict[str, int], times: int, masked: bool) -> None:
    part, given = drawn(dims, num_heads=2), {name: torch.randn(2, 500, 6) for name in dims}
    masks = {name: torch.rand(2, 500) < 0.5 for name in dims} if masked else None
    leaves = {name: value.requires_grad_() for name, value in given.items()}
    own, kept = {p.untyped_storage().data_ptr() for p in part.parameters()}, {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t,
        lambda t: t,
    ):
        out = part(leaves, masks)
    held = sum(size for place, size in kept.items() if place not in own)
    inputs = sum(value.nbytes for value in given.values())
    assert inputs <= held <= (times + 0.5 * masked) * inputs
    assert all(value.requires_grad for value in out.values())


@pytest.mark.parametrize("sharing", ["separate", "paper"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_that_is_written_out_is_that_of_the_recorded_form(sharing: Any, masked: bool) -> None:
    part = drawn(PAIR, num_heads=4, sharing=sharing, chunk=7, faithful=True).double()
    given = {name: value.double() for name, value in streams(PAIR, 5).items()}
    masks = gaps(PAIR, 5) if masked else {}
    trace, seen = Trace(), []
    for more in ({}, {"trace": trace}):  # records need the weights of the keys, which the other does not make
        leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
        out = part(leaves, masks, **more)
        loss = sum((value * torch.linspace(-1, 2, 6).double()).sin().sum() for value in out.values())
        sources = [*leaves.values(), *part.parameters()]
        seen.append([*out.values(), *torch.autograd.grad(loss, sources)])
    assert trace.records
    for found, expected in zip(*seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def kernels(part: PixelAttention, given: Streams) -> set[str]:
    """Operations of a forward."""
    seen = set[str]()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.add(func.__name__)
            return func(*args, **(kwargs or {}))

    with Watch():
        part(given)
    return seen


def test_the_gradient_is_written_out_in_one_precision_only() -> None:
    part, given = drawn(PAIR, num_heads=2), streams(PAIR, 5)
    assert "mv.default" in kernels(part, given)
    assert "mv.default" in kernels(part.double(), {name: value.double() for name, value in given.items()})
    low = {name: value.bfloat16() for name, value in given.items()}
    assert "mv.default" not in kernels(part.bfloat16(), low)
    with torch.autocast("cpu", torch.bfloat16):
        assert "mv.default" not in kernels(part.float(), given)


def test_the_bias_of_the_keys_gets_a_gradient_of_zero() -> None:
    part = drawn(PAIR, faithful=True)
    assert part.card.inert == ("key.rgb.bias", "key.depth.bias")
    sum(value.square().sum() for value in part(streams(PAIR, 5)).values()).backward()
    for key in part.key.values():
        assert key.bias.grad is not None
        assert not key.bias.grad.any()
        assert key.weight.grad.any()
    assert PixelAttention(PAIR).card.inert == ()


@pytest.mark.parametrize("names", ["ab", pytest.param("abc", marks=pytest.mark.slow)])
def test_it_can_be_differentiated_twice(names: str) -> None:
    part = drawn(dict.fromkeys(names, 2), chunk=1).double()
    values = [torch.randn(1, 2, 2, dtype=torch.float64, requires_grad=True) for _ in names]

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(dict(zip(names, given, strict=True))).values())

    assert torch.autograd.gradcheck(run, values)
    assert torch.autograd.gradgradcheck(run, values)


def test_autocast_reaches_every_parameter_and_the_backward_outside_of_it() -> None:
    part, given = drawn(PAIR, num_heads=2), streams(PAIR, 5)
    exact = torch.autograd.grad(sum(v.sum() for v in part(given).values()), list(part.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        out = part(given)
    rough = torch.autograd.grad(sum(v.sum() for v in out.values()), list(part.parameters()))
    gaps = {
        name: float((found - expected).abs().max() / expected.abs().max())
        for (name, _), found, expected in zip(part.named_parameters(), rough, exact, strict=True)
    }
    assert max(gaps.values()) < 0.06
    assert all(gap > 0 for name, gap in gaps.items() if not name.startswith("out.")), "computed in float32"


def test_the_update_starts_small() -> None:
    dims = {"rgb": 64, "depth": 64}
    part, given = PixelAttention(dims, num_heads=8), {name: torch.randn(500, 64) for name in dims}
    change = (part(given)["rgb"] - given["rgb"]).std()
    assert 0.01 < change < 0.3
    assert 0.6 < part.key_noise["rgb"].std() < 1.4
    assert 0.012 < PixelAttention(dims, noise=0.02).key_noise["rgb"].std() < 0.028


def test_official_weights_are_those_of_a_faithful_part() -> None:
    official = {
        **{f"cross_attn_{d}.in_proj_weight": torch.randn(18, 6) for d in ("0_to_1", "1_to_0")},
        **{f"cross_attn_{d}.in_proj_bias": torch.randn(18) for d in ("0_to_1", "1_to_0")},
        **{f"cross_attn_{d}.out_proj.weight": torch.randn(6, 6) for d in ("0_to_1", "1_to_0")},
        **{f"cross_attn_{d}.out_proj.bias": torch.randn(6) for d in ("0_to_1", "1_to_0")},
        "relation_judger.0.fc1.weight": torch.randn(6, 12),
        "relation_judger.0.fc1.bias": torch.randn(6),
        "relation_judger.0.fc2.weight": torch.randn(6, 6),
        "relation_judger.0.fc2.bias": torch.randn(6),
        "k_noise.weight": torch.randn(2, 6),
        "v_noise.weight": torch.randn(2, 6),
    }
    part = PixelAttention(PAIR, num_heads=3, faithful=True)
    part.load_state_dict(convert_pixel_attention(official, PAIR))
    assert part.key["depth"].weight.equal(official["cross_attn_1_to_0.in_proj_weight"][6:12])
    assert part.value_noise["depth"].equal(official["v_noise.weight"][1])
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\).*q_noise"):
        part.load_state_dict(convert_pixel_attention(official | {"q_noise.weight": torch.ones(2, 6)}, PAIR))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\.$"),
        ({"sharing": "all"}, r"^sharing must be one of \['paper', 'separate'\], got 'all'\.$"),
        ({"noise": -0.5}, r"^noise must be at least 0 or None, got -0\.5\.$"),
        ({"chunk": 0}, r"^chunk must be at least 1 or None, got 0\.$"),
        (
            {"noise": None},
            "^relation must be False where noise is None and there are two modalities, got True",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PixelAttention(PAIR, **options)


def test_widths_and_positions_must_be_equal() -> None:
    with pytest.raises(
        ModalityError, match=r"^Widths must be equal, got .*\. Give all encoders the same width"
    ):
        PixelAttention({"rgb": 4, "depth": 6})
    with pytest.raises(
        ModalityError, match=r"^Streams must share their positions, got .*\(4, 3, 6\).*Resample"
    ):
        PixelAttention(PAIR)({"rgb": torch.ones(4, 2, 6), "depth": torch.ones(4, 3, 6)})
