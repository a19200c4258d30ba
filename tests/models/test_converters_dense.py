"""Official checkpoints of dense prediction become saved models that label pixels as they do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseloom.data.dataset import Map
from fuseloom.errors import DataError, ModalityError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.models.dense import (
    DenseModel,
    MitSize,
    SwinSize,
    cen_refinenet,
    geminifusion_mit,
    geminifusion_swin,
    official_cen_refinenet,
    official_geminifusion_deliver,
    official_geminifusion_mit,
    official_geminifusion_swin,
    official_tokenfusion_mit,
    tokenfusion_mit,
)
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.train.converted import convert_checkpoint
from fuseloom.train.saved import SavedModel

NAMES = ["rgb", "depth"]
CHANNELS = {"rgb": 3, "depth": 1}
TINY = MitSize(dims=(8, 16), depths=(1, 2), num_heads=(1, 2), reductions=(2, 1), expansion=2)
BUILDS: dict[str, tuple[Callable[..., DenseModel], Callable[..., Any], dict[str, Any]]] = {
    "cen": (
        cen_refinenet,
        official_cen_refinenet,
        {"depths": (1, 2, 1, 1), "dim": 4, "exchange": partial(ChannelExchange, faithful=True)},
    ),
    "geminifusion": (geminifusion_mit, official_geminifusion_mit, {"faithful": True, "num_heads": 4}),
    "tokenfusion": (tokenfusion_mit, official_tokenfusion_mit, {"threshold": 0.4}),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "cen": {},
    "geminifusion": {"num_heads": 4, "backbone_heads": (1, 2)},
    "tokenfusion": {"threshold": 0.4, "backbone_heads": (1, 2)},
}


def checkpoint(system: str, folder: Path) -> tuple[Path, DenseModel]:
    torch.manual_seed(0)
    build, official, options = BUILDS[system]
    sizes = {} if system == "cen" else {"size": TINY, "weighting": "frozen"}
    model = build(CHANNELS, 3, head_dim=8, **sizes, **options).eval()
    state = {f"module.{name}": value for name, value in official(model.state_dict(), NAMES).items()}
    if system != "cen":
        state["module.decoder.linear_fuse.bn.num_batches_tracked"] = torch.tensor(7)
    torch.save({"segmenter": state, "epoch_start": 3}, folder / "model-best.pth.tar")
    return folder / "model-best.pth.tar", model


@pytest.mark.parametrize("system", BUILDS)
def test_a_checkpoint_becomes_a_saved_model_that_labels_as_it_does(system: str, tmp_path: Path) -> None:
    path, model = checkpoint(system, tmp_path)
    done = convert_checkpoint(
        path,
        system,
        modalities=dict.fromkeys(NAMES),
        classes=["wall", "floor", "bed"],
        targets=["mask"],
        options={"size": "32x48", **OPTIONS[system]},
    )
    done.saved.save(tmp_path / "saved")
    saved = SavedModel.load(tmp_path / "saved")
    assert isinstance(saved.task, Segmentation)
    assert (saved.task.labels, saved.task.size) == (("wall", "floor", "bed"), (32, 48))
    assert saved.schema.label_format is not None
    maps = {"rgb": torch.randn(2, 3, 32, 48), "depth": torch.randn(2, 1, 32, 48)}
    torch.testing.assert_close(saved.model(maps), model(maps)[:, -1])
    named = [name for piece in done.pieces for name in piece.sources]
    assert len(named) == len(set(named))
    assert len(done.pieces) > 10
    again = convert_checkpoint(
        path,
        system,
        modalities=dict.fromkeys(NAMES),
        options={"size": "32x48", **OPTIONS[system]},
    )
    assert isinstance(again.saved.task, Segmentation)
    assert again.saved.task.labels == ("0", "1", "2")


def test_a_swin_transformer_is_told_from_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = SwinSize(dim=8, depths=(1, 2), num_heads=(1, 2), window=3)
    model = geminifusion_swin(
        CHANNELS, 3, size=size, num_heads=4, head_dim=8, faithful=True, weighting="frozen"
    ).eval()
    state = {f"module.{name}": v for name, v in official_geminifusion_swin(model.state_dict(), NAMES).items()}
    assert any(name.endswith("relative_position_index") for name in state)
    torch.save({"segmenter": state, "epoch_start": 3}, tmp_path / "swin.pth.tar")
    done = convert_checkpoint(
        tmp_path / "swin.pth.tar",
        "geminifusion",
        modalities=dict.fromkeys(NAMES),
        options={"size": "32x48", "num_heads": 4},
    )
    assert done.saved.config.options["geminifusion"]["size"]["window"] == 3
    done.saved.save(tmp_path / "saved")
    maps = {"rgb": torch.randn(2, 3, 32, 48), "depth": torch.randn(2, 1, 32, 48)}
    saved = SavedModel.load(tmp_path / "saved")
    torch.testing.assert_close(saved.model(maps), model(maps)[:, -1])
    with pytest.raises(ModalityError, match=r"must have two modalities, such as .* got \['a', 'b', 'c'\]"):
        convert_checkpoint(
            tmp_path / "swin.pth.tar", "geminifusion", modalities=dict.fromkeys(["a", "b", "c"])
        )


@pytest.mark.parametrize("names", [["rgb", "hha"], ["rgb", "hha", "event", "lidar"]])
def test_a_model_of_deliver_is_told_from_its_names(names: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = geminifusion_mit(
        dict.fromkeys(names, 3),
        5,
        size=TINY,
        num_heads=4,
        head_dim=8,
        collapse=len(names) > 2,
        faithful=True,
    ).eval()
    torch.save(official_geminifusion_deliver(model.state_dict(), names), tmp_path / "deliver.pth")
    done = convert_checkpoint(
        tmp_path / "deliver.pth",
        "geminifusion",
        modalities=dict.fromkeys(names),
        options={"size": "32x48", "num_heads": 4, "backbone_heads": (1, 2)},
    )
    done.saved.save(tmp_path / "saved")
    saved = SavedModel.load(tmp_path / "saved")
    maps = {name: torch.randn(2, 3, 32, 48) for name in names}
    torch.testing.assert_close(saved.model(maps), model(maps)[:, -1])
    items = np.empty(1, dtype=object)
    items[0] = np.full((32, 48, 3), 51, dtype=np.uint8)
    values, _ = saved.preprocessors["hha"].apply(Map(items=items))
    assert values.shape == (1, 3, 32, 48)
    np.testing.assert_allclose(values, 0.2, rtol=1e-6)


def test_what_is_no_such_checkpoint_is_answered(tmp_path: Path) -> None:
    path, _ = checkpoint("geminifusion", tmp_path)
    with pytest.raises(
        ModalityError, match=r"must have two modalities, such as rgb and depth, got \['rgb'\]"
    ):
        convert_checkpoint(path, "geminifusion", modalities={"rgb": None})
    options = {"backbone_heads": (1, 2), "num_heads": 4}
    with pytest.raises(OptionError, match="size must be HEIGHTxWIDTH, such as 480x640, got '48'"):
        convert_checkpoint(
            path, "geminifusion", modalities=dict.fromkeys(NAMES), options={"size": "48", **options}
        )
    torch.save({"alpha": torch.ones(2)}, tmp_path / "alpha.pth")
    with pytest.raises(DataError, match="must be of a whole RefineNet, got one without its ends"):
        convert_checkpoint(tmp_path / "alpha.pth", "cen", modalities=dict.fromkeys(NAMES))
    with pytest.raises(DataError, match="must be of a Mix Transformer, got none of its embeddings"):
        convert_checkpoint(tmp_path / "alpha.pth", "geminifusion", modalities=dict.fromkeys(NAMES))
    with pytest.raises(OptionError, match="classes must name the 3 outputs"):
        convert_checkpoint(
            path,
            "geminifusion",
            modalities=dict.fromkeys(NAMES),
            classes=["a"],
            options={"size": "32x48", **options},
        )
