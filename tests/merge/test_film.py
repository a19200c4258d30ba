from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.film import Film, convert_film

Array = NDArray[np.float64]
DIMS = {"text": 4, "audio": 3, "video": 2}


def redraw(merge: Film) -> Film:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def oracle(merge: Film, values: dict[str, Array]) -> Array:
    state = {name: value.double().numpy() for name, value in merge.state_dict().items()}
    target = values[merge.target]
    if (name := f"project.{merge.target}.weight") in state:
        target = target @ state[name].T
    both = state["bias"] + sum(values[n] @ state[f"weight.{n}"].T for n in values if n != merge.target)
    gamma, beta = np.split(both, 2, axis=1)
    return np.asarray(gamma * target + beta)


@pytest.mark.parametrize("target", [None, "audio", "video"])
@pytest.mark.parametrize("dim", [3, 6])
def test_the_others_scale_and_shift_the_target(target: str | None, dim: int) -> None:
    merge = redraw(Film(DIMS, dim, target=target))
    streams = {name: torch.randn(7, width) for name, width in DIMS.items()}
    assert merge.target == (target or "text")
    expected = oracle(merge, {name: value.double().numpy() for name, value in streams.items()})
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", ["text", "audio"])
def test_an_absent_modality_is_zero(target: str, case: Any) -> None:
    merge = redraw(Film(case.dims, 6, target=target))
    fused = merge(case.streams, case.masks).detach().numpy()
    np.testing.assert_allclose(fused, oracle(merge, dict(case.pooled)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fused[3], merge.bias[6:].detach())


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(Film({"rgb": 4, "depth": 3}, 6, pool=None))
    kept = {"rgb": maps["rgb"] * pixels[:, None], "depth": maps["depth"]}
    rows = {name: value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for name, value in kept.items()}
    expected = oracle(merge, rows).reshape(2, 5, 6, 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(merge(maps, {"rgb": pixels}).detach(), expected, rtol=1e-4, atol=1e-4)


def test_it_starts_as_the_target_where_nothing_generates() -> None:
    text, absent = torch.randn(5, 4), torch.zeros(5, dtype=torch.bool)
    fused = Film({"text": 4, "audio": 3})({"text": text, "audio": torch.randn(5, 3)}, {"audio": absent})
    assert fused.equal(text)


@pytest.mark.parametrize("num", [2, 6])
@pytest.mark.parametrize("dim", [16, 24])
def test_the_output_starts_with_unit_order_for_standardised_inputs(num: int, dim: int) -> None:
    dims = dict.fromkeys("abcdef"[:num], 16)
    streams = {name: torch.randn(200, 16) for name in dims}
    spread = torch.stack([Film(dims, dim)(streams).detach() for _ in range(30)]).std()
    assert 1.2 < spread < 1.6


def test_two_linear_networks_convert() -> None:
    gamma, beta = nn.Linear(5, 4), nn.Linear(5, 4)
    streams = {name: torch.randn(6, width) for name, width in DIMS.items()}
    both = torch.cat([streams["video"], streams["audio"]], 1)
    merge = Film(DIMS)
    merge.load_state_dict(convert_film(gamma.state_dict(), beta.state_dict(), {"video": 2, "audio": 3}))
    torch.testing.assert_close(merge(streams), gamma(both) * streams["text"] + beta(both))


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_columns_must_be_those_of_dims(name: str) -> None:
    nets = {"gamma": nn.Linear(5, 4).state_dict(), "beta": nn.Linear(5, 4).state_dict()}
    nets[name]["weight"] = torch.ones(4, 6)
    message = rf"^The weight of {name} must have shape \[dim, 5\], the sum of dims, got \[4, 6\]\.$"
    with pytest.raises(OptionError, match=message):
        convert_film(nets["gamma"], nets["beta"], {"video": 2, "audio": 3})


def test_one_modality_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"^Film must have at least 2 modalities, got 1: \['text'\]\.$"):
        Film({"text": 4})


def test_a_target_that_is_no_modality_is_refused() -> None:
    message = r"^target must be one of \['audio', 'text', 'video'\], got 'vide'\. Did you mean 'video'\?"
    with pytest.raises(OptionError, match=message):
        Film(DIMS, target="vide")
