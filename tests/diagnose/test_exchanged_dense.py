"""What a model of dense prediction exchanges, block by block, and where."""

import numpy as np
import pytest
import torch

from fuseloom.diagnose.exchanged import exchanged
from fuseloom.diagnose.modality_maps import TOGETHER, TRUTH, ModalityMaps, modality_maps
from fuseloom.errors import DataError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.models import ModelConfig
from fuseloom.models.dense_systems import DensePredictor, build_dense
from fuseloom.report.exchanged import layer_name
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.train.step import apply_model
from fuseloom.types import Batch

SIZE = {"dims": [8, 16], "depths": [1, 2], "num_heads": [1, 2], "reductions": [2, 1]}
TASK = Segmentation(["a", "b"], size=(32, 32))


def built(fusion: str, **options: object) -> DensePredictor:
    torch.manual_seed(0)
    encoders = {"rgb": {"kind": "image", "channels": 3}, "depth": {"kind": "map", "channels": 1}}
    sizes = {"depths": (1, 1, 1, 1), "dim": 4} if fusion == "cen" else {"size": SIZE}
    own = {fusion: {**sizes, "head_dim": 8, **options}}
    return build_dense(ModelConfig(encoders=encoders, fusion=fusion, options=own), TASK).eval()


ROWS = Batch(
    inputs={"rgb": torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "depth": torch.randn(4, 1, 32, 32)},
    target=torch.randint(0, 2, (4, 32, 32)).to(torch.uint8),
)


def seen(model: DensePredictor, rows: Batch = ROWS):
    return exchanged(
        model,
        rows,
        lambda rows: TASK.predict(np.asarray(apply_model(model, rows).detach())),
        model="mine",
        metric=("miou", TASK.metrics["miou"]),
        resamples=20,
    )


def test_every_block_says_which_tokens_gave_way() -> None:
    all_of_them = seen(built("tokenfusion", threshold=0.9))
    assert [layer_name(one.layer) for one in all_of_them.layers[::2]] == [
        "block 0.0",
        "block 1.0",
        "block 1.1",
    ]
    assert {one.share.mean for one in all_of_them.layers} == {1.0}
    none = seen(built("tokenfusion", threshold=1e-9))
    assert {one.share.mean for one in none.layers} == {0.0}
    assert none.lost.mean == 0
    assert all_of_them.samples[0].streams[0].layers


def test_a_model_without_an_exchange_says_so() -> None:
    with pytest.raises(DataError, match="no exchange that says what it takes"):
        seen(built("segformer"))


def test_a_model_that_exchanges_no_token_loses_nothing_though_scores_scale_its_tokens() -> None:
    model = built("tokenfusion", threshold=1e-9)
    for part in model.modules():
        if isinstance(part, TokenExchange):
            torch.nn.init.normal_(next(part.predictor["rgb"].parameters()))
    found = seen(model)
    assert {one.share.mean for one in found.layers} == {0.0}
    assert found.lost.mean == 0


def test_channels_that_give_way_are_a_share_of_all_and_their_norms_stay_without_it() -> None:
    model = built("cen", faithful=True)
    found = seen(model)
    assert {(one.unit, one.share.mean) for one in found.layers} == {("channels", 0.0)}
    assert [layer_name(one.layer) for one in found.layers[::2]] == [f"block {n}.0" for n in range(4)]
    first = next(part for part in model.modules() if isinstance(part, ChannelExchange))
    with torch.no_grad():
        first.norm["rgb"].weight[:3] = 0
    rgb, depth = seen(model).layers[:2]
    assert (rgb.share.mean, depth.share.mean) == (0.75, 0.0)
    assert first.threshold == 0.02
    assert seen(model).samples == ()


def test_pixel_attention_is_a_share_of_weight_and_none_where_the_other_is_absent() -> None:
    model = built("geminifusion")
    shares = [one.share.mean for one in seen(model).layers]
    assert all(0 < share < 1 for share in shares)
    assert {one.unit for one in seen(model).layers} == {"values"}
    alone = Batch(inputs=ROWS.inputs, masks={"depth": torch.zeros(4).bool()}, target=ROWS.target)
    assert next(one.share.mean for one in seen(model, alone).layers if one.modality == "rgb") == 0


def mapped(model: DensePredictor) -> ModalityMaps:
    return modality_maps(
        model,
        ROWS,
        TASK.predict,
        classes=TASK.labels,
        model="mine",
        metric=("miou", TASK.metrics["miou"]),
        num_scenes=2,
        resamples=20,
    )


def test_maps_have_a_size_per_stage_and_say_how_much_is_anothers() -> None:
    scene = mapped(built("tokenfusion", threshold=0.9)).scenes[0]
    assert [(one.modality, len(one.shares), len(one.layers)) for one in scene.maps] == [
        ("rgb", 8, 1),
        ("depth", 8, 1),
        ("rgb", 4, 2),
        ("depth", 4, 2),
    ]
    assert {one.mean for one in scene.maps} == {1.0}
    assert {share for row in scene.maps[0].shares for share in row} == {1.0}


def test_a_map_of_channels_is_the_share_of_squares_in_those_of_another() -> None:
    model = built("cen", faithful=True)
    assert {one.mean for one in mapped(model).scenes[0].maps} == {0.0}
    for part in model.modules():
        if isinstance(part, ChannelExchange):
            torch.nn.init.zeros_(part.norm["rgb"].weight)
    means = {one.modality: one.mean for one in mapped(model).scenes[0].maps}
    assert means["rgb"] == pytest.approx(1)
    assert means["depth"] == 0


def test_each_stream_predicts_and_the_mean_is_the_models_own() -> None:
    model = built("geminifusion")
    found = mapped(model)
    assert [one.name for one in found.streams] == ["rgb", "depth", TOGETHER]
    labels = {one.name: one for one in found.scenes[1].labels}
    place = found.scenes[1].place
    own = TASK.predict(np.asarray(apply_model(model, ROWS).detach()))[place]
    assert np.array_equal(labels[TOGETHER].labels, own)
    assert np.array_equal(labels[TRUTH].labels, ROWS.target[place])
    assert labels[TOGETHER].right == pytest.approx((own == ROWS.target[place].numpy()).mean())
    assert labels[TRUTH].right is None
    assert TOGETHER in {one.name for one in mapped(built("segformer", merge="concat")).streams}
