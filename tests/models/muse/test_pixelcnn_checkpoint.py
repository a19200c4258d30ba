"""Official weights of PixelCNN++ and ours, both ways."""

import json
from pathlib import Path

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.models.muse.pixelcnn_checkpoint import convert_muse_pixelcnn, official_muse_pixelcnn


def model(embedding_dim: int | None, num_resnet: int = 2) -> PixelCnn:
    return PixelCnn(embedding_dim, num_resnet=num_resnet, num_filters=4, num_mixtures=2)


@pytest.mark.parametrize("num_resnet", [1, 3])
@pytest.mark.parametrize("embedding_dim", [5, None])
def test_there_and_back_nothing_changes(num_resnet: int, embedding_dim: int | None) -> None:
    state = model(embedding_dim, num_resnet).state_dict()
    official = official_muse_pixelcnn(state)
    again = convert_muse_pixelcnn(official, conditional=embedding_dim is not None)
    assert len(official) == len(state)
    assert again.keys() == state.keys()
    assert all(again[name].equal(value) for name, value in state.items())


def test_official_keys_have_their_official_shapes() -> None:
    part = model(5)
    official = official_muse_pixelcnn(part.state_dict())
    assert {name: list(official[name].shape) for name in official if name.startswith("nin_out")} == {
        "nin_out.lin_a.bias": [20],
        "nin_out.lin_a.weight_g": [20, 1],
        "nin_out.lin_a.weight_v": [20, 4],
    }
    assert official["upsize_u_stream.0.deconv.weight_v"].shape == (4, 4, 2, 3)
    assert official["up_layers.2.ul_stream.1.nin_skip.lin_a.weight_v"].shape == (4, 8)
    assert official["down_layers.1.ul_stream.2.nin_skip.lin_a.weight_v"].shape == (4, 16)
    # The official count of what widens starts at the coarsest level, and what multiplies from the right.
    grown = part.level.coarser.grow.vertical.deconv
    assert official["upsize_u_stream.1.deconv.bias"].equal(grown.bias)
    held = part.level.coarser.level.coarser.level.down[0].horizontal.condition
    assert official["down_layers.0.ul_stream.0.hw"].equal(held.weight.T)


@pytest.mark.parametrize(
    "case", ["pixelcnn_01_conditional", "pixelcnn_02_unconditional_gray", "pixelcnn_03_nr2_12px"]
)
def test_official_keys_are_those_of_the_authors(goldens_dir: Path, case: str) -> None:
    held = json.loads((goldens_dir / "muse" / f"{case}.json").read_text())
    config, shapes = held["config"], held["shapes"]
    ours = PixelCnn(
        config["h_dim"],
        channels=config["input_channels"],
        num_resnet=config["nr_resnet"],
        num_filters=config["nr_filters"],
        num_mixtures=config["nr_logistic_mix"],
    )
    found = {f"weight.{name}": list(v.shape) for name, v in official_muse_pixelcnn(ours.state_dict()).items()}
    assert found == {name: shape for name, (_, shape) in shapes.items() if name.startswith("weight.")}


def test_weights_of_an_embedding_are_left_out_where_there_is_none() -> None:
    official = official_muse_pixelcnn(model(5).state_dict())
    model(None).load_state_dict(convert_muse_pixelcnn(official, conditional=False))


@pytest.mark.parametrize(
    "key", ["u_init.conv.weight", "up_layers.0.u_stream.0.nin_skip.bias", "image_decoder.nin_out.lin_a.bias"]
)
def test_a_foreign_key_is_refused(key: str) -> None:
    with pytest.raises(
        OptionError, match=f"^official must be the state of an ImageDecoder, got '{key}' in it"
    ):
        convert_muse_pixelcnn({key: torch.zeros(1)})


def test_a_key_of_another_model_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^state must be that of a PixelCnn, got 'level.up.0.scale' in it"):
        official_muse_pixelcnn({"level.up.0.scale": torch.zeros(1)})
