"""Encoders of one modality each as a backbone of many streams."""

import pytest
import torch
from torch import Tensor

from fuseloom import create
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.encoders.image import ImageEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.models.dense import EncodedStreams, timm_streams
from fuseloom.types import Trace

CHANNELS = {"rgb": 3, "depth": 1, "heat": 1}


def maps(batch: int = 2, size: tuple[int, int] = (64, 96)) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(batch, count, *size) for name, count in CHANNELS.items()}


def talking(exchange: str = "cross_attention") -> EncodedStreams:
    torch.manual_seed(0)
    parts = {stage: create(exchange, dict.fromkeys(CHANNELS, width)) for stage, width in ((0, 32), (2, 192))}
    return timm_streams("test_resnet", CHANNELS, pretrained=False, exchanges=parts).eval()


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext"])
def test_stages_of_a_vision_model_are_maps_of_falling_size(model: str) -> None:
    pytest.importorskip("timm")
    net = timm_streams(model, CHANNELS, pretrained=False).eval()
    stages, there = net(maps())
    assert there == {}
    assert len(stages) == len(net.dims) == 4
    for stage, width, stride in zip(stages, net.dims, net.strides, strict=True):
        assert {tuple(value.shape) for value in stage.values()} == {(2, width, 64 // stride, 96 // stride)}


@pytest.mark.parametrize(
    "exchange", ["cross_attention", "pixel_attention", "token_exchange", "channel_exchange"]
)
def test_modalities_hear_of_one_another_from_the_stage_of_the_exchange_on(exchange: str) -> None:
    pytest.importorskip("timm")
    net, given = talking(exchange), maps()
    if exchange == "token_exchange":  # nothing is exchanged before it has learnt
        net = timm_streams(
            "test_resnet",
            CHANNELS,
            pretrained=False,
            exchanges={2: create("token_exchange", dict.fromkeys(CHANNELS, 192), threshold=0.9)},
        ).eval()
    if exchange == "channel_exchange":
        for part in net.exchanges.values():
            for name, value in part.named_parameters():
                value.data.mul_(0.001 if name.endswith("weight") else 1)
    first, other = net(given)[0], net({**given, "rgb": given["rgb"] + 1})[0]
    heard = [not torch.allclose(a["depth"], b["depth"]) for a, b in zip(first, other, strict=True)]
    assert heard[-1]
    assert heard == sorted(heard)


def test_who_is_absent_says_nothing_and_is_zero() -> None:
    pytest.importorskip("timm")
    net, given = talking(), maps()
    mask = torch.ones(2, 64, 96, dtype=torch.bool)
    mask[1] = False
    noisy = given["heat"].clone()
    noisy[1] = torch.nan
    stages, there = net({**given, "heat": noisy}, {"heat": mask})
    assert there["heat"].tolist() == [True, False]
    without, _ = net({name: value for name, value in given.items() if name != "heat"})
    for one, other in zip(stages, without, strict=True):
        torch.testing.assert_close(one["rgb"][1], other["rgb"][1])
        assert one["heat"][1].abs().max() == 0
        assert one["rgb"].isfinite().all()


def test_exchanges_record_under_their_stage() -> None:
    pytest.importorskip("timm")
    trace = Trace()
    talking()(maps(), trace=trace)
    assert {name.split(".")[1] for name in trace.records} == {"0", "2"}
    assert all(name.startswith("exchange.") for name in trace.records)


def test_one_encoder_may_serve_several_modalities() -> None:
    torch.manual_seed(0)
    shared = ImageEncoder(1, dim=8, output="map")
    net = EncodedStreams(
        {"left": shared, "right": shared}, {"left": 1, "right": 1}, strides=[1] * len(shared.dims)
    )
    value = torch.randn(2, 1, 32, 32)
    stages, _ = net.eval()({"left": value, "right": value})
    assert all(stage["left"].equal(stage["right"]) for stage in stages)
    assert len([*net.parameters()]) == len([*shared.parameters()])


def test_what_does_not_fit_is_answered() -> None:
    two = {name: IdentityEncoder(4) for name in ("left", "right")}
    channels = {"left": 4, "right": 4}
    with pytest.raises(ModalityError, match=r"channels must be of \['left', 'right'\], got \['left'\]"):
        EncodedStreams(two, {"left": 4}, strides=[1])
    with pytest.raises(OptionError, match=r"as many stages as one another, got .* Shorten some"):
        EncodedStreams({**two, "right": ImageEncoder(4, dim=4)}, channels, strides=[1])
    with pytest.raises(OptionError, match="must stand behind stages 0 to 0, got 1"):
        EncodedStreams(two, channels, strides=[1], exchanges={1: create("cross_attention", channels)})
    with pytest.raises(ModalityError, match=r"behind stage 0 must be for \{'left': 4, 'right': 4\}, got"):
        EncodedStreams(
            two, channels, strides=[1], exchanges={0: create("cross_attention", {"left": 8, "right": 8})}
        )
