"""Backbones of timm: cut apart they are the whole, frozen they rest, and offline they say so."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from fuseloom.encoders.timm import TimmEncoder
from fuseloom.errors import DataError, MissingExtraError, ModalityError, OptionError, UnknownNameError

timm = pytest.importorskip("timm")

TINY = {
    "resnet": ("resnet18", {"channels": [8, 8, 16, 24], "stem_width": 8}),
    "convnext": ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 24]}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"depths": [1, 1, 1, 1], "embed_dim": 8, "num_heads": [1, 2, 2, 4], "img_size": 64, "window_size": 2},
    ),
    "vit": (
        "vit_tiny_patch16_224",
        {"depth": 5, "embed_dim": 24, "num_heads": 2, "img_size": 32, "patch_size": 8},
    ),
    "vit_avg": ("test_vit", {"global_pool": "avg", "img_size": 32}),
}
FAMILIES = list(TINY)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with configuration and random weights per family, and the model itself."""
    made = {}
    for name, (architecture, arguments) in TINY.items():
        torch.manual_seed(0)
        model = timm.create_model(architecture, num_classes=3, **arguments).eval()
        for module in model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        folder = tmp_path_factory.mktemp(name)
        own = {"mean": [0.2, 0.3, 0.4], "std": [0.5, 0.4, 0.3], "num_classes": 3}
        config = {"architecture": architecture, "pretrained_cfg": own, "model_args": arguments}
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        save_file(model.state_dict(), folder / "model.safetensors")
        made[name] = (str(folder), model)
    return made


def pixels(count=3, side=64):
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)


def normalised(images, size):
    unit = images / 255
    if size:
        unit = torch.nn.functional.interpolate(unit, (size, size), mode="bilinear", antialias=True)
    return (unit - torch.tensor([0.2, 0.3, 0.4])[:, None, None]) / torch.tensor([0.5, 0.4, 0.3])[
        :, None, None
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_stages_together_are_the_model_before_its_classifier(folders, family):
    folder, model = folders[family]
    encoder = TimmEncoder(folder, dim=8).eval()
    assert len(encoder.stages) == 5 or family == "vit_avg"
    images, value, mask = pixels(), None, None
    value = images
    for index, width in enumerate(encoder.dims[:-1]):
        value, mask = encoder.run_stage(index, value, mask)
        assert value.shape[1 if value.dim() == 4 else -1] == width
    read = normalised(images, TINY[family][1].get("img_size"))
    features = model.forward_features(read)
    expected = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(encoder.stages[-1].last(value), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_map_is_its_tokens_in_rows_and_columns(folders, family):
    streams = {}
    for output in ("tokens", "map"):
        torch.manual_seed(1)
        encoder = TimmEncoder(folders[family][0], dim=8, output=output).eval()
        streams[output] = encoder(pixels(2) * 0 + 3, torch.tensor([True, False]))
    (tokens, kept), (rows, shown) = streams["tokens"], streams["map"]
    flat = rows.flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens[:, -flat.shape[1] :], flat)
    assert tokens.shape[1] - flat.shape[1] == (1 if family.startswith("vit") else 0)
    assert kept.shape == tokens.shape[:2]
    assert shown.shape == (2, *rows.shape[2:])
    assert kept[0].all()
    assert not kept[1].any()
    assert tokens[1].eq(0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_images_leave_no_trace_in_training(folders, family):
    encoder = TimmEncoder(folders[family][0], dim=8, dropout=0.0).train()
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    images, mask = torch.rand(4, 3, 64, 64), torch.tensor([True, False, True, False])
    images[1], images[3] = torch.nan, torch.inf
    images.requires_grad_()
    stream, kept = encoder(images, mask)
    torch.testing.assert_close(stream[mask], encoder(images[mask])[0], rtol=1e-4, atol=1e-4)
    assert kept.equal(mask)
    assert stream[~mask].eq(0).all()
    (stream * torch.randn_like(stream)).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad[~mask].eq(0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert all(buffer.equal(before[name]) for name, buffer in encoder.named_buffers())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_model_rests_and_passes_gradients_on(folders, family):
    encoder = TimmEncoder(folders[family][0], dim=8, frozen=True, dropout=0.0)
    encoder.train()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(".project." in name for name in trained)
    backbones = [stage.body.module for stage in encoder.stages[:-1]]
    assert not any(module.training for backbone in backbones for module in backbone.modules())
    assert encoder.stages[-1].project.training
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    (encoder(images)[0] * torch.randn(2, 8)).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_rebuilt_without_its_folder(folders, family):
    encoder = TimmEncoder(folders[family][0], dim=8).eval()
    options = json.loads(json.dumps(encoder.rebuild_options()))
    again = TimmEncoder("no/such/model", dim=8, **options).eval()
    again.load_state_dict(encoder.state_dict())
    images = pixels(2)
    assert again(images)[0].equal(encoder(images)[0])
    assert len({p.data_ptr() for p in encoder.state_dict().values()}) == len(encoder.state_dict())


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("family", ["resnet", "convnext", "vit"])
def test_it_is_exported_for_any_batch(folders, family):
    encoder = TimmEncoder(folders[family][0], dim=8).eval()
    batch = torch.export.Dim("batch", min=2)
    images, mask = torch.rand(5, 3, 64, 64), torch.rand(5) < 0.7
    exported = torch.export.export(encoder, (images, mask), dynamic_shapes=({0: batch}, {0: batch})).module()
    images, mask = torch.rand(2, 3, 64, 64), torch.tensor([True, False])
    torch.testing.assert_close(exported(images, mask)[0], encoder(images, mask)[0], rtol=1e-4, atol=1e-5)


def test_any_other_model_is_one_stage():
    encoder = TimmEncoder("test_efficientnet", dim=8, pretrained=False).eval()
    assert len(encoder.stages) == 2
    stream, mask = encoder(pixels(2), torch.tensor([False, True]))
    assert stream[0].eq(0).all()
    assert stream[1].abs().sum() > 0
    assert mask.tolist() == [False, True]
    with pytest.raises(OptionError, match="output must be 'pooled' for 'test_efficientnet', got 'map'"):
        TimmEncoder("test_efficientnet", pretrained=False, output="map")


def test_bytes_and_numbers_grey_and_colour_agree(folders):
    encoder = TimmEncoder(folders["resnet"][0], dim=8).eval()
    grey = torch.randint(0, 256, (2, 1, 40, 33), dtype=torch.uint8)
    colour, numbers = grey.expand(-1, 3, -1, -1), grey / 127.5 - 1
    torch.testing.assert_close(encoder(grey)[0], encoder(colour)[0])
    torch.testing.assert_close(encoder(grey)[0], encoder(numbers)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ModalityError, match=r"must have shape \[B, 3, H, W\] .* got \(2, 4, 8, 8\)"):
        encoder(torch.zeros(2, 4, 8, 8))


def test_what_cannot_be_loaded_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match=r"got 'resnet1888'\. Did you mean 'resnet18.*'\?"):
        TimmEncoder("resnet1888")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"got 'test_resnet': .* without a network, give the path of a folder"
    ):
        TimmEncoder("test_resnet")
    with pytest.raises(DataError, match=r"a folder with a config\.json in it"):
        TimmEncoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="model must be one that timm can load"):
        TimmEncoder(str(tmp_path))
    with pytest.raises(OptionError, match="output must be 'pooled', 'tokens' or 'map', got 'all'"):
        TimmEncoder("test_resnet", output="all")


def test_without_timm_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[vision\]'"):
        TimmEncoder("test_resnet")


def test_a_map_is_averaged_to_a_grid(folders):
    images = torch.randint(256, (2, 3, 96, 64), dtype=torch.uint8)
    grown = TimmEncoder(folders["resnet"][0], dim=8, output="tokens", grid=4).eval()
    tokens, mask = grown(images, torch.tensor([True, False]))
    assert tokens.shape == (2, 16, 8)
    assert mask.sum(1).tolist() == [16, 0]
    whole, one = (
        TimmEncoder(folders["resnet"][0], dim=8, output="map", grid=grid).eval() for grid in (None, 1)
    )
    one.load_state_dict(whole.state_dict())
    average = whole.features(images, None)[0].mean((2, 3), keepdim=True)
    torch.testing.assert_close(one.features(images, None)[0], average)


@pytest.mark.parametrize("given", [{"grid": 0, "output": "map"}, {"grid": 2}])
def test_a_grid_needs_positions(given):
    with pytest.raises(OptionError, match="grid must be at least 1"):
        TimmEncoder("test_resnet", pretrained=False, **given)
