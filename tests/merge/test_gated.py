from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.gated import Gated, GateFrom, GateKind, GatePer, convert_gated
from fuseloom.nn import Reinforce
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit
from fuseloom.types import Batch, Trace

HARD: tuple[GateKind, ...] = ("straight_through", "gumbel", "reinforce")
KINDS = list(product(get_args(GateKind), get_args(GatePer), get_args(GateFrom)))
DIMS = {"text": 4, "audio": 3, "video": 2}


def redraw(merge: Gated) -> Gated:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge.eval()


def project(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearest point of the simplex, by bisection for its threshold."""
    low, high = scores.min() - 1, scores.max()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(scores - high, 0)


def opened(kind: str, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gates of the scores of the modalities that are there, in evaluation."""
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-scores))
    if kind == "softmax":
        return np.exp(scores) / np.exp(scores).sum()
    return project(scores) if kind == "sparsemax" else np.eye(len(scores))[scores.argmax()]


def looked_at(target: str, names: list[str], gate_from: GateFrom) -> list[str]:
    return {"target": [target], "others": [n for n in names if n != target], "all": names}[gate_from]


def fuse(
    merge: Gated, kind: str, gate_from: GateFrom, values: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """One sample of the modalities that are there, feature by feature."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    fused = np.zeros(merge.dim)
    if not values:
        return fused
    scores = {}
    for target in values:
        score = state[f"gate_bias.{target}"].copy()
        for source in looked_at(target, list(merge.dims), gate_from):
            score += state[f"gate.{target}_from_{source}"] @ values.get(source, np.zeros(merge.dims[source]))
        scores[target] = np.broadcast_to(score, merge.dim) / merge.temperature
    for feature in range(merge.dim):
        gates = opened(kind, np.array([score[feature] for score in scores.values()]))
        for gate, (name, value) in zip(gates, values.items(), strict=True):
            embedded = state[f"embed.{name}.weight"][feature] @ value + state[f"embed.{name}.bias"][feature]
            fused[feature] += gate * embedded
    return fused


@pytest.mark.parametrize(("kind", "gate_per", "gate_from"), KINDS)
def test_it_is_the_gated_sum_of_what_is_present(
    case: Any, kind: GateKind, gate_per: GatePer, gate_from: GateFrom
) -> None:
    merge = redraw(
        Gated(case.dims, dim=5, kind=kind, gate_per=gate_per, gate_from=gate_from, temperature=0.7)
    )
    rows = [{n: case.pooled[n][b] for n in case.dims if case.present[n][b]} for b in range(4)]
    expected = np.stack([fuse(merge, kind, gate_from, row) for row in rows])
    fused = merge(case.streams, case.masks).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)
    assert not fused[3].any()


@pytest.mark.parametrize(("kind", "gate_per", "gate_from"), KINDS)
def test_without_masks_all_are_gated(kind: GateKind, gate_per: GatePer, gate_from: GateFrom) -> None:
    merge = redraw(Gated(DIMS, dim=5, kind=kind, gate_per=gate_per, gate_from=gate_from))
    streams = {name: torch.randn(6, width) for name, width in DIMS.items()}
    rows = [{name: value[b].double().numpy() for name, value in streams.items()} for b in range(6)]
    expected = np.stack([fuse(merge, kind, gate_from, row) for row in rows])
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gate_per", ["feature", "modality"])
def test_pixels_are_gated_one_by_one_where_nothing_pools(
    maps: dict[str, Tensor], pixels: Tensor, gate_per: GatePer
) -> None:
    merge = redraw(Gated({"rgb": 4, "depth": 3}, dim=5, kind="softmax", gate_per=gate_per, pool=None))
    expected = np.zeros((2, 5, 5, 6))
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        row = {n: maps[n][b, :, h, w].double().numpy() for n in there}
        expected[b, :, h, w] = fuse(merge, "softmax", "all", row)
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("gate_per", "shape"), [("modality", (4, 2)), ("feature", (4, 1, 2))])
@pytest.mark.parametrize("kind", get_args(GateKind))
def test_the_gates_are_recorded(case: Any, kind: GateKind, gate_per: GatePer, shape: tuple[int, ...]) -> None:
    merge = redraw(Gated(case.dims, dim=1, kind=kind, gate_per=gate_per))
    trace = Trace()
    fused = merge(case.streams, case.masks, trace=trace)
    gates = trace.records["gate"]
    assert tuple(gates.shape) == shape
    pooled = {name: torch.tensor(value, dtype=torch.float32) for name, value in case.pooled.items()}
    embedded = torch.stack([merge.embed[name](pooled[name]) for name in case.dims], -1)[:, 0]
    torch.testing.assert_close((gates.view(4, 2) * embedded).sum(-1, keepdim=True), fused)
    if kind != "sigmoid":
        assert gates.view(4, 2).sum(-1).tolist() == pytest.approx([1, 1, 1, 0])


@pytest.mark.parametrize("kind", HARD)
def test_a_hard_gate_lets_one_modality_through(kind: GateKind) -> None:
    merge = redraw(Gated(DIMS, dim=5, kind=kind))
    streams = {name: torch.randn(64, width) for name, width in DIMS.items()}
    for training in (False, True):
        trace = Trace()
        merge.train(training)(streams, trace=trace)
        gates = trace.records["gate"]
        assert gates.unique().tolist() == [0, 1]
        assert (gates.sum(-1) == 1).all()
        assert (gates.sum((0, 1)) > 0).all(), "each is chosen somewhere"


@pytest.mark.parametrize("kind", ["gumbel", "reinforce"])
def test_a_gate_that_samples_does_so_in_training_alone(kind: GateKind) -> None:
    merge = Gated(DIMS, dim=5, kind=kind, gate_per="modality")
    with torch.no_grad():
        for name, chance in zip(DIMS, (0.6, 0.3, 0.1), strict=True):
            merge.gate_bias[name].fill_(np.log(chance))
        for weight in merge.gate.values():
            weight.zero_()
    streams = {name: torch.randn(20_000, width) for name, width in DIMS.items()}
    shares = {}
    for training in (True, False):
        trace = Trace()
        merge.train(training)(streams, trace=trace)
        shares[training] = trace.records["gate"].mean(0)
    torch.testing.assert_close(shares[True], torch.tensor([0.6, 0.3, 0.1]), atol=0.02, rtol=0)
    assert shares[False].tolist() == [1, 0, 0]


@pytest.mark.parametrize("kind", HARD)
def test_an_absent_modality_is_never_chosen(kind: GateKind) -> None:
    merge = redraw(Gated(DIMS, dim=5, kind=kind)).train()
    with torch.no_grad():
        merge.gate_bias["audio"].fill_(50.0)
    streams = {name: torch.randn(200, width) for name, width in DIMS.items()}
    there = torch.arange(200) % 2 == 0
    trace = Trace()
    merge(streams, {"audio": there}, trace=trace)
    chosen = trace.records["gate"][..., 1]
    assert (chosen[there] == 1).all()
    assert not chosen[~there].any()


def test_a_choice_without_a_gradient_learns_from_the_loss() -> None:
    merge = redraw(Gated(DIMS, dim=5, kind=Reinforce(momentum=0.5, entropy_weight=0.1))).train()
    streams = {name: torch.randn(7, width) for name, width in DIMS.items()}
    trace = Trace()
    fused = merge(streams, {"text": torch.arange(7) > 1}, trace=trace)
    gate = [*merge.gate.values(), *merge.gate_bias.values()]
    assert all(found is None for found in torch.autograd.grad(fused.sum(), gate, allow_unused=True))
    fused = merge(streams, {"text": torch.arange(7) > 1}, trace=trace)
    losses = torch.rand(7)
    loss = trace.feedbacks["reinforce"](losses)
    scores = torch.stack([merge._score(name, masked(streams)) for name in DIMS], -1)
    allowed = torch.ones(7, 1, 3, dtype=torch.bool)
    allowed[:2, :, 0] = False
    chances = torch.where(allowed, scores, -torch.inf).softmax(-1)
    log_prob = (chances * trace.records["gate"]).sum(-1).log().sum(-1)
    entropy = -torch.where(chances > 0, chances * chances.clamp(min=1e-30).log(), 0).sum((1, 2))
    expected = ((losses - losses.mean()) * log_prob - 0.1 * entropy).mean()
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(value, gate) for value in (loss, expected))
    torch.testing.assert_close(found, wanted)
    assert merge.reinforce is not None
    assert merge.reinforce.baseline.item() == pytest.approx(losses.mean().item())


def masked(streams: dict[str, Tensor]) -> dict[str, Tensor]:
    there = (torch.arange(7) > 1)[:, None]
    return {name: value * there if name == "text" else value for name, value in streams.items()}


class Model(nn.Module):
    def __init__(self, kind: GateKind) -> None:
        super().__init__()
        self.merge = Gated({"noise": 4, "signal": 6}, dim=8, gate_per="modality", kind=kind)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: Any, masks: Any = None, *, trace: Trace | None = None) -> Tensor:
        out: Tensor = self.head(self.merge(inputs, masks, trace=trace))
        return out


def rows(count: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    noise, signal = (torch.randn(count, width, generator=generator) for width in (4, 6))
    return Batch(inputs={"noise": noise, "signal": signal}, target=(signal[:, 0] > 0).long())


def share_of_signal(model: Model, batch: Batch) -> float:
    trace = Trace()
    model(batch.inputs, trace=trace)
    return trace.records["gate"][:, 1].mean().item()


@pytest.mark.parametrize("kind", ["gumbel", "reinforce"])
def test_training_finds_the_modality_that_informs(kind: GateKind) -> None:
    config = FitConfig(lr=0.02, max_epochs=12, batch_size=64)
    fresh = [Model(kind).eval() for _ in range(20)]
    assert 0.3 < np.mean([share_of_signal(model, rows(64, 2)) for model in fresh]) < 0.7
    task = Classification(["down", "up"])
    model, result = fit(lambda: Model(kind), rows(512, 0), rows(256, 1), task, config)
    assert isinstance(model, Model)
    assert share_of_signal(model, rows(256, 2)) > 0.95
    assert result.valid_loss < 0.2


@pytest.mark.parametrize("num", [2, 6])
@pytest.mark.parametrize("kind", get_args(GateKind))
@pytest.mark.parametrize("gate_per", get_args(GatePer))
def test_the_fused_value_starts_at_size_one(num: int, kind: GateKind, gate_per: GatePer) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    merge = Gated(dims, dim=256, kind=kind, gate_per=gate_per)
    fused = merge({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.85 < fused.std() < 1.2


@pytest.mark.parametrize("kind", get_args(GateKind))
def test_gates_start_almost_even(kind: GateKind) -> None:
    merge, trace = Gated(DIMS, dim=64, kind=kind).eval(), Trace()
    merge({name: torch.randn(400, width) for name, width in DIMS.items()}, trace=trace)
    gates = trace.records["gate"]
    expected = 0.5 if kind == "sigmoid" else 1 / 3
    assert gates.mean((0, 1)).tolist() == pytest.approx([expected] * 3, abs=0.07)
    assert gates.std() > 0.01


@pytest.mark.parametrize(("kind", "gate_per", "gate_from"), KINDS)
def test_the_card_is_that_of_the_options(kind: GateKind, gate_per: GatePer, gate_from: GateFrom) -> None:
    card = Gated(DIMS, kind=kind, gate_per=gate_per, gate_from=gate_from).card
    alone = kind == "sigmoid" and gate_from == "target"
    assert card.interaction == ("additive" if alone else "nonlinear")
    assert (card.discrete, card.symmetric) == (kind in HARD, kind not in HARD)
    assert Gated.card.interaction == "nonlinear"


@pytest.mark.parametrize("gate_from", ["target", "others", "all"])
def test_parameters_are_named_after_modalities(gate_from: GateFrom) -> None:
    merge = Gated(DIMS, dim=5, gate_from=gate_from, gate_per="modality")
    shapes = {key: tuple(value.shape) for key, value in merge.state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {}
    for name, width in DIMS.items():
        expected |= {f"embed.{name}.weight": (5, width), f"embed.{name}.bias": (5,)}
        expected[f"gate_bias.{name}"] = (1,)
        for source in looked_at(name, list(DIMS), gate_from):
            expected[f"gate.{name}_from_{source}"] = (1, DIMS[source])
    assert shapes == expected


def test_official_weights_convert() -> None:
    gate, value = ({"weight": torch.randn(5, n), "bias": torch.randn(5)} for n in (4, 3))
    streams = {"text": torch.randn(6, 4), "audio": torch.randn(6, 3)}
    # The official formula: the sigmoid of one linear map times the other.
    scores = streams["text"] @ gate["weight"].T + gate["bias"]
    expected = scores.sigmoid() * (streams["audio"] @ value["weight"].T + value["bias"])
    merge = Gated({"text": 4, "audio": 3}, dim=5, gate_from="others")
    merge.load_state_dict(convert_gated(gate, value, gating="text", gated="audio"))
    torch.testing.assert_close(merge(streams), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate_per": "sample"}, r"^gate_per must be one of \['feature', 'modality'\], got 'sample'\.$"),
        ({"gate_from": "none"}, r"^gate_from must be one of \['all', 'others', 'target'\], got 'none'\.$"),
        ({"kind": "hard"}, r"^kind must be one of \['gumbel', .* 'straight_through'\], got 'hard'\.$"),
        ({"temperature": 0.0}, r"^temperature must be positive, got 0\.0\.$"),
        ({"temperature": float("nan")}, r"^temperature must be positive, got nan\.$"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Gated({"text": 4, "audio": 3}, **options)


def test_one_modality_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"^Gated must have at least 2 modalities, got 1: \['text'\]\.$"):
        Gated({"text": 4})
