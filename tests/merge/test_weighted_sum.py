from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.merge.weighted_sum import WeightedSum, WeightPer
from fuseloom.types import Trace


def redraw(merge: WeightedSum) -> WeightedSum:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def fuse(merge: WeightedSum, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """One sample of the modalities that are there, by the formula."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    fused, total = np.zeros(merge.dim), np.zeros(1)
    for name, value in values.items():
        weight = np.exp(state[f"score.{name}"])
        fused = fused + weight * (state[f"embed.{name}.weight"] @ value + state[f"embed.{name}.bias"])
        total = total + weight
    return fused / total if values else fused


@pytest.mark.parametrize("weight_per", ["modality", "feature"])
def test_the_weights_of_what_is_present_add_up_to_one(case: Any, weight_per: WeightPer) -> None:
    merge = redraw(WeightedSum(case.dims, dim=5, weight_per=weight_per))
    expected = np.stack(
        [fuse(merge, {n: case.pooled[n][b] for n in case.dims if case.present[n][b]}) for b in range(4)]
    )
    fused = merge(case.streams, case.masks).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)
    assert not fused[3].any()


@pytest.mark.parametrize("weight_per", ["modality", "feature"])
def test_without_masks_all_count(weight_per: WeightPer) -> None:
    merge = redraw(WeightedSum({"text": 4, "audio": 3, "video": 2}, dim=5, weight_per=weight_per))
    streams = {name: torch.randn(6, width) for name, width in merge.dims.items()}
    rows = [{name: value[b].double().numpy() for name, value in streams.items()} for b in range(6)]
    expected = np.stack([fuse(merge, row) for row in rows])
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight_per", ["modality", "feature"])
def test_pixels_are_summed_one_by_one_where_nothing_pools(
    maps: dict[str, Tensor], pixels: Tensor, weight_per: WeightPer
) -> None:
    merge = redraw(WeightedSum({"rgb": 4, "depth": 3}, dim=5, weight_per=weight_per, pool=None))
    expected = np.zeros((2, 5, 5, 6))
    for b, h, w in np.ndindex(2, 5, 6):
        there = ["rgb", "depth"] if pixels[b, h, w] else ["depth"]
        expected[b, :, h, w] = fuse(merge, {n: maps[n][b, :, h, w].double().numpy() for n in there})
    fused = merge(maps, {"rgb": pixels}).detach().numpy()
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("weight_per", "shape"), [("modality", (4, 2)), ("feature", (4, 5, 2))])
def test_the_weights_are_recorded(case: Any, weight_per: WeightPer, shape: tuple[int, ...]) -> None:
    merge = redraw(WeightedSum(case.dims, dim=5, weight_per=weight_per))
    trace = Trace()
    merge(case.streams, case.masks, trace=trace)
    weights = trace.records["weights"]
    assert tuple(weights.shape) == shape
    total = weights.sum(-1).view(4, -1)
    torch.testing.assert_close(total, torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None].expand_as(total))
    assert not weights[0, ..., 1].any()
    assert not weights[1, ..., 0].any()


def test_a_low_score_alone_still_has_the_whole_weight() -> None:
    merge = redraw(WeightedSum({"text": 4, "audio": 3}, dim=5))
    with torch.no_grad():
        merge.score["audio"].fill_(-500.0)
    streams = {"text": torch.randn(2, 4), "audio": torch.randn(2, 3)}
    fused = merge(streams, {"text": torch.tensor([False, False])})
    torch.testing.assert_close(fused, merge.embed["audio"](streams["audio"]))


@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    fused = WeightedSum(dims, dim=256)({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.85 < fused.std() < 1.15


def test_weights_per_anything_else_are_refused() -> None:
    wrong: Any = "sample"
    with pytest.raises(OptionError, match=r"^weight_per must be 'feature' or 'modality', got 'sample'\.$"):
        WeightedSum({"text": 4, "audio": 3}, weight_per=wrong)
