"""Tokens that a model of dense prediction exchanges, block by block."""

import numpy as np
import pytest
import torch

from fuseloom.diagnose.exchanged import exchanged
from fuseloom.errors import DataError
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
    own = {fusion: {"size": SIZE, "head_dim": 8, **options}}
    return build_dense(ModelConfig(encoders=encoders, fusion=fusion, options=own), TASK).eval()


ROWS = Batch(
    inputs={"rgb": torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "depth": torch.randn(4, 1, 32, 32)},
    target=torch.randint(0, 2, (4, 32, 32)).to(torch.uint8),
)


def seen(model: DensePredictor):
    return exchanged(
        model,
        ROWS,
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


def test_a_model_that_chooses_no_tokens_says_so() -> None:
    with pytest.raises(DataError, match="no exchange that chooses positions"):
        seen(built("segformer"))
