import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as oracle

from fuseloom.data.published_views import (
    blurred,
    centred,
    enlarged_to_multiple,
    jittered,
    resized,
    scaled_crop,
    scaled_size,
    standardised_bytes,
)
from fuseloom.errors import DataError


def picture(rows: int = 18, columns: int = 25) -> torch.Tensor:
    return torch.randint(0, 256, (3, rows, columns), dtype=torch.uint8)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(9, 11), (40, 31)])
def test_pictures_are_resized_as_torchvision_does_it_to_tensors(antialias, size):
    shown = picture()
    for value in (shown, shown.float()):
        wanted = oracle.resize(value, size, InterpolationMode.BILINEAR, antialias=antialias)
        assert resized(value, size, antialias=antialias).dtype == value.dtype
        torch.testing.assert_close(resized(value, size, antialias=antialias), wanted)


def test_labels_are_those_of_the_nearest_pixel():
    labels = torch.randint(0, 256, (1, 18, 25), dtype=torch.int64)
    wanted = oracle.resize(labels, (40, 11), InterpolationMode.NEAREST)
    assert resized(labels, (40, 11), labels=True).equal(wanted)


def test_the_shorter_side_is_brought_to_a_length_and_both_to_a_multiple():
    shown = picture(30, 50)
    first = oracle.resize(shown, (20, 33), InterpolationMode.BILINEAR, antialias=False)
    wanted = oracle.resize(first, (24, 40), InterpolationMode.BILINEAR, antialias=False)
    torch.testing.assert_close(enlarged_to_multiple(shown, 20, multiple=8), wanted)


@pytest.mark.parametrize(
    ("size", "target", "ratio", "wanted"),
    [
        ((480, 640), (480, 640), 1.0, (480, 640)),
        ((480, 640), (480, 640), 0.5, (240, 320)),
        ((530, 730), (480, 480), 2.0, (960, 1322)),
        ((72, 96), (48, 64), 1.1207108331932507, (53, 71)),
        ((100, 1000), (48, 64), 2.0, (51, 512)),  # so wide that the longer side decides
    ],
)
def test_a_scene_is_scaled_so_that_the_crop_has_a_part_of_its_shorter_side(size, target, ratio, wanted):
    assert scaled_size(size, target, ratio) == wanted


def test_a_crop_is_a_part_of_the_scaled_scene_and_what_is_beyond_is_filled():
    shown = picture(20, 20)
    whole = resized(shown, (30, 30))
    part = scaled_crop(shown, (20, 20), ratio=1.5, corner=(4, 11), fill=7)
    assert part[:, :, :19].equal(whole[:, 4:24, 11:30])
    assert (part[:, :, 19:] == 7).all()
    small = scaled_crop(shown, (20, 20), ratio=0.5, corner=(0, 0))
    assert small[:, :10, :10].equal(resized(shown, (10, 10)))
    assert not small[:, 10:].any()
    assert not small[:, :, 10:].any()


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_colours_change_as_torchvision_changes_them(kind):
    shown = picture().to(kind)
    if kind == torch.float32:
        shown = shown / 255
    wanted = oracle.adjust_brightness(shown, 1.3)
    wanted = oracle.adjust_saturation(oracle.adjust_contrast(wanted, 0.6), 1.4)
    largest = 255.0 if kind == torch.uint8 else 1.0
    found = jittered(shown, brightness=1.3, contrast=0.6, saturation=1.4, largest=largest)
    torch.testing.assert_close(found, wanted)
    assert found.dtype == kind


def test_numbers_up_to_255_that_are_cut_off_at_1_are_black():
    shown = picture().float()
    found = jittered(shown, brightness=1.3, contrast=0.6, saturation=1.4, largest=1.0)
    assert found.max() <= 1


def test_a_blur_is_that_of_torchvision():
    for shown in (picture(), picture().float()):
        wanted = oracle.gaussian_blur(shown, [3, 3], [0.8, 0.8])
        torch.testing.assert_close(blurred(shown), wanted)


def test_bytes_become_shares_or_standard_scores():
    shown = picture()
    torch.testing.assert_close(standardised_bytes(shown), shown / 255)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    wanted = oracle.normalize(shown / 255, mean, std)
    torch.testing.assert_close(standardised_bytes(shown, mean=mean, std=std), wanted)


@pytest.mark.parametrize(("side", "first"), [(8, 2), (7, 1), (4, 0), (5, 0)])
def test_the_middle_leaves_one_more_below_and_to_the_right(side, first):
    numbers = torch.arange(float(side * side)).view(side, side)
    assert centred(numbers, (4, 4)).equal(numbers[first : first + 4, first : first + 4])


def test_a_map_without_enough_pixels_has_no_middle():
    with pytest.raises(DataError, match=r"a map must have \[4, 9\] pixels at least, got \[8, 8\]"):
        centred(torch.zeros(8, 8), (4, 9))
