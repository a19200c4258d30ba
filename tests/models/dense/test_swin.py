"""Swin Transformers of many streams; goldens hold them to the published, and here to that of transformers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_swin,
    geminifusion_swin,
    official_geminifusion_swin,
)
from fuseloom.models.dense.placed import Placed
from fuseloom.models.dense.swin import SWIN_SIZES, PatchMerging, SwinSize, SwinStreams
from fuseloom.models.dense.swin_names import expand_swin

CHANNELS = {"rgb": 3, "depth": 3}
NAMES = [*CHANNELS]
TINY = SwinSize(dim=8, depths=(2, 1), num_heads=(1, 2), window=4)


def maps(size: tuple[int, int]) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(2, count, *size) for name, count in CHANNELS.items()}


@pytest.mark.parametrize("size", [(32, 32), (33, 46), (4, 4), (1, 1)])
def test_any_size_is_padded_to_whole_patches_and_windows(size: tuple[int, int]) -> None:
    net = SwinStreams(CHANNELS, TINY, [Placed(build=PixelAttention)]).eval()
    stages, _ = net(maps(size))
    sides = [-(-side // 4) for side in size]
    assert stages[0]["rgb"].shape == (2, 8, *sides)
    assert stages[1]["depth"].shape == (2, 16, *(-(-side // 2) for side in sides))


def test_far_tokens_hear_each_other_through_shifted_windows_only() -> None:
    def heard(depth: int) -> Tensor:
        torch.manual_seed(0)
        size = SwinSize(dim=8, depths=(depth,), num_heads=(1,), window=4)
        net = SwinStreams({"rgb": 1}, size).eval()
        image = torch.zeros(1, 1, 32, 32)
        other = image.clone()
        other[..., :4, :4] = 1
        one, two = (net({"rgb": value})[0][0]["rgb"] for value in (image, other))
        return ((one - two).abs() > 1e-7).any(1)[0]

    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4, :4] = True
    assert heard(1).equal(inside)
    assert heard(2)[4:6, 4:6].all()
    assert not heard(2)[6:, 6:].any()


def test_merging_keeps_the_published_order_of_neighbours() -> None:
    merge = PatchMerging(1)
    merge.norm = torch.nn.Identity()
    merge.reduce = torch.nn.Identity()
    tokens = torch.arange(4.0).view(1, 1, 4, 1)  # rows first
    assert merge(tokens, (2, 2)).flatten().tolist() == [0, 2, 1, 3]


def test_norms_may_be_shared_by_the_streams() -> None:
    one = torch.randn(2, 3, 32, 32)
    for shared in (True, False):
        net = SwinStreams(CHANNELS, TINY, shared_norms=shared).eval()
        for name, weight in net.named_parameters():
            if ".depth." in name or ".shared." in name:
                torch.nn.init.normal_(weight)
        last = net({"rgb": one, "depth": one})[0][-1]
        assert torch.allclose(last["rgb"], last["depth"]) == shared


def test_checkpointing_gives_the_same_gradients() -> None:
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        net = SwinStreams(CHANNELS, TINY, [Placed(build=PixelAttention)], checkpointing=again, drop_path=0.0)
        stages, _ = net.train()(maps((32, 40)))
        torch.stack([(value * value).sum() for stage in stages for value in stage.values()]).sum().backward()
        found.append([weight.grad for weight in net.parameters()])
    torch.testing.assert_close(found[0], found[1])


def test_a_checkpoint_becomes_ours_and_theirs_again() -> None:
    state = geminifusion_swin(CHANNELS, 5, size=TINY, head_dim=6, faithful=True).state_dict()
    official = official_geminifusion_swin(state, NAMES)
    assert official["encoder.body.layers.0.blocks.1.cross_attn_0_to_1.in_proj_weight"].shape == (24, 8)
    assert official["encoder.body.layers.0.blocks.1.attn.module.relative_position_index"].shape == (16, 16)
    assert official["encoder.body.norm1.ln_1.bias"].shape == (16,)
    for prefix in ("", "module."):
        back = convert_geminifusion_swin({prefix + name: value for name, value in official.items()}, NAMES)
        assert back.keys() == state.keys()
        assert all(value.equal(state[name]) for name, value in back.items())


def test_weights_of_a_swin_of_the_hub_reach_every_stream(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SwinConfig(
        image_size=40, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4, drop_path_rate=0.0
    )
    theirs = transformers.SwinModel(config).eval()
    for weight in theirs.parameters():
        weight.data.normal_(0, 0.2)
    theirs.save_pretrained(tmp_path)
    size = SwinSize(dim=8, depths=(2, 2), num_heads=(1, 2), window=4)
    ours = geminifusion_swin(CHANNELS, 5, size=size, last=0).eval()
    state = expand_swin(load_file(tmp_path / "model.safetensors"), NAMES)
    left = ours.load_state_dict(state, strict=False)
    assert {name.rpartition(".")[0] for name in left.missing_keys if name.startswith("encoder")} == {
        f"encoder.norms.{stage}.{name}" for stage in range(2) for name in NAMES
    }
    assert left.unexpected_keys == []
    ours.encoder.norms[1].load_state_dict(
        {f"{name}.{what}": getattr(theirs.layernorm, what) for name in NAMES for what in ("weight", "bias")}
    )
    image = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        expected = theirs(image).last_hidden_state.transpose(1, 2)
        found = ours.encoder(dict.fromkeys(NAMES, image))[0][-1]
    for name in NAMES:
        torch.testing.assert_close(found[name].flatten(2), expected, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_answered() -> None:
    with pytest.raises(OptionError, match=r"size must be one of \['tiny', .*\], got 'tinny'\. Did you mean"):
        SwinStreams(CHANNELS, "tinny")
    with pytest.raises(OptionError, match=r"num_heads must be one for each of 2 stages, got \[1\]"):
        SwinSize(dim=8, depths=(1, 1), num_heads=(1,))
    with pytest.raises(OptionError, match="num_heads must divide dims, got 3 for a width of 16"):
        SwinSize(dim=8, depths=(1, 1), num_heads=(1, 3))
    with pytest.raises(ModalityError, match="must have 3 channels or 1, as they share the stem, got 2"):
        SwinStreams({"rgb": 3, "flow": 2}, TINY)
    with pytest.raises(OptionError, match="that of a Swin Transformer, got 'stages"):
        expand_swin({"stages.0.weight": torch.ones(1)}, NAMES)
    assert [sum(size.depths) for size in SWIN_SIZES.values()] == [12, 24, 24, 24, 24]
