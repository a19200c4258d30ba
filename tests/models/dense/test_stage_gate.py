import pytest
import torch

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.models.dense.encoded import EncodedStreams, timm_streams
from fuseloom.models.dense.stage_gate import StageGate, convert_dynmm_gate
from fuseloom.types import Trace

DIMS = {"rgb": 4, "depth": 4}


def maps(rows: int = 3, side: int = 16) -> dict[str, torch.Tensor]:
    return {name: torch.randn(rows, dim, side, side) for name, dim in DIMS.items()}


def test_an_exchange_is_as_open_as_the_routes_that_run_it():
    gate = StageGate(DIMS, 4)
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    wanted = torch.tensor([[0.9, 0.7, 0.4], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    torch.testing.assert_close(gate.opened(weights), wanted)


@pytest.mark.parametrize("kind", ["gumbel", "straight_through"])
def test_a_hard_gate_picks_one_route_and_learns(kind):
    torch.manual_seed(0)
    gate, trace = StageGate(DIMS, 3, kind=kind), Trace()
    weights = gate(maps(), trace=trace)
    assert ((weights == 0) | (weights == 1)).all()
    assert weights.sum(-1).tolist() == [1.0] * 3
    trace.losses["cost"].backward()
    assert all(value.grad is not None for value in gate.parameters())


def test_the_cost_is_the_mean_of_those_of_the_routes():
    gate, trace = StageGate(DIMS, 3, kind="soft", costs=[1.0, 2.0, 4.0], cost_weight=0.5).eval(), Trace()
    weights = gate(maps(), trace=trace)
    wanted = 0.5 * (weights @ torch.tensor([0.25, 0.5, 1.0])).mean()
    torch.testing.assert_close(trace.losses["cost"], wanted)
    assert gate(maps()).requires_grad


def backbone(gate: StageGate | None, exchanges: tuple[int, ...] = (0, 2)) -> EncodedStreams:
    torch.manual_seed(0)
    widths = (32, 48, 192, 96)
    # channels of small scale give way: of these weights half of them, so that an exchange changes something
    parts = {i: ChannelExchange(dict.fromkeys(DIMS, widths[i]), threshold=1.0) for i in exchanges}
    for part in parts.values():
        for value in part.parameters():
            torch.nn.init.uniform_(value, 0.5, 1.5)
    channels = {"rgb": 3, "depth": 1}
    return timm_streams("test_resnet", channels, pretrained=False, exchanges=parts, gate=gate).eval()


def pictures() -> dict[str, torch.Tensor]:
    return {"rgb": torch.randn(2, 3, 64, 64), "depth": torch.randn(2, 1, 64, 64)}


def with_route(net: EncodedStreams, route: int) -> EncodedStreams:
    """The gate scores that route above all others, whatever it sees."""
    assert net.gate is not None
    with torch.no_grad():
        net.gate.second_norm.weight.zero_()
        net.gate.second_norm.bias.fill_(1.0)
        net.gate.score.weight.zero_()
        net.gate.score.weight[route] = 1.0
    return net


def test_a_route_runs_the_first_exchanges_and_no_others():
    inputs = pictures()
    dims, last = {"rgb": 32, "depth": 32}, []
    for route, wanted in ((0, ()), (1, (0,)), (2, (0, 2))):
        gated = with_route(backbone(StageGate(dims, 3)), route)
        plain = backbone(None)
        plain.load_state_dict({n: v for n, v in gated.state_dict().items() if not n.startswith("gate.")})
        for stage in (0, 2):
            if stage not in wanted:
                del plain.exchanges[str(stage)]
        with torch.no_grad():
            (found, _), (expected, _) = gated(inputs), plain(inputs)
        for own, other in zip(found, expected, strict=True):
            for name in own:
                torch.testing.assert_close(own[name], other[name])
        last.append(found[-1]["rgb"])
    assert not last[0].allclose(last[1])
    assert not last[1].allclose(last[2])


def test_what_the_gate_says_is_recorded_and_costs():
    trace = Trace()
    net = backbone(StageGate({"rgb": 32, "depth": 32}, 3))
    net(pictures(), trace=trace)
    assert trace.records["gate.gate"].shape == (2, 3)
    assert "gate.cost" in trace.losses


def test_a_gate_must_fit_the_backbone():
    with pytest.raises(ModalityError, match=r"The gate must be for \{'rgb': 32, 'depth': 32\}, got"):
        backbone(StageGate(DIMS, 3))
    with pytest.raises(OptionError, match=r"one route more than there are exchanges, 3, got 5"):
        backbone(StageGate({"rgb": 32, "depth": 32}, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_routes": 1}, "num_routes must be at least 2, got 1"),
        ({"kind": "hard"}, r"kind must be one of \['gumbel', 'soft', 'straight_through'\], got 'hard'"),
        ({"temperature": 0.0}, r"temperature must be positive, got 0\.0"),
        ({"costs": [1.0]}, "costs must be one for each of 3 routes, got 1"),
        ({"costs": [0.0, 0.0, 0.0]}, "costs must be at least 0 and not all 0"),
        ({"cost_weight": -1.0}, r"cost_weight must be at least 0, got -1\.0"),
    ],
)
def test_options_out_of_their_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        StageGate(DIMS, **{"num_routes": 3, **options})


def test_maps_too_small_for_the_gate_are_refused():
    with pytest.raises(ModalityError, match=r"at least 13 pixels high and wide, got \(12, 12\)"):
        StageGate(DIMS, 3)(maps(side=12))
    assert StageGate(DIMS, 3).eval()(maps(side=13)).shape == (3, 3)


def test_a_name_that_the_official_gate_does_not_have_is_refused():
    with pytest.raises(OptionError, match=r"must be that of DynMM's gate, got 'conv\.2\.weight'"):
        convert_dynmm_gate({"conv.2.weight": torch.ones(1)})
