import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.mlp import Activation, Mlp, convert_mlp

SIGMA = {"relu": lambda x: max(x, 0.0), "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2}


def redraw(merge: Mlp) -> Mlp:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def perceptron(merge: Mlp, values: NDArray[np.float64], activation: Activation) -> NDArray[np.float64]:
    """One row of the concatenation of all modalities, by the formula."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    first = np.concatenate([state[f"weight.{name}"] for name in merge.dims], 1)
    fused: NDArray[np.float64] = first @ values + state["bias"]
    for number in range(len(merge.linears)):
        hidden = np.array([SIGMA[activation](x) for x in fused])
        fused = state[f"linears.{number}.weight"] @ hidden + state[f"linears.{number}.bias"]
    return fused


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("hidden", [(6,), (6, 5, 7)])
def test_it_is_a_perceptron_over_the_concatenation(activation: Activation, hidden: tuple[int, ...]) -> None:
    merge = redraw(Mlp({"text": 4, "audio": 3, "video": 2}, dim=5, hidden=hidden, activation=activation))
    streams = {name: torch.randn(6, width) for name, width in merge.dims.items()}
    rows = torch.cat(list(streams.values()), 1).double().numpy()
    expected = np.stack([perceptron(merge, row, activation) for row in rows])
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


def test_tokens_are_averaged_and_what_is_absent_contributes_zeros(case: Any) -> None:
    merge = redraw(Mlp(case.dims, dim=5))
    rows = np.concatenate(list(case.pooled.values()), 1)
    expected = np.stack([perceptron(merge, row, "relu") for row in rows])
    np.testing.assert_allclose(merge(case.streams, case.masks).detach(), expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(Mlp({"rgb": 4, "depth": 3}, dim=5, hidden=(8,), pool=None))
    joined = torch.cat([maps["rgb"] * pixels[:, None], maps["depth"]], 1).double().numpy()
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    for b, h, w in np.ndindex(2, 5, 6):
        expected = perceptron(merge, joined[b, :, h, w], "relu")
        np.testing.assert_allclose(fused[b, :, h, w], expected, rtol=1e-4, atol=1e-4)


def test_there_is_one_hidden_layer_twice_as_wide_as_the_output_by_default() -> None:
    shapes = {key: tuple(value.shape) for key, value in Mlp({"a": 2, "b": 9}).state_dict().items()}
    assert shapes == {
        "weight.a": (18, 2),
        "weight.b": (18, 9),
        "bias": (18,),
        "linears.0.weight": (9, 18),
        "linears.0.bias": (9,),
    }


def test_hidden_features_are_dropped_in_training_only() -> None:
    merge = Mlp({"text": 4, "audio": 3}, dim=5, hidden=(200,), dropout=0.3)
    merge.linears[0].load_state_dict({"weight": torch.eye(200)[:5], "bias": torch.zeros(5)})
    streams = {"text": torch.randn(400, 4), "audio": torch.randn(400, 3)}
    kept = merge.eval()(streams)
    dropped = merge.train()(streams)
    positive = kept > 0
    lost = positive & (dropped == 0)
    assert abs(lost.sum() / positive.sum() - 0.3) < 0.05
    torch.testing.assert_close(dropped[positive & ~lost], kept[positive & ~lost] * 256 / 179)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int, activation: Activation) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    merge = Mlp(dims, dim=256, hidden=(512, 300), activation=activation)
    fused = merge({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.85 < fused.square().mean().sqrt() < 1.15


def test_a_perceptron_converts() -> None:
    layers = nn.Sequential(nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 5))
    dims = {"video": 2, "text": 4, "audio": 3}
    merge = Mlp(dims, 5, hidden=(7, 6))
    merge.load_state_dict(convert_mlp([layers[i].state_dict() for i in (0, 2, 4)], dims))
    streams = {name: torch.randn(6, width) for name, width in dims.items()}
    torch.testing.assert_close(merge(streams), layers(torch.cat(list(streams.values()), 1)))


def test_a_perceptron_of_another_width_does_not_convert() -> None:
    layers = [nn.Linear(9, 7).state_dict(), nn.Linear(7, 5).state_dict()]
    message = r"^The first weight must have shape \[H, 7\], the sum of dims, got \[7, 9\]\.$"
    with pytest.raises(OptionError, match=message):
        convert_mlp(layers, {"text": 4, "audio": 3})


def test_a_linear_map_alone_does_not_convert() -> None:
    message = r"^layers must be one or more hidden ones and the output's, got 1\.$"
    with pytest.raises(OptionError, match=message):
        convert_mlp([nn.Linear(9, 7).state_dict()], {"text": 9})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"^hidden must be one width of at least 1 per layer, got \[\]\.$"),
        ({"hidden": (4, 0)}, r"^hidden must be one width of at least 1 per layer, got \[4, 0\]\.$"),
        ({"activation": "tanh"}, r"^activation must be 'gelu' or 'relu', got 'tanh'\.$"),
        ({"dropout": -0.1}, r"^dropout must be in \[0, 1\), got -0\.1\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Mlp({"text": 4, "audio": 3}, **options)


def test_positions_that_differ_are_refused_where_nothing_pools() -> None:
    merge = Mlp({"text": 4, "audio": 3}, pool=None)
    with pytest.raises(ModalityError, match=r"^Streams must share their positions where pool=None, got "):
        merge({"text": torch.ones(2, 7, 4), "audio": torch.ones(2, 6, 3)})
