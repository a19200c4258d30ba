"""Predictions of whole pictures."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.models.dense import enlarged, in_windows, over_scales


def maps(height: int, width: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"rgb": torch.randn(2, 3, height, width), "depth": torch.randn(2, 1, height, width)}


class Pixelwise:
    """Scores of each pixel from that pixel alone, and what was seen."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, inputs, masks):  # type: ignore[no-untyped-def]
        self.sizes.append(tuple(inputs["rgb"].shape[-2:]))
        both = torch.cat([inputs["rgb"], inputs["depth"]], 1)
        if masks and masks.get("depth") is not None:
            both = both * masks["depth"][:, None]
        return torch.stack([both, -both], 1)  # [B, 2, K, H, W]


def test_outputs_are_enlarged_whatever_stands_between_batch_and_labels() -> None:
    outputs = torch.randn(2, 3, 4, 5, 6)
    for mode in ("bilinear", "bicubic"):
        found = enlarged(outputs, (10, 12), mode=mode)
        assert found.shape == (2, 3, 4, 10, 12)
        one = F.interpolate(outputs[:, 1], (10, 12), mode=mode, align_corners=False)
        torch.testing.assert_close(found[:, 1], one)
    assert enlarged(outputs[:, 0], (5, 6)).equal(outputs[:, 0])


@pytest.mark.parametrize("size", [(40, 56), (41, 57), (16, 24), (9, 30)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_cover_every_pixel_and_agree_where_they_overlap(
    size: tuple[int, int], overlap: float
) -> None:
    model, given = Pixelwise(), maps(*size)
    found = in_windows(model, given, window=(16, 24), overlap=overlap)
    torch.testing.assert_close(found, model(given, None))
    assert all(high <= 16 and wide <= 24 for high, wide in model.sizes[:-1])


def test_windows_take_their_part_of_a_mask() -> None:
    model, given = Pixelwise(), maps(40, 56)
    mask = torch.rand(2, 40, 56) < 0.5
    found = in_windows(model, given, {"depth": mask, "rgb": None}, window=(16, 24))
    torch.testing.assert_close(found, model(given, {"depth": mask}))


def test_few_windows_are_enough() -> None:
    model = Pixelwise()
    in_windows(model, maps(32, 32), window=(16, 16), overlap=0.0)
    assert len(model.sizes) == 4
    in_windows(model, maps(16, 16), window=(16, 16))
    assert len(model.sizes) == 5


def test_one_scale_is_the_prediction_itself() -> None:
    model, given = Pixelwise(), maps(32, 64)
    found = over_scales(model, given, scales=[1.0], mirror=False)
    torch.testing.assert_close(found, model(given, None).softmax(-3))
    mirrored = over_scales(model, given, scales=[1.0])
    torch.testing.assert_close(mirrored, found)  # a pixel's scores do not depend on where it is


def test_scales_are_rounded_up_and_averaged() -> None:
    model, given = Pixelwise(), maps(48, 64)
    mask = torch.rand(2, 48, 64) < 0.5
    found = over_scales(model, given, {"depth": mask}, scales=[0.5, 1.0], divisor=16)
    assert model.sizes == [(32, 32), (32, 32), (48, 64), (48, 64)]
    assert found.shape == (2, 2, 4, 48, 64)
    torch.testing.assert_close(found.sum(-3), torch.ones(2, 2, 48, 64))


def test_options_out_of_their_range_are_answered() -> None:
    given = maps(8, 8)
    with pytest.raises(OptionError, match=r"mode must be one of .* got 'cubic'\. Did you mean 'bicubic'"):
        enlarged(torch.zeros(1, 1, 2, 2), (4, 4), mode="cubic")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"overlap in \[0, 1\), got \(4, 4\) and 1\.0"):
        in_windows(Pixelwise(), given, window=(4, 4), overlap=1.0)
    with pytest.raises(OptionError, match=r"scales must be above 0, one at least, .* got \[\] and 32"):
        over_scales(Pixelwise(), given, scales=[])
