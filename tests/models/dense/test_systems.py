"""Systems of dense prediction by name, and what stands between them and a task."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.models.dense import (
    MitSize,
    in_windows,
    official_tokenfusion_mit,
    over_scales,
    tokenfusion_mit,
)
from fuseloom.models.dense_systems import DensePredictor, Views, build_dense, named_dense_system
from fuseloom.registry import list_names, lookup
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.train.recipe import list_recipes, read_recipe
from fuseloom.types import Trace

SIZE = {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1]}
SMALL = {
    "geminifusion": {"size": SIZE, "num_heads": 2, "head_dim": 8},
    "tokenfusion": {"size": SIZE, "head_dim": 8},
    "cen": {"depths": [1, 1, 1, 1], "dim": 4, "head_dim": 8},
    "segformer": {"size": SIZE, "head_dim": 8},
}
TASK = Segmentation(["a", "b", "c"], size=(64, 96))
ENCODERS = {"rgb": {"kind": "image", "channels": 3}, "depth": {"kind": "map", "channels": 1}}


def config(name: str, *, encoders: dict[str, dict[str, object]] = ENCODERS, **options: object) -> ModelConfig:
    return ModelConfig(
        encoders=encoders, fusion=name, dropout=0.0, options={name: {**SMALL[name], **options}}
    )


def scenes(batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (batch, 3, 64, 96), generator=generator).to(torch.uint8)
    return {"rgb": rgb, "depth": torch.randn(batch, 1, 64, 96, generator=generator)}


def test_every_system_is_tested() -> None:
    assert list_names(kind="dense") == sorted(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_system_learns_from_all_streams_and_predicts_their_mean(name: str) -> None:
    torch.manual_seed(0)
    model = build_dense(config(name), TASK)
    trace = Trace()
    outputs = model(
        scenes(), {"rgb": torch.ones(2).bool(), "depth": torch.ones(2, 64, 96).bool()}, trace=trace
    )
    streams = 2 if name != "segformer" or model.model.ensemble.names != ("fused",) else 1
    assert outputs.shape[:3] == (2, streams + 1, 3)
    target = torch.zeros(2, 64, 96, dtype=torch.uint8)
    (TASK.loss(outputs, target) + trace.total_loss()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    model.eval()
    assert model(scenes()).shape == (2, 3, *outputs.shape[-2:])
    assert lookup(name, kind="dense").card.paper


@pytest.mark.parametrize("name", SMALL)
def test_a_stream_that_a_sample_lacks_teaches_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = build_dense(config(name), TASK).train()
    there = torch.tensor([True, False])
    outputs = model(scenes(), {"depth": there[:, None, None].expand(2, 64, 96)})
    torch.testing.assert_close(outputs[1, 1], outputs[1, -1])
    (gradient,) = torch.autograd.grad(outputs[1, 1].sum(), model.model.head.parameters(), allow_unused=True)[
        :1
    ]
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize("name", SMALL)
def test_one_modality_alone_can_be_learnt_from_and_one_be_left_out(name: str) -> None:
    torch.manual_seed(0)
    alone = build_dense(config(name, encoders={"rgb": ENCODERS["rgb"]}), TASK).eval()
    assert alone({"rgb": scenes()["rgb"]}).shape[:2] == (2, 3)
    both = build_dense(config(name), TASK).eval()
    rgb = {"rgb": scenes()["rgb"]}
    none = {"rgb": torch.ones(2).bool(), "depth": torch.zeros(2, 64, 96).bool()}
    torch.testing.assert_close(both(rgb), both(scenes(), none))


def test_streams_may_be_read_by_one_head_and_exchange_anything() -> None:
    torch.manual_seed(0)
    exchange = {"exchange": "cross_attention", "exchange_options": {"num_heads": 2}, "stage_ends": True}
    model = build_dense(config("segformer", merge="concat", **exchange), TASK)
    assert len(model.model.encoder.exchanges) == 2
    outputs = model(scenes(), {"depth": torch.tensor([True, False])})
    assert outputs.shape[:3] == (2, 2, 3)
    torch.testing.assert_close(outputs[:, 0], outputs[:, 1])
    outputs.sum().backward()
    swin = {"dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window": 4}
    assert build_dense(config("geminifusion", backbone="swin", size=swin), TASK)(scenes()).shape[1] == 3


def test_pictures_in_bytes_become_numbers_as_backbones_saw_them() -> None:
    tiny = MitSize(dims=(8,), depths=(1,), num_heads=(1,), reductions=(1,))
    model = DensePredictor(tokenfusion_mit({"rgb": 3}, 2, size=tiny, head_dim=4)).eval()
    grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    floats = expected.view(1, 3, 1, 1).expand(1, 3, 32, 32)
    torch.testing.assert_close(model({"rgb": grey}), model({"rgb": floats}))
    with pytest.raises(OptionError, match="got one of a model by hand"):
        model.load_backbone({})


def plain_backbone() -> dict[str, torch.Tensor]:
    """Weights of one stream, as those that saw ImageNet are named."""
    size = MitSize(**{name: tuple(value) for name, value in SIZE.items()})
    official = official_tokenfusion_mit(tokenfusion_mit({"x": 3}, 2, size=size).state_dict(), ["x"])
    return {
        name.removeprefix("encoder.").replace(".ln_0", "").replace(".module", ""): value
        for name, value in official.items()
        if name.startswith("encoder.") and "score_predictor" not in name
    }


@pytest.mark.parametrize("name", ["geminifusion", "segformer", "tokenfusion"])
def test_all_streams_begin_with_one_pretrained_backbone(name: str) -> None:
    torch.manual_seed(0)
    official, model = plain_backbone(), build_dense(config(name), TASK)
    model.load_backbone(official)
    for stream in ("rgb", "depth"):
        norm = model.model.encoder.state_dict()[f"norms.0.{stream}.weight"]
        assert norm.equal(official["norm1.weight"])
    head = official["patch_embed1.proj.weight"]
    assert any(value.equal(head) for value in model.model.encoder.state_dict().values())


SHARING: dict[str, dict[str, Any]] = {
    "geminifusion": {},
    "tokenfusion": {},
    "segformer": {"exchange": "pixel_attention"},
    "cen": {"exchange": False},
}


@pytest.mark.parametrize("name", SMALL)
def test_one_norm_for_all_streams_is_norms_of_each_that_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = build_dense(config(name, shared_norms=True, **SHARING[name]), TASK).eval()
    apart = build_dense(config(name, **SHARING[name]), TASK).eval()
    for key, value in model.state_dict().items():
        if ".shared." in key:
            value.copy_(torch.rand(value.shape) + 0.5)
            assert key.replace(".shared.", ".depth.") in apart.state_dict()
    state = model.state_dict()
    streams = {
        key: key.replace(".rgb.", ".shared.").replace(".depth.", ".shared.") for key in apart.state_dict()
    }
    apart.load_state_dict({key: state[key if key in state else one] for key, one in streams.items()})
    assert len(state) < len(streams)
    given, lacking = scenes(), {"depth": torch.tensor([True, False])[:, None, None].expand(2, 64, 96)}
    for masks in (None, lacking):
        torch.testing.assert_close(model(given, masks), apart(given, masks))
    assert not any(key.startswith("model.encoder.norms") and ".rgb." in key for key in state)


@pytest.mark.parametrize("name", ["geminifusion", "segformer", "tokenfusion"])
def test_a_norm_for_all_streams_begins_with_that_of_the_backbone(name: str) -> None:
    official, model = plain_backbone(), build_dense(config(name, shared_norms=True), TASK)
    official["norm1.weight"] = torch.full_like(official["norm1.weight"], 3.0)
    model.load_backbone(official)
    assert model.model.encoder.state_dict()["norms.0.shared.weight"].equal(official["norm1.weight"])


def test_a_backbone_that_does_not_fit_is_answered() -> None:
    wider = build_dense(config("segformer", size={**SIZE, "dims": [16, 16]}), TASK)
    with pytest.raises(
        OptionError, match=r"must be those of the model's backbone, got '?\w+.* Choose its size"
    ):
        wider.load_backbone(plain_backbone())
    with pytest.raises(OptionError, match="backbone that 'cen' takes, got weights"):
        build_dense(config("cen"), TASK).load_backbone({})


def test_scenes_may_be_seen_at_scales_mirrored_and_in_windows() -> None:
    torch.manual_seed(0)
    model = build_dense(config("segformer"), TASK).eval()
    plain = model(scenes())
    maps = {"rgb": (scenes()["rgb"].float() - model.mean) / model.std, "depth": scenes()["depth"]}

    def mean(parts: Mapping[str, torch.Tensor], masks: object = None) -> torch.Tensor:
        return model.model(parts, masks)[:, -1]

    model.views = Views(scales=(0.5, 1.0), mirror=True)
    expected = over_scales(mean, maps, scales=(0.5, 1.0), mirror=True, divisor=1)
    torch.testing.assert_close(model(scenes()).exp(), expected)
    model.views = Views(window=(32, 48))
    expected = in_windows(mean, maps, window=(32, 48)).softmax(1)
    torch.testing.assert_close(model(scenes()).exp(), expected)
    assert TASK.predict(model(scenes()).detach().numpy()).shape == (2, 64, 96)
    model.views = Views()
    torch.testing.assert_close(model(scenes()), plain)
    with pytest.raises(OptionError, match=r"scales must be above 0, one at least, got \[0\.0\]"):
        Views(scales=(0.0,))
    with pytest.raises(OptionError, match=r"window must have a pixel or more, got \[0, 4\]"):
        Views(window=(0, 4))


def test_what_cannot_be_built_is_answered() -> None:
    with pytest.raises(OptionError, match=r"'geminifusion' has no option 'hedas'"):
        named_dense_system(config("geminifusion", hedas=3))
    with pytest.raises(OptionError, match=r"must have a fusion for one, .* got 'concat' for segmentation"):
        build_dense(ModelConfig(encoders=ENCODERS, fusion="concat"), TASK)
    with pytest.raises(OptionError, match=r"got 'cen', which predicts at each pixel"):
        build_model(config("cen"), Classification(["a", "b"]))
    with pytest.raises(OptionError, match=r"layers must be one of \[50, 101, 152\], got 3"):
        build_dense(config("cen", depths=(), layers=3), TASK)
    with pytest.raises(OptionError, match="shared_norms must be False beside this exchange, got True"):
        build_dense(config("cen", shared_norms=True), TASK)
    with pytest.raises(OptionError, match=r"backbone must be one of .*, got 'vit'"):
        build_dense(config("geminifusion", backbone="vit"), TASK)
    with pytest.raises(OptionError, match="collapse must be False for the backbone 'swin'"):
        build_dense(config("geminifusion", backbone="swin", collapse=True), TASK)
    with pytest.raises(OptionError, match="merge must be 'mean' or 'concat', got 'sum'"):
        build_dense(config("segformer", merge="sum"), TASK)
    with pytest.raises(OptionError, match=r"size must be one of .*, got 'dim'"):
        build_dense(config("segformer", size={"dim": [8]}), TASK)
    with pytest.raises(OptionError, match=r"size must have dims and depths, got"):
        build_dense(config("segformer", size={"dims": [8]}), TASK)


@pytest.mark.parametrize("name", [one for one in list_recipes() if one.partition("-")[0] in SMALL])
def test_recipes_name_options_that_there_are(name: str) -> None:
    recipe = read_recipe(name)
    wanted = ModelConfig(encoders={}, fusion=recipe.model.fusion, options=recipe.model.options)
    assert named_dense_system(wanted) is not None
