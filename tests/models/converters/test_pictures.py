"""Official checkpoints of translation become saved models that make the pictures they make."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseloom.data.dataset import Dataset, Image, Map, ModalitySpec, Schema
from fuseloom.errors import DataError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.models.dense import DenseModel, MitSize
from fuseloom.models.dense.cen_translation import cen_translation, official_cen_translation
from fuseloom.models.dense.token_translation import (
    official_tokenfusion_translation,
    tokenfusion_translation,
)
from fuseloom.tasks.translation import Translation
from fuseloom.train.converted import convert_checkpoint
from fuseloom.train.saved import SavedModel

TINY = MitSize(dims=(8, 16), depths=(1, 2), num_heads=(1, 2), reductions=(2, 1), stem=(3, 2))
SCALED = partial(ChannelExchange, norm=None, threshold=0.01, faithful=True)
BUILDS: dict[str, tuple[Callable[..., DenseModel], Callable[..., Any], dict[str, Any]]] = {
    "cen_translation": (
        partial(cen_translation, dim=4, depth=4, exchange=SCALED),
        official_cen_translation,
        {},
    ),
    "tokenfusion_translation": (
        partial(tokenfusion_translation, size=TINY),
        official_tokenfusion_translation,
        {"backbone_heads": (1, 2)},
    ),
}
RGB = ["rgb", "edge_texture"]


def checkpoint(system: str, names: list[str], folder: Path) -> tuple[Path, DenseModel]:
    torch.manual_seed(0)
    build, official, _ = BUILDS[system]
    model = build(dict.fromkeys(names, 3)).eval()
    state = {f"module.{name}": value for name, value in official(model.state_dict(), names).items()}
    torch.save(state, folder / "checkpoint-gen-399.pkl")
    return folder / "checkpoint-gen-399.pkl", model


def converted(system: str, names: list[str], folder: Path, **options: Any) -> tuple[SavedModel, DenseModel]:
    path, model = checkpoint(system, names, folder)
    done = convert_checkpoint(
        path,
        system,
        modalities=dict.fromkeys(names),
        targets=["normal"],
        options={"size": "32x48", **BUILDS[system][2], **options},
    )
    done.saved.save(folder / "saved")
    named = [name for piece in done.pieces for name in piece.sources]
    assert len(named) == len(set(named)) == len(torch.load(path, weights_only=True))
    return SavedModel.load(folder / "saved"), model


@pytest.mark.parametrize("system", BUILDS)
def test_files_of_the_domains_become_the_official_pictures(system: str, tmp_path: Path) -> None:
    saved, model = converted(system, RGB, tmp_path)
    assert isinstance(saved.task, Translation)
    assert (saved.schema.target, saved.schema.target_kind) == ("normal", "image")
    generator = np.random.default_rng(0)
    rgb = generator.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    edges = generator.integers(0, 11356, (32, 48)).astype(np.uint16)
    items = [np.empty(1, dtype=object), np.empty(1, dtype=object)]
    items[0][0], items[1][0] = rgb, edges
    rows = Dataset(
        name="views",
        modalities={"rgb": Image(items=items[0]), "edge_texture": Map(items=items[1])},
        target=None,
        ids=["view"],
        split=None,
        schema=Schema(source_format="arrays", modalities={"rgb": ModalitySpec(kind="image")}),
    )
    shares = {
        "rgb": torch.from_numpy(rgb).permute(2, 0, 1) / 255,
        "edge_texture": (torch.from_numpy(edges.astype(np.float32)) / 11355).expand(3, -1, -1),
    }
    with torch.no_grad():
        expected = model({name: (2 * share - 1)[None] for name, share in shares.items()})[:, -1]
    np.testing.assert_allclose(saved.predictions(rows), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("system", BUILDS)
def test_maps_of_one_channel_alone_need_no_copies(system: str, tmp_path: Path) -> None:
    names = ["depth_euclidean", "edge_texture"]
    saved, model = converted(system, names, tmp_path)
    maps = {name: torch.randn(2, 1, 32, 48, generator=torch.Generator().manual_seed(1)) for name in names}
    with torch.no_grad():
        expected = model({name: value.expand(-1, 3, -1, -1) for name, value in maps.items()})[:, -1]
        torch.testing.assert_close(saved.model(maps), expected, atol=1e-4, rtol=1e-4)
    depth = saved.preprocessors["depth_euclidean"]
    items = np.empty(1, dtype=object)
    items[0] = np.full((32, 48), 1023, dtype=np.uint16)
    values, _ = depth.apply(Map(items=items))
    np.testing.assert_allclose(values, 2 * np.log(1024) / 11.1 - 1, rtol=1e-5)


@pytest.mark.parametrize("system", BUILDS)
def test_other_files_are_refused(system: str, tmp_path: Path) -> None:
    path, _ = checkpoint(system, RGB, tmp_path)
    with pytest.raises(OptionError, match=r"classes must be left out .* got \['wall'\]"):
        convert_checkpoint(path, system, modalities=dict.fromkeys(RGB), classes=["wall"])
    other = next(name for name in BUILDS if name != system)
    with pytest.raises(DataError, match="got another"):
        convert_checkpoint(path, other, modalities=dict.fromkeys(RGB))
    state = torch.load(path, weights_only=True)
    ends = [name for name in state if name.startswith(("module.deconv", "module.project"))]
    torch.save({name: value for name, value in state.items() if name not in ends}, path)
    with pytest.raises(DataError, match="whole generator"):
        convert_checkpoint(path, system, modalities=dict.fromkeys(RGB))
