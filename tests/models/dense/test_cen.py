"""CEN whole: who hears whom, who is absent, and its checkpoints; golden cases hold it to the published."""

from functools import partial

import pytest
import torch
from torch import Tensor

from fuseloom import create
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.models.dense import DenseModel
from fuseloom.models.dense.cen import (
    RESNET_DEPTHS,
    cen_refinenet,
    convert_cen_refinenet,
    official_cen_refinenet,
)
from fuseloom.models.dense.resnet import ResNetStreams
from fuseloom.types import Trace

CHANNELS = {"rgb": 3, "depth": 1, "heat": 1}
NAMES = ["rgb", "depth"]


def maps(
    batch: int = 2, size: tuple[int, int] = (64, 96), names: tuple[str, ...] = tuple(CHANNELS)
) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(batch, CHANNELS[name], *size) for name in names}


def build(names: tuple[str, ...] = tuple(CHANNELS), **options: object) -> DenseModel:
    torch.manual_seed(0)
    channels = {name: CHANNELS[name] for name in names}
    return cen_refinenet(channels, 5, depths=(1, 1, 2, 1), dim=4, head_dim=6, **options)  # type: ignore[arg-type]


def shrink(model: DenseModel) -> DenseModel:
    """Let half of all channels give way."""
    for part in model.modules():
        if isinstance(part, ChannelExchange):
            for norm in part.norm.values():
                norm.weight.data[::2] = 0.001
                norm.bias.data.normal_()
    return model


@pytest.mark.parametrize("names", [("depth",), ("rgb", "depth"), ("rgb", "depth", "heat")])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (40, 33)])
def test_any_number_of_modalities_and_any_size_is_predicted(
    names: tuple[str, ...], size: tuple[int, int]
) -> None:
    exchange = None if len(names) == 1 else ChannelExchange
    found = build(names, exchange=exchange).eval()(maps(size=size, names=names))
    assert found.shape == (2, len(names) + 1, 5, -(-size[0] // 4), -(-size[1] // 4))
    assert found.isfinite().all()


def test_modalities_hear_one_another_through_the_exchange_alone() -> None:
    given = maps()
    other = {**given, "rgb": given["rgb"] + 1}
    for exchange, heard in ((ChannelExchange, True), (None, False)):
        model = shrink(build(exchange=exchange)).eval()
        assert (not torch.allclose(model(given)[:, 1], model(other)[:, 1])) == heard


def test_who_is_absent_says_nothing_neither_forward_nor_in_gradients() -> None:
    model, given = shrink(build()), maps()
    mask = torch.tensor([True, False])[:, None, None].expand(2, 64, 96)
    holed = {**given, "heat": given["heat"].clone()}
    holed["heat"][1] = torch.nan
    holed["heat"].requires_grad_()
    found = model.eval()(holed, {"heat": mask})
    without = model({name: value for name, value in given.items() if name != "heat"})
    torch.testing.assert_close(found[1, [0, 1, 3]], without[1, [0, 1, 3]])
    found[:, [0, 1, 3]].square().sum().backward()
    assert holed["heat"].grad is not None
    assert holed["heat"].grad.isfinite().all()
    assert holed["heat"].grad[1].abs().max() == 0
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_every_weight_learns_and_the_channels_are_told() -> None:
    model, trace = build(weighting="learned").train(), Trace()
    found = model(maps(batch=4), trace=trace)
    (found.square().sum() + torch.stack([*trace.losses.values()]).sum()).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert len(trace.losses) == 5
    assert {name.rpartition(".")[2] for name in trace.records} == {"selected"}


def test_norms_may_keep_their_statistics_while_they_learn() -> None:
    for fixed in (True, False):
        model = build(fixed_statistics=fixed).train()
        before = {name: value.clone() for name, value in model.named_buffers() if "running_mean" in name}
        model(maps(batch=4))
        after = dict(model.named_buffers())
        assert all(value.equal(after[name]) == fixed for name, value in before.items())


def test_a_norm_for_all_streams_has_the_statistics_of_who_is_there() -> None:
    net = ResNetStreams({"rgb": 3, "depth": 3}, depths=(1, 1, 1, 1), dim=4, shared_norms=True).train()
    given = maps(names=("rgb",))["rgb"]
    shifted = {"rgb": given, "depth": given + 1}
    net(shifted, {"depth": torch.tensor([True, False])[:, None, None].expand(2, 64, 96)})
    there = net.stem(torch.cat([shifted["rgb"], shifted["depth"][:1]]))
    norms = dict(net.named_buffers())
    torch.testing.assert_close(norms["stem_norm.shared.running_mean"], 0.1 * there.mean((0, 2, 3)))
    assert {name.split(".")[-2] for name in norms} == {"shared"}


def test_shared_convolutions_run_once_for_all_streams() -> None:
    model, calls = build().eval(), []
    model.encoder.stem.register_forward_hook(lambda module, args, out: calls.append(args[0].shape))
    model(maps())
    assert [tuple(shape) for shape in calls] == [(6, 3, 64, 96)]


def test_other_exchanges_stand_in_the_bottlenecks_too() -> None:
    model = build(exchange=partial(create, "pixel_attention")).eval()
    given = maps()
    assert not torch.allclose(model(given)[:, 1], model({**given, "rgb": given["rgb"] + 1})[:, 1])


def test_a_checkpoint_becomes_ours_and_theirs_again() -> None:
    model = build(("rgb", "depth"), exchange=partial(ChannelExchange, faithful=True))
    official = official_cen_refinenet(model.state_dict(), NAMES)
    assert official["layer3.1.bn2.bn_1.weight"].shape == (16,)
    assert official["layer2.0.downsample.1.bn_0.running_var"].shape == (32,)
    assert official["p_ims1d2_outl1_dimred.module.weight"].shape == (12, 128, 3, 3)
    assert official["alpha"].tolist() == [1, 1]
    counted = {"bn1.bn_0.num_batches_tracked": torch.tensor(3)}
    for prefix in ("", "module."):
        back = convert_cen_refinenet(
            {prefix + name: value for name, value in (official | counted).items()}, NAMES
        )
        state = model.state_dict()
        assert back.keys() == state.keys()
        assert all(value.equal(state[name]) for name, value in back.items())


def test_names_that_are_of_no_such_model_are_answered() -> None:
    with pytest.raises(OptionError, match=r"a CEN RefineNet, got 'layer1\.0\.bn1\.bn_2\.weight'"):
        convert_cen_refinenet({"layer1.0.bn1.bn_2.weight": torch.ones(1)}, NAMES)
    with pytest.raises(OptionError, match=r"channel exchange, got 'encoder\.stem_norm\.heat\.bias'"):
        official_cen_refinenet({"encoder.stem_norm.heat.bias": torch.ones(1)}, NAMES)


def test_what_does_not_fit_is_answered() -> None:
    with pytest.raises(ModalityError, match="must have 3 channels or 1, as they share the stem, got 2"):
        ResNetStreams({"rgb": 3, "flow": 2})
    with pytest.raises(OptionError, match=r"depths must be 4 numbers of at least 1, got \[1, 1, 1\]"):
        ResNetStreams({"rgb": 3}, depths=(1, 1, 1))
    assert RESNET_DEPTHS[101] == (3, 4, 23, 3)


@pytest.mark.slow
def test_it_compiles_whole_and_is_exported_for_any_batch() -> None:
    model = build(("rgb", "depth")).eval()
    given = maps(names=("rgb", "depth"))
    expected = model(given)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(given), expected, rtol=1e-4, atol=1e-4)
    batch = torch.export.Dim("batch", min=2)
    dynamic = ({name: {0: batch} for name in given},)
    exported = torch.export.export(model, (maps(7, names=("rgb", "depth")),), dynamic_shapes=dynamic).module()
    torch.testing.assert_close(exported(given), expected, rtol=1e-4, atol=1e-4)
