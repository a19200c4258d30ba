"""Channels that are scaled to nothing take those of the other modalities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fuseloom import Trace, create
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange, convert_channel_exchange
from fuseloom.heads import LinearHead
from fuseloom.models import FusionModel

DIMS = dict.fromkeys(("rgb", "depth", "normal"), 6)
SHAPES = {"embedding": (4, 6), "tokens": (4, 5, 6), "feature_map": (4, 6, 2, 3)}


def streams(shape=(4, 5, 6), names=DIMS):
    return {name: torch.randn(shape) for name in names}


def scales(names=DIMS, width=6):
    """About half of them below the threshold, of either sign."""
    return {
        name: torch.where(torch.rand(width) < 0.5, 0.01, 0.5) * torch.randn(width).sign() for name in names
    }


def masks_like(values):
    masks = {}
    for name, value in values.items():
        shape = (value.shape[0], *value.shape[2:]) if value.dim() == 4 else value.shape[:-1]
        masks[name] = torch.rand(shape) < 0.6
    return masks


def with_scales(part, gamma):
    with torch.no_grad():
        for name, norm in part.norm.items():
            norm.weight.copy_(gamma[name])
            norm.bias.normal_()
            if hasattr(norm, "running_mean"):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    return part


def channels_last(value):
    return value.movedim(1, -1) if value.dim() == 4 else value


def plain(normal, gamma, masks, open_):
    """Position after position and channel after channel, as the paper's equation 6 has it."""
    out = {}
    for target, own in normal.items():
        new = channels_last(own).clone()
        for where in torch.ones(new.shape[:-1], dtype=torch.bool).nonzero().tolist():
            place = tuple(where)
            donors = [n for n in normal if n != target and (n not in masks or masks[n][place])]
            for c in range(new.shape[-1]):
                if abs(gamma[target][c]) < 0.02 and c in open_[target] and donors:
                    new[(*place, c)] = sum(channels_last(normal[n])[(*place, c)] for n in donors) / len(
                        donors
                    )
            if target in masks and not masks[target][place]:
                new[place] = 0
        out[target] = new.movedim(-1, 1) if own.dim() == 4 else new
    return out


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_plain_loop_over_positions_and_channels(shape, faithful, masked):
    values, gamma = streams(shape), scales()
    masks = masks_like(values) if masked else {}
    out = ChannelExchange(DIMS, norm=None, faithful=faithful)(values, masks, scales=gamma)
    thirds = {"rgb": {0, 1}, "depth": {2, 3}, "normal": {4, 5}}
    open_ = dict.fromkeys(DIMS, range(6)) if faithful else thirds
    torch.testing.assert_close(out, plain(values, gamma, masks, open_))


@pytest.mark.parametrize(
    ("norm", "shape"), [("batch", (4, 6)), ("layer", (4, 5, 6)), ("instance", (4, 6, 2, 3))]
)
def test_with_norms_of_its_own_it_exchanges_what_they_give(norm, shape):
    gamma, values = scales(), streams(shape)
    part = with_scales(ChannelExchange(DIMS, norm=norm, faithful=True), gamma).eval()
    swapped = {n: v.transpose(1, 2) if v.dim() == 3 else v for n, v in values.items()}
    normal = {n: part.norm[n](v).detach() for n, v in swapped.items()}
    normal = {n: v.transpose(1, 2) if v.dim() == 3 else v for n, v in normal.items()}
    out = part(values)
    torch.testing.assert_close(out, ChannelExchange(DIMS, norm=None, faithful=True)(normal, scales=gamma))
    assert not out["rgb"].allclose(normal["rgb"])


def test_two_small_scales_swap_only_in_the_faithful_form():
    values, gamma = streams(names=("a", "b")), {"a": torch.zeros(6), "b": torch.zeros(6)}
    dims = {"a": 6, "b": 6}
    swapped = ChannelExchange(dims, norm=None, faithful=True)(values, scales=gamma)
    assert swapped["a"].equal(values["b"])
    assert swapped["b"].equal(values["a"])
    halves = ChannelExchange(dims, norm=None)(values, scales=gamma)
    assert halves["a"].equal(torch.cat([values["b"][..., :3], values["a"][..., 3:]], -1))
    assert halves["b"].equal(torch.cat([values["b"][..., :3], values["a"][..., 3:]], -1))


@pytest.mark.parametrize(
    ("count", "width", "sizes"), [(2, 5, [2, 3]), (2, 6, [3, 3]), (3, 7, [2, 2, 3]), (4, 2, [0, 1, 0, 1])]
)
def test_own_channels_are_disjoint_parts_in_the_order_of_the_modalities(count, width, sizes):
    part = ChannelExchange({f"m{i}": width for i in range(count)})
    own = torch.stack([part.own.get_buffer(f"m{i}") for i in range(count)])
    assert own.sum(1).tolist() == sizes
    assert own.sum(0).eq(1).all()
    assert own.float().argmax(0).diff().ge(0).all()


def test_own_channels_can_be_given():
    values, gamma = streams(), {name: torch.zeros(6) for name in DIMS}
    part = ChannelExchange(DIMS, norm=None, channels={"rgb": [5, 0], "depth": [], "normal": [1]})
    out = part(values, scales=gamma)
    changed = {name: (out[name] != values[name]).any(0).any(0).nonzero().flatten().tolist() for name in DIMS}
    assert changed == {"rgb": [0, 5], "depth": [], "normal": [1]}


def test_an_absent_modality_gives_nothing_and_takes_nothing():
    values, gamma = streams((2, 5, 6)), {name: torch.zeros(6) for name in DIMS}
    part = ChannelExchange(DIMS, norm=None, faithful=True)
    absent = torch.tensor([True, False])[:, None].expand(2, 5)
    out = part(values, {"depth": absent}, scales=gamma)
    assert out["depth"][1].eq(0).all()
    assert out["rgb"][1].equal(values["normal"][1])
    torch.testing.assert_close(out["rgb"][0], (values["normal"][0] + values["depth"][0]) / 2)
    alone = part(values, {"depth": absent, "normal": absent}, scales=gamma)
    assert alone["rgb"][1].equal(values["rgb"][1])


def test_statistics_are_those_of_what_is_real():
    part, alone = ChannelExchange({"a": 3, "b": 3}), ChannelExchange({"a": 3, "b": 3})
    values = streams((2, 5, 3), ("a", "b"))
    mask = torch.arange(5).expand(2, 5) < 3
    part(values, {"a": mask, "b": mask})
    alone({name: value[:, :3] for name, value in values.items()})
    for name in ("a", "b"):
        torch.testing.assert_close(part.norm[name].running_var, alone.norm[name].running_var)
    assert part.norm["a"].running_mean.abs().min() > 0


def test_what_nobody_reads_gets_no_gradient_and_the_choice_has_none():
    dims = {"a": 4, "b": 4}
    part = with_scales(
        ChannelExchange(dims), {"a": torch.tensor([0.01, 0.5, -0.5, 0.5]), "b": torch.full((4,), 0.7)}
    ).eval()
    values = {name: value.requires_grad_() for name, value in streams((3, 4), dims).items()}
    torch.stack(list(part(values).values())).square().sum().backward()
    gradient = part.norm["a"].weight.grad
    assert gradient[0] == 0
    assert gradient[1:].ne(0).all()
    assert values["a"].grad[:, 0].eq(0).all()
    assert values["b"].grad[:, 0].ne(0).all()


@pytest.mark.parametrize("norm", ["batch", None])
def test_the_loss_is_the_mean_or_the_sum_of_the_absolute_scales_of_own_channels(norm):
    gamma = {"a": torch.tensor([-1.0, 2.0, 8.0, 8.0]), "b": torch.tensor([8.0, 8.0, -3.0, 4.0])}
    found = {}
    for reduction in ("mean", "sum"):
        part = ChannelExchange({"a": 4, "b": 4}, norm=norm, sparsity_weight=0.5, reduction=reduction)
        trace = Trace()
        reads = {} if norm else {"scales": gamma}
        with_scales(part, gamma)(streams((3, 4), gamma), trace=trace, **reads)
        found[reduction] = trace.losses["channel_sparsity"].item()
    assert found == pytest.approx({"mean": 0.5 * 10 / 4, "sum": 0.5 * 10})


def test_the_mean_needs_lambda_times_the_width():
    values, losses = streams(), []
    for options in ({"reduction": "sum", "sparsity_weight": 6e-4}, {"sparsity_weight": 6e-4 * 6}):
        trace = Trace()
        ChannelExchange(DIMS, **options)(values, trace=trace)
        losses.append(trace.losses["channel_sparsity"])
    torch.testing.assert_close(*losses)


def test_the_loss_alone_brings_about_the_exchange():
    part, values, trace = ChannelExchange(DIMS, sparsity_weight=1.0), streams(), Trace()
    optimiser = torch.optim.SGD(part.parameters(), lr=0.1)
    part(values, trace=trace)
    assert not any(trace.records[f"{name}.selected"].any() for name in DIMS)
    for _ in range(61):
        trace = Trace()
        part(values, trace=trace)
        optimiser.zero_grad()
        trace.total_loss().backward()
        optimiser.step()
    part(values, trace=trace)
    for name in DIMS:
        assert trace.records[f"{name}.selected"].equal(part.own.get_buffer(name))


def test_the_choice_is_made_in_float32_in_any_precision():
    edge = torch.tensor([0.02, -0.02, 0.0199, 0.0])
    gamma = {"a": edge, "b": torch.ones(4)}
    values = streams((2, 4), gamma)
    part = ChannelExchange({"a": 4, "b": 4}, norm=None, faithful=True)
    taken = torch.tensor([False, False, True, True])
    for dtype in (torch.float32, torch.float64):
        typed = {n: v.to(dtype) for n, v in values.items()}
        out = part(typed, scales={n: g.to(dtype) for n, g in gamma.items()})
        assert (out["a"] == typed["b"]).all(0).equal(taken)


def test_one_convolution_serves_all_modalities_and_the_norms_are_apart():
    dims = {"rgb": 4, "depth": 4}
    conv, exchange = nn.Conv2d(3, 4, 3, bias=False), ChannelExchange(dims)
    images = streams((8, 3, 6, 6), dims)
    images["depth"] = 10 + 5 * images["depth"]
    out = exchange({name: conv(image) for name, image in images.items()})
    for value in out.values():
        torch.testing.assert_close(value.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
        torch.testing.assert_close(value.std((0, 2, 3)), torch.ones(4), rtol=0, atol=2e-2)
    assert exchange.norm["depth"].running_var.mean() > 1.5 * exchange.norm["rgb"].running_var.mean()


def test_one_encoder_given_twice_is_a_pair_of_shared_weights():
    encoder = EmbeddingEncoder(3, dim=4)
    dims = {"rgb": 4, "depth": 4}
    exchange = ChannelExchange(dims, norm="layer")
    model = FusionModel(
        dict.fromkeys(dims, encoder), create("sum", dims, dim=4), LinearHead(4, 2), exchanges={-1: exchange}
    )
    model(streams((2, 3), dims)).sum().backward()
    found = [
        id(p) for name, p in model.named_parameters(remove_duplicate=True) if name.startswith("encoders")
    ]
    assert found == [id(p) for p in encoder.parameters()]
    assert all(p.grad is not None for p in encoder.parameters())


@settings(max_examples=25)
@given(st.sampled_from(list(SHAPES.values())), st.integers(2, 4), st.booleans(), st.integers(0, 999))
def test_nothing_selected_is_the_identity(shape, count, faithful, seed):
    torch.manual_seed(seed)
    dims = {f"m{i}": 6 for i in range(count)}
    values = streams(shape, dims)
    gamma = {name: torch.rand(6) + 0.02 for name in dims}
    out = ChannelExchange(dims, norm=None, faithful=faithful)(values, scales=gamma)
    assert all(out[name].equal(values[name]) for name in dims)


@settings(max_examples=25)
@given(st.permutations(["a", "b", "c"]), st.integers(0, 999))
def test_permuted_names_permute_the_outputs(order, seed):
    torch.manual_seed(seed)
    dims = dict.fromkeys("abc", 6)
    values, gamma = streams((2, 5, 6), dims), scales(dims)
    part = ChannelExchange(dims, norm=None, faithful=True)
    rename = dict(zip("abc", order, strict=True))
    out = part(values, scales=gamma)
    turned = part({rename[n]: v for n, v in values.items()}, scales={rename[n]: g for n, g in gamma.items()})
    torch.testing.assert_close({rename[n]: v for n, v in out.items()}, turned)


@settings(max_examples=25)
@given(st.permutations(range(5)), st.sampled_from(["batch", "layer", "instance"]), st.integers(0, 999))
def test_permuted_positions_permute_the_outputs(order, norm, seed):
    torch.manual_seed(seed)
    part, values = with_scales(ChannelExchange(DIMS, norm=norm), scales()), streams((3, 5, 6))
    masks = masks_like(values)
    out = part(values, masks)
    turned = part({n: v[:, order] for n, v in values.items()}, {n: m[:, order] for n, m in masks.items()})
    torch.testing.assert_close({n: v[:, order] for n, v in out.items()}, turned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"norm": "group"},
            OptionError,
            r"norm must be one of \['batch', 'instance', 'layer'\] or None, got",
        ),
        ({"reduction": "max"}, OptionError, r"reduction must be one of \['mean', 'sum'\], got 'max'"),
        ({"threshold": -1}, OptionError, "threshold and sparsity_weight must be at least 0, got -1 and 0.1"),
        ({"sparsity_weight": -1}, OptionError, "must be at least 0, got 0.02 and -1"),
        (
            {"channels": {"rgb": [0]}},
            ModalityError,
            r"channels must be given for \['depth', 'normal', 'rgb'\]",
        ),
        (
            {"channels": {"rgb": [0], "depth": [6], "normal": []}},
            OptionError,
            r"\['depth'\] must be in \[0, 6\)",
        ),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ChannelExchange(DIMS, **options)


def test_streams_that_cannot_share_channels_are_refused():
    with pytest.raises(ModalityError, match=r"Widths must be equal, got {'a': 4, 'b': 5}\. Give all"):
        ChannelExchange({"a": 4, "b": 5})
    part = ChannelExchange({"a": 4, "b": 4})
    with pytest.raises(ModalityError, match=r"Streams must share their positions, got {'a': \(2, 4\)"):
        part({"a": torch.ones(2, 4), "b": torch.ones(2, 1, 4)})
    with pytest.raises(ModalityError, match="'a' must be \\[B, N, D\\] or \\[B, C, H, W\\]"):
        ChannelExchange({"a": 4, "b": 4}, norm="instance")({"a": torch.ones(2, 4), "b": torch.ones(2, 4)})


def test_scales_are_read_where_there_is_no_norm_and_only_there():
    part, values = ChannelExchange(DIMS, norm=None), streams()
    with pytest.raises(ModalityError, match=r"scales must be given for .* where norm=None, got None\. Pass"):
        part(values)
    with pytest.raises(ModalityError, match=r"got \['rgb'\]"):
        part(values, scales={"rgb": torch.ones(6)})
    with pytest.raises(OptionError, match=r"scales\['depth'\] must have shape \(6,\), got \(5,\)"):
        part(values, scales={name: torch.ones(5 if name == "depth" else 6) for name in DIMS})
    with pytest.raises(OptionError, match="does not read 'scales'"):
        ChannelExchange(DIMS)(values, scales=scales())


def test_official_norms_of_every_kind_are_converted():
    dims = {"rgb": 4, "depth": 4}
    for norm, ours, layer in (
        ("bn", "batch", nn.BatchNorm2d(4)),
        ("insnorm", "instance", None),
        ("ln", "layer", None),
    ):
        layer = layer or {"insnorm": nn.InstanceNorm2d(4, affine=True, track_running_stats=True)}.get(norm)
        layer = layer or nn.LayerNorm(4)
        nn.init.normal_(layer.weight)
        official = {f"{norm}_{i}.{key}": value for i in range(2) for key, value in layer.state_dict().items()}
        part = ChannelExchange(dims, norm=ours, faithful=True)
        part.load_state_dict(convert_channel_exchange(official, dims, norm=norm))
        assert part.norm["depth"].weight.equal(layer.weight)
    with pytest.raises(OptionError, match=r"official must hold \['bn_0', 'bn_1'\], got 'bn_2.weight' in it"):
        convert_channel_exchange({"bn_2.weight": torch.ones(4)}, dims)
