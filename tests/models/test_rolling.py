from functools import partial

import pytest
import torch
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.models.rolling import (
    PatchEncoder,
    convert_patch_encoder,
    convert_rolling_transformer,
    rolling_transformer,
)
from fuseloom.nn.turned_query import turned_by
from fuseloom.nn.vit import ViTBlock
from fuseloom.train.rolling_query import RollingQuery

BLOCK = partial(ViTBlock, num_heads=2)
SIZES = {"audio": (1, (48, 32)), "video": (3, (2, 32, 32))}


def encoder(name="video", *, depth=1):
    torch.manual_seed(0)
    made = PatchEncoder(*SIZES[name], dim=8, depth=depth, block=BLOCK)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made


def inputs(rows=4):
    return {name: torch.randn(rows, channels, *size) for name, (channels, size) in SIZES.items()}


def official_state(rotate=None):
    """An official checkpoint of the model of `model_of`."""
    torch.manual_seed(1)
    shapes = {"bot_token": (1, 4, 8)}
    for name, (channels, size) in SIZES.items():
        time = [1] if len(size) == 3 else []
        tokens = 1 + (size[0] if len(size) == 3 else 1) * (size[-2] // 16) * (size[-1] // 16)
        shapes |= {f"cls_token_{name}": (1, 1, 8), f"pos_embed_{name}": (1, tokens, 8)}
        shapes |= {
            f"patch_embed_{name}.proj.weight": (8, channels, *time, 16, 16),
            f"patch_embed_{name}.proj.bias": (8,),
        }
        for part, (rows, columns) in {
            "attn.qkv": (24, 8),
            "attn.proj": (8, 8),
            "mlp.fc1": (32, 8),
            "mlp.fc2": (8, 32),
        }.items():
            shapes |= {
                f"{name}_blocks.0.{part}.weight": (rows, columns),
                f"{name}_blocks.0.{part}.bias": (rows,),
            }
        for norm in (f"{name}_blocks.0.norm1", f"{name}_blocks.0.norm2", f"norm_{name}"):
            shapes |= {f"{norm}.weight": (8,), f"{norm}.bias": (8,)}
    state = {f"encoder.{name}": torch.randn(shape) * 0.3 for name, shape in shapes.items()}
    fusion = {"cls_token": (1, 1, 8), "FC.weight": (6, 8), "FC.bias": (6,)}
    for part in ("w_qs", "w_ks", "w_vs", "fc"):
        fusion |= {f"attn.{part}.weight": (8, 8), f"attn.{part}.bias": (8,)}
    state |= {f"fusion_module.{name}": torch.randn(shape) for name, shape in fusion.items()}
    return state | {"fusion_module.rotate": torch.eye(8) if rotate is None else rotate}


def model_of(state):
    encoders = {name: PatchEncoder(*SIZES[name], dim=8, depth=1, block=BLOCK) for name in SIZES}
    model = rolling_transformer(encoders, 6, faithful=True)
    model.load_state_dict(convert_rolling_transformer(state))
    return model.eval()


def test_the_default_encoders_are_as_large_as_the_published_ones():
    with torch.device("meta"):
        encoders = {"audio": PatchEncoder(1, (188, 257)), "video": PatchEncoder(3, (3, 224, 224))}
        model = rolling_transformer(encoders, 6, faithful=True)
    count = sum(value.numel() for one in encoders.values() for value in one.parameters())
    # The official concatenation has 58.11 M: these, its head, two probes and four shared tokens.
    assert round((count + 1536 * 6 + 6 + 2 * (768 * 6 + 6) + 4 * 768) / 1e6, 2) == 58.11
    fusion = [model.merge.class_token, *model.head.parameters()]
    for name in ("query", "key", "value", "out"):
        fusion += model.merge.get_submodule(name).parameters()
    # The official layer has 2.96 M, of which a norm that is never called and the rotation are not here.
    assert round((sum(value.numel() for value in fusion) + 2 * 768 + 768**2) / 1e6, 2) == 2.96


@pytest.mark.parametrize("size", [(35, 50), (2, 35, 50)])
def test_patches_are_those_of_a_convolution(size):
    torch.manual_seed(0)
    made = PatchEncoder(3, size, dim=8, depth=0)
    value, kernel = torch.randn(2, 3, *size), made.stages[0].project.weight.view(8, 3, 1, 16, 16)
    frames = value if len(size) == 3 else value[:, :, None]
    expected = F.conv3d(frames, kernel, made.stages[0].project.bias, stride=(1, 16, 16)).flatten(2).mT
    tokens, mask = made.run_stage(0, value, None)
    torch.testing.assert_close(tokens[:, 1:] - made.stages[0].positions[1:], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[:, 0], made.stages[0].positions[:1].expand(2, -1))
    assert mask is None


@pytest.mark.parametrize("kind", ["rows", "frames", "pixels"])
def test_what_is_masked_has_no_influence(kind):
    made, value = encoder(depth=2), inputs()["video"]
    mask = torch.ones(4, 2, 32, 32).bool()
    mask[1] = False
    if kind == "frames":
        mask[2, 1] = False
    if kind == "pixels":
        mask[2, :, 16:], mask[2, :, :, 16:] = False, False
    given = {"rows": mask[:, 0, 0, 0], "frames": mask[:, :, 0, 0], "pixels": mask}[kind]
    hidden = value.masked_fill(~mask[:, None], torch.nan)
    tokens, kept = made(hidden, given)
    other, _ = made(value.masked_fill(~mask[:, None], 7.0), given)
    assert tokens.isfinite().all()
    assert tokens.equal(other)
    assert not kept[1].any()
    assert not tokens[1].any()
    counts = {"rows": 9, "frames": 5, "pixels": 3}
    assert kept.sum(1).tolist() == [9, 0, counts[kind], 9]
    plain, _ = made(value)
    torch.testing.assert_close(tokens[0], plain[0])


def test_a_stored_rotation_acts_as_soon_as_it_is_not_the_identity():
    rotate = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    plain, turned = model_of(official_state()), model_of(official_state(rotate))
    torch.testing.assert_close(turned.merge.class_query()[0], rotate @ plain.merge.class_query()[0])
    x = inputs()
    assert not turned(x).allclose(plain(x))


def test_probes_and_shared_tokens_are_left_out():
    state = official_state()
    probes = {f"{name}_head.{kind}": torch.zeros(1) for name in "av" for kind in ("weight", "bias")}
    model = model_of(state | probes)
    assert not [name for name in model.state_dict() if "bot" in name or "probe" in name]


def test_modalities_can_have_other_names():
    state = convert_rolling_transformer(official_state(), ("sound", "film"))
    assert {name.split(".")[1] for name in state if name.startswith("encoders.")} == {"sound", "film"}
    own = convert_patch_encoder({n.removeprefix("encoder."): v for n, v in official_state().items()}, "video")
    for name, value in own.items():
        assert value.equal(state[f"encoders.film.{name}"])


def test_the_query_is_turned_in_training():
    torch.manual_seed(0)
    encoders = {name: PatchEncoder(*SIZES[name], dim=8, depth=1, block=BLOCK) for name in SIZES}
    rolling = RollingQuery()
    model = rolling.attach(rolling_transformer(encoders, 6, num_heads=2))
    x = inputs()
    before = model(x).detach()
    with rolling.watching(model, 0, 1):
        model(x)
    assert rolling.end_epoch(model, (model(x) for _ in range(1))).decision == "rotated"
    assert len(turned_by(model.merge.query)) == 1
    assert not model(x).allclose(before)


@pytest.mark.compile
def test_the_model_exports_with_a_dynamic_batch():
    model = model_of(official_state())
    x = inputs()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (x,), dynamic_shapes=({name: {0: batch} for name in x},))
    other = inputs(7)
    torch.testing.assert_close(program.module()(other), model(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "state",
    [
        {"fusion_module.fc_out.weight": torch.zeros(1)},
        official_state() | {"encoder.bot_audio_blocks.0.norm1.bias": torch.zeros(8)},
    ],
)
def test_another_model_is_refused(state):
    with pytest.raises(
        OptionError, match="official must be a transformer with attention fusion and no bottle"
    ):
        convert_rolling_transformer(state)


@pytest.mark.parametrize("size", [(15, 32), (32, 15), (0, 32, 32), (32,), (1, 1, 32, 32)])
def test_a_size_without_a_patch_is_refused(size):
    with pytest.raises(
        OptionError, match=r"size must be \(H, W\) or \(T, H, W\) with H and W of at least 16"
    ):
        PatchEncoder(3, size, dim=8, depth=1)


def test_a_value_of_another_size_is_refused():
    with pytest.raises(ModalityError, match=r"must have shape \[B, 3, 2, 32, 32\] as the encoder was built"):
        encoder()(torch.zeros(2, 3, 3, 32, 32))
