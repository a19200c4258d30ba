"""Several modalities that become one stream: which are heard, who is absent, and official checkpoints."""

import pytest
import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.models.dense import DenseModel
from fuseloom.models.dense.collapse import Collapse
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_deliver,
    geminifusion_mit,
    official_geminifusion_deliver,
)
from fuseloom.models.dense.mit import MitSize, MitStreams
from fuseloom.types import Trace

CHANNELS = {"rgb": 3, "depth": 1, "event": 1, "lidar": 1}
NAMES = [*CHANNELS]
TINY = MitSize(dims=(8, 16), depths=(1, 2), num_heads=(1, 2), reductions=(2, 1))


def maps(size: tuple[int, int] = (32, 48)) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(2, count, *size) for name, count in CHANNELS.items()}


def build(**options: object) -> DenseModel:
    torch.manual_seed(0)
    return geminifusion_mit(CHANNELS, 5, size=TINY, head_dim=6, collapse=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(32, 48), (33, 45)])
def test_two_streams_come_out_of_four(size: tuple[int, int]) -> None:
    model = build().eval()
    assert model.encoder.names == ("rgb", "others")
    assert model(maps(size)).shape == (2, 3, 5, -(-size[0] // 4), -(-size[1] // 4))


def test_the_largest_is_taken_of_those_that_are_there() -> None:
    torch.manual_seed(0)
    collapse, tokens = Collapse(["event", "lidar"], 4), torch.randn(2, 3, 6, 4)
    there = {"event": torch.tensor([True, False, False]), "lidar": torch.tensor([True, True, False])}
    trace = Trace()
    scaled, largest = collapse(tokens, (2, 3), there, trace=trace)
    torch.testing.assert_close(largest[0], scaled[:, 0].amax(0))
    torch.testing.assert_close(largest[1], scaled[1, 1])
    assert largest[2].abs().max() == 0
    assert trace.records["lidar.score"].shape == (3, 6)
    torch.testing.assert_close(scaled[1], tokens[1] * (1 + trace.records["lidar.score"][..., None]))


@pytest.mark.parametrize("absent", NAMES)
def test_who_is_absent_says_nothing_neither_forward_nor_in_gradients(absent: str) -> None:
    model, given = build().eval(), maps()
    mask = torch.tensor([True, False])[:, None, None].expand(2, 32, 48)
    holed = {**given, absent: given[absent].clone()}
    holed[absent][1] = torch.nan
    holed[absent].requires_grad_()
    found = model(holed, {absent: mask})
    without = model({name: value for name, value in given.items() if name != absent})
    heard = [1, 2] if absent == "rgb" else [0, 1, 2]
    torch.testing.assert_close(found[1, heard], without[1, heard], rtol=1e-4, atol=1e-5)
    found[:, heard].square().sum().backward()
    gradient = holed[absent].grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0


def test_the_first_alone_is_predicted_from_as_well() -> None:
    model, given = build().eval(), maps()
    found = model({"rgb": given["rgb"]})
    torch.testing.assert_close(found[:, 2], found[:, 0])


def test_every_weight_learns() -> None:
    model = build().train()
    (model(maps()) * torch.randn(5, 1, 1)).square().sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("count", [2, 4])
def test_a_checkpoint_becomes_ours_and_theirs_again(count: int) -> None:
    channels = dict(list(CHANNELS.items())[:count])
    names = list(channels)
    model = geminifusion_mit(channels, 5, size=TINY, head_dim=6, collapse=count > 2, faithful=True)
    state = model.state_dict()
    official = official_geminifusion_deliver(state, names)
    assert official["backbone.patch_embed1.norm.ln_1.bias"].shape == (8,)
    if count > 2:
        assert official["backbone.extra_score_predictor.1.score_nets.3.0.weight"].abs().max() == 0
    back = convert_geminifusion_deliver(official, names)
    assert back.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in back.items())


def test_what_does_not_fit_is_answered() -> None:
    with pytest.raises(OptionError, match=r"three modalities at least, got \['rgb', 'depth'\]"):
        MitStreams({"rgb": 3, "depth": 1}, TINY, collapse=True)
    with pytest.raises(OptionError, match="must not be called 'others'"):
        MitStreams({"rgb": 3, "depth": 1, "others": 1}, TINY, collapse=True)
    with pytest.raises(OptionError, match="two modalities at least, got"):
        convert_geminifusion_deliver({}, ["rgb"])
    with pytest.raises(OptionError, match=r"got 'encoder\.something'"):
        convert_geminifusion_deliver({"backbone.something": torch.ones(1)}, NAMES)
