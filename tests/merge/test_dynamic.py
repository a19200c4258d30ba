from functools import partial
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import ModalityError, OptionError, UnknownNameError
from fuseloom.heads import LinearHead
from fuseloom.merge.dynamic import Dynamic, GateOptions, RouteKind
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.testing import check_merge
from fuseloom.train.fit import FitConfig, fit, one_thread, predict_outputs
from fuseloom.types import Batch, Trace

DIMS = {"text": 4, "audio": 3, "video": 2}
EXPERTS = {"heard": ("audio",), "pair": ("video", "text"), "every": ("text", "audio", "video")}
KINDS = get_args(RouteKind)


def redraw(merge: Dynamic) -> Dynamic:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge.eval()


def draw(rows: int, dims: dict[str, int] = DIMS) -> dict[str, Tensor]:
    return {name: torch.randn(rows, width) for name, width in dims.items()}


def state_of(merge: Dynamic) -> dict[str, NDArray[np.float64]]:
    return {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}


def gate_of(
    merge: Dynamic, values: dict[str, NDArray[np.float64]], present: list[str]
) -> NDArray[np.float64]:
    """Weights of the experts for one sample, by the formula."""
    state = state_of(merge)
    hidden = state["gate.bias"] + sum(state[f"gate.weight.{name}"] @ values[name] for name in merge.reads)
    scores = state["gate.linears.0.weight"] @ np.maximum(hidden, 0) + state["gate.linears.0.bias"]
    weights = np.exp((scores - scores.max()) / merge.temperature)
    for place, own in enumerate(merge.experts.values()):
        if not set(own) & set(present):
            weights[place] = 0
    if not weights.any():
        return weights
    return weights / weights.sum() if merge.gate_kind == "soft" else np.eye(len(weights))[weights.argmax()]


def expert_of(merge: Dynamic, name: str, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """What a ``concat`` of an expert's modalities makes of one sample."""
    state = state_of(merge)
    fused: NDArray[np.float64] = state[f"expert.{name}.bias"].copy()
    for modality in merge.experts[name]:
        fused += state[f"expert.{name}.weight.{modality}"] @ values[modality]
    return fused


def expected_of(
    merge: Dynamic, rows: list[dict[str, NDArray[np.float64]]], present: list[list[str]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    gates = np.stack([gate_of(merge, row, there) for row, there in zip(rows, present, strict=True)])
    fused = [
        sum(weight * expert_of(merge, name, row) for weight, name in zip(gate, merge.experts, strict=True))
        for gate, row in zip(gates, rows, strict=True)
    ]
    return np.stack(fused), gates


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_pooled_and_absent_modalities_close_experts(case: Any, kind: RouteKind) -> None:
    merge = redraw(Dynamic(case.dims, dim=5, gate={"kind": kind, "hidden": 6, "temperature": 0.7}))
    rows = [{name: case.pooled[name][b] for name in case.dims} for b in range(4)]
    present = [[name for name in case.dims if case.present[name][b]] for b in range(4)]
    expected, gates = expected_of(merge, rows, present)
    trace = Trace()
    fused = merge(case.streams, case.masks, trace=trace)
    np.testing.assert_allclose(fused.detach(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trace.records["gate"], gates, rtol=1e-4, atol=1e-5)
    assert trace.records["gate"][1].tolist() == [0, 1]  # no text, so only ``all`` is open
    assert not fused[3].any()


@pytest.mark.parametrize("kind", KINDS)
def test_experts_are_fusions_of_the_modalities_named(kind: RouteKind) -> None:
    gate: GateOptions = {"kind": kind, "reads": ("video", "text")}
    merge = redraw(Dynamic(DIMS, dim=5, experts=EXPERTS, gate=gate))
    streams = draw(30)
    rows = [{name: value[b].double().numpy() for name, value in streams.items()} for b in range(30)]
    expected, gates = expected_of(merge, rows, [list(DIMS)] * 30)
    trace = Trace()
    np.testing.assert_allclose(merge(streams, trace=trace).detach(), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace.records["gate"], gates, rtol=1e-4, atol=1e-4)
    assert (gates.sum(0) > 0).all()
    assert merge.reads == ("text", "video")


@pytest.mark.parametrize("kind", KINDS)
def test_the_cost_is_that_of_the_experts_taken(kind: RouteKind) -> None:
    costs = {"heard": 30.0, "every": 120.0, "pair": 0.0}
    merge = redraw(Dynamic(DIMS, experts=EXPERTS, gate={"kind": kind}, costs=costs, cost_weight=0.5))
    trace = Trace()
    merge(draw(30), trace=trace)
    shares = trace.records["gate"].mean(0)
    torch.testing.assert_close(trace.losses["cost"], 0.5 * (0.25 * shares[0] + shares[2]))


def test_an_expert_costs_as_much_as_it_has_modalities_by_default() -> None:
    merge = Dynamic(DIMS, experts=EXPERTS)
    torch.testing.assert_close(merge.cost, torch.tensor([1 / 3, 2 / 3, 1.0]))
    assert merge.reads == ("audio",)  # those of the cheapest


def test_the_gate_reads_the_modalities_of_the_expert_that_is_cheapest_by_the_costs_given() -> None:
    merge = Dynamic(DIMS, experts=EXPERTS, costs={"heard": 3.0, "pair": 1.0, "every": 4.0})
    assert merge.reads == ("text", "video")


def test_what_is_sampled_in_training_follows_the_softmax_of_the_scores() -> None:
    torch.manual_seed(0)
    merge = redraw(Dynamic(DIMS, gate={"kind": "gumbel", "temperature": 3.0})).train()
    merge.load_state_dict({key: value * 0.2 for key, value in merge.state_dict().items()})
    streams = {name: value.expand(20_000, -1) for name, value in draw(1).items()}
    trace = Trace()
    merge(streams, trace=trace)
    scores = merge.gate({name: streams[name][:1] for name in merge.reads})
    # Gumbel's noise stands under the temperature, so that it does not change how often each is drawn.
    torch.testing.assert_close(trace.records["gate"].mean(0), scores[0].softmax(0), rtol=0.1, atol=0.02)
    assert trace.records["gate"].mean(0).min() > 0.02


def test_a_hard_gate_learns_as_a_soft_one_does() -> None:
    soft, hard = (redraw(Dynamic(DIMS, gate={"kind": kind})) for kind in ("soft", "straight_through"))
    hard.load_state_dict(soft.state_dict())
    streams, gradients = draw(9), []
    for merge in (soft, hard):
        trace = Trace()
        merge(streams, trace=trace)
        gradients.append(torch.autograd.grad(trace.total_loss(), list(merge.gate.parameters())))
    torch.testing.assert_close(gradients[1], gradients[0])
    assert all(gradient.any() for gradient in gradients[0])


def test_an_expert_without_any_of_its_modalities_is_not_taken_however_much_the_gate_wants_it() -> None:
    merge = redraw(Dynamic(DIMS, dim=5, experts=EXPERTS, gate={"reads": ("video",)}))
    with torch.no_grad():
        merge.gate.linears[-1].bias.copy_(torch.tensor([1e4, 0.0, -1e4]))
    streams, absent = draw(3), torch.tensor([False, False, True])
    torch.testing.assert_close(merge(streams), merge.run_expert("heard", streams))
    masked = merge(streams, {"audio": absent})
    torch.testing.assert_close(masked[:2], merge.run_expert("pair", streams)[:2])
    torch.testing.assert_close(masked[2], merge.run_expert("heard", streams)[2])
    alone = merge(streams, dict.fromkeys(("text", "video"), absent) | {"audio": ~absent})
    partly = merge.run_expert("pair", streams | {"audio": torch.zeros(3, 3)})
    torch.testing.assert_close(alone[2], partly[2])


def test_the_route_is_decided_from_what_the_gate_reads_alone() -> None:
    merge = redraw(Dynamic(DIMS, experts=EXPERTS, gate={"reads": ("text",)}))
    streams, trace = draw(40), Trace()
    present = torch.arange(40) % 4 != 0
    masks = {"audio": present, "video": present | (torch.arange(40) % 8 == 0), "text": present}
    merge(streams, masks, trace=trace)
    gate = trace.records["gate"]
    expected = torch.where(gate.any(1), gate.argmax(1), -1)
    route = merge.route({"text": streams["text"]}, masks)
    assert route.equal(expected)
    assert route.unique().tolist() == [-1, 0, 1, 2]
    # Masks of raw inputs may have more axes than those of the streams.
    raw = masks | {"video": masks["video"][:, None] & torch.tensor([False, True, False])}
    assert merge.route({"text": streams["text"]}, raw).equal(expected)


def test_experts_run_alone() -> None:
    merge = redraw(Dynamic(DIMS, dim=5, experts=EXPERTS))
    streams = draw(6)
    rows = [{name: value[b].double().numpy() for name, value in streams.items()} for b in range(6)]
    expected = np.stack([expert_of(merge, "pair", row) for row in rows])
    del streams["audio"]
    np.testing.assert_allclose(merge.run_expert("pair", streams).detach(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UnknownNameError, match=r"^Unknown expert 'pairs'\. Did you mean 'pair'\?"):
        merge.run_expert("pairs", streams)
    with pytest.raises(ModalityError, match=r"^Missing modality \['audio'\]; got \[\]\."):
        merge.run_expert("heard", streams)
    with pytest.raises(ModalityError, match=r"^Missing modality \['audio'\]; got \[\]\."):
        merge.route(streams)


def test_experts_are_merges_by_name_and_plain_where_these_take_no_single_modality() -> None:
    merge = Dynamic(DIMS, expert="low_rank")
    assert [part.name for part in merge.expert.values()] == ["concat", "low_rank"]
    assert Dynamic(DIMS, expert="attention_pool").expert["first"].name == "attention_pool"


@pytest.mark.parametrize("expert", ["gated", "attention_pool"])
def test_experts_get_tokens_as_they_are(expert: str, case: Any) -> None:
    merge = Dynamic(case.dims, expert=expert, gate={"kind": "soft"})
    trace = Trace()
    fused = merge(case.streams, case.masks, trace=trace)
    outputs = [merge.run_expert(name, case.streams, case.masks) for name in merge.experts]
    expected = sum(w[:, None] * y for w, y in zip(trace.records["gate"].unbind(1), outputs, strict=True))
    torch.testing.assert_close(fused, expected)


def test_losses_and_records_of_experts_are_filed_under_their_names() -> None:
    trace = Trace()
    Dynamic(DIMS, expert="weighted_sum")(draw(2), trace=trace)
    assert sorted(trace.records) == ["expert.all.weights", "expert.first.weights", "gate"]


def test_a_soft_gate_is_not_discrete() -> None:
    assert Dynamic.card.discrete
    assert Dynamic(DIMS).card.discrete
    assert not Dynamic(DIMS, gate={"kind": "soft"}).card.discrete


def one_each(dims: dict[str, int], **gate: Any) -> Dynamic:
    experts = {f"only_{name}": (name,) for name in dims} | {"every": tuple(dims)}
    options: GateOptions = {"reads": tuple(dims), **gate}  # type: ignore[typeddict-item]
    return Dynamic(dims, experts=experts, gate=options)


def test_the_contract_holds_with_an_expert_for_each_modality() -> None:
    check_merge(partial(one_each, kind="soft"), skip=("compiles", "exports"))


@pytest.mark.parametrize("num", [2, 6])
def test_every_expert_is_taken_at_the_start(num: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    for seed in range(5):
        torch.manual_seed(seed)
        trace = Trace()
        one_each(dims).eval()({name: torch.randn(400, width) for name, width in dims.items()}, trace=trace)
        shares = trace.records["gate"].mean(0) * (num + 1)
        assert shares.min() > 0.5
        assert shares.max() < 1.5


@pytest.mark.parametrize(("kind", "size"), [("straight_through", 0.58), ("gumbel", 0.58), ("soft", 0.41)])
@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_the_size_of_its_experts(num: int, kind: RouteKind, size: float) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    fused = Dynamic(dims, dim=256, gate={"kind": kind})(draw(400, dims))
    assert fused.std().item() == pytest.approx(size, rel=0.1)


def rows_of(count: int, seed: int) -> tuple[Batch, Tensor]:
    """Rows whose text says the class, but for three in ten, where it says only that the image does."""
    generator = torch.Generator().manual_seed(seed)
    text, image = torch.randn(count, 3, generator=generator), torch.randn(count, 4, generator=generator)
    needs_image = text[:, 0] > 0.5
    target = torch.where(needs_image, image[:, 0] > 0, text[:, 1] > 0).long()
    return Batch(inputs={"text": text, "image": image}, target=target), needs_image


def build(cost_weight: float) -> FusionModel:
    dims = {"text": 16, "image": 16}
    encoders = {
        name: EmbeddingEncoder(width, dim=16, dropout=0.0) for name, width in {"text": 3, "image": 4}.items()
    }
    gate: GateOptions = {"hidden": 32}
    return FusionModel(encoders, Dynamic(dims, gate=gate, cost_weight=cost_weight), LinearHead(16, 2))


def learnt(cost_weight: float) -> tuple[float, float, float]:
    """Accuracy, and the share of rows that take ``all`` among those that need it and those that do not."""
    (train, _), (valid, _), (test, needs_image) = rows_of(2000, 0), rows_of(500, 1), rows_of(2000, 2)
    config = FitConfig(lr=3e-3, max_epochs=15, patience=15)
    with one_thread():
        model, _ = fit(partial(build, cost_weight), train, valid, Classification(["no", "yes"]), config)
        outputs, trace = torch.from_numpy(predict_outputs(model, test)), Trace()
        model(test.inputs, trace=trace)
    assert test.target is not None
    accuracy = (outputs.argmax(1) == test.target).double().mean().item()
    taken = trace.records["merge.gate"][:, 1]
    return accuracy, taken[needs_image].mean().item(), taken[~needs_image].mean().item()


@pytest.mark.slow
def test_it_learns_to_take_the_costly_expert_where_it_is_needed() -> None:
    free, light, heavy = map(learnt, (0.0, 0.1, 2.0))
    assert free[0] > 0.95
    assert light[0] > free[0] - 0.02
    assert light[1] > 0.9
    assert light[2] < 0.1
    assert heavy[0] < 0.9
    assert heavy[1:] == (0, 0)
    assert sum(light[1:]) < sum(free[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost_weight": -1.0}, r"^cost_weight must be at least 0, got -1\.0\.$"),
        ({"experts": {"one": ("text",)}}, r"^experts must be at least two, got \['one'\]\.$"),
        (
            {"experts": {"one": ("text",), "a b": ("audio",)}},
            r"^Names of experts must be fit for a state dict\. .*, got 'a b'\.$",
        ),
        (
            {"experts": {"one": "text", "two": ("audio",)}},
            r"^Modalities of expert 'one' must be one name or more in a list, got 'text'\.$",
        ),
        (
            {"experts": {"one": ("text",), "two": ()}},
            r"^Modalities of expert 'two' must be one name or more in a list, got \(\)\.$",
        ),
        (
            {"experts": {"one": ("text",), "two": ("adio",)}},
            r"^Modalities of expert 'two' must be among \['text', 'audio', 'video'\], got 'adio'\. Did you",
        ),
        (
            {"experts": {"one": ("text",), "two": ("audio",)}},
            r"^experts must have every modality that the gate does not read, got no \['video'\]\.$",
        ),
        (
            {"gate": {"kind": "hard"}},
            r"^kind of the gate must be one of \['gumbel', 'soft', 'straight_through'\], got 'hard'\.$",
        ),
        ({"gate": {"temperature": 0.0}}, r"^temperature of the gate must be positive, got 0\.0\.$"),
        ({"gate": {"read": ("text",)}}, r"^gate has no option 'read'\. Did you mean 'reads'\?"),
        ({"gate": {"hidden": 0}}, r"^hidden must be one width of at least 1 per layer, got \[0\]\.$"),
        ({"gate": {"reads": ("smell",)}}, r"^Modalities of the gate must be among .*, got 'smell'\."),
        ({"costs": {"first": 1.0}}, r"^costs must be given for \['all', 'first'\], got \['first'\]\.$"),
        (
            {"costs": {"first": -1.0, "all": 1.0}},
            r"^costs must be at least 0 and not all 0, got \{'first': -1\.0, 'all': 1\.0\}\.$",
        ),
        ({"costs": {"first": 0, "all": 0}}, r"^costs must be at least 0 and not all 0, got "),
        (
            {"expert": "late"},
            r"^expert must name a merge of level 'stream', got 'late' of level 'decision'\.$",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Dynamic(DIMS, **options)


def test_an_unknown_merge_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"^Unknown merge 'contact'\. Did you mean 'concat'\?"):
        Dynamic(DIMS, expert="contact")


def test_an_expert_of_more_modalities_than_its_merge_takes_is_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"^MultiplicativeInteractions must have 2 to 3 modalities, got 4"
    ):
        Dynamic(DIMS | {"touch": 2}, expert="multiplicative_interactions")
