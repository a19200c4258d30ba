"""Images: place is learnt, sizes need not divide, padding and absent pictures leave no trace."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom.encoders.image import ImageEncoder
from fuseloom.errors import ModalityError, OptionError


def left_or_right(count):
    """A bright and a dark square in random places: which of them is to the left?"""
    label = torch.randint(2, (count,))
    pixels = torch.full((count, 1, 12, 12), 128, dtype=torch.uint8)
    rows, columns = (
        torch.randint(0, 10, (2, count)),
        torch.randint(0, 4, (2, count)) + torch.tensor([[0], [6]]),
    )
    for number in range(count):
        for side in range(2):
            row, column = rows[side, number], columns[side, number]
            bright = side == label[number]
            pixels[number, 0, row : row + 2, column : column + 2] = 255 if bright else 0
    return pixels, label


SMALL_THINGS = {"norm": "batch", "places": True}


@pytest.mark.parametrize(
    "options", [{}, SMALL_THINGS, {"body": "patch", "patch": 2}], ids=["resnet", "small things", "patch"]
)
def test_place_is_learnt_and_not_only_brightness(options):
    encoder = ImageEncoder(1, dim=32, dropout=0.0, **options)
    model = nn.ModuleList([encoder, nn.Linear(32, 2)])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(70):
        pixels, label = left_or_right(64)
        optimizer.zero_grad()
        F.cross_entropy(model[1](encoder(pixels)[0]), label).backward()
        optimizer.step()
    model.eval()
    pixels, label = left_or_right(300)
    assert (model[1](encoder(pixels)[0]).argmax(1) == label).float().mean() > 0.9


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 3)])
@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({"stride": 1}, 4),
        ({"stride": 2}, 8),
        ({"stride": 2, **SMALL_THINGS}, 8),
        ({"body": "patch", "patch": 4}, 4),
    ],
    ids=["stride 1", "stride 2", "small things", "patch"],
)
def test_outputs_are_one_value_seen_three_ways(channels, size, options, side):
    rows, columns = (-(-length // side) for length in size)
    pixels = torch.rand(2, channels, *size)
    mask = torch.tensor([True, False])
    outputs = {}
    for output in ("tokens", "map"):
        torch.manual_seed(1)
        outputs[output] = ImageEncoder(channels, dim=16, output=output, **options).eval()(pixels, mask)
    (tokens, kept), (pixel_map, shown) = outputs["tokens"], outputs["map"]
    assert pixel_map.shape == (2, 16, rows, columns)
    torch.testing.assert_close(pixel_map.flatten(2).transpose(1, 2), tokens)
    assert shown.flatten(1).equal(kept)
    assert kept.equal(mask[:, None].expand(-1, rows * columns))
    pooled, present = ImageEncoder(channels, dim=16, **options).eval()(pixels, mask)
    assert present.equal(mask)
    assert pooled[1].eq(0).all()


@pytest.mark.parametrize(
    "options", [{}, SMALL_THINGS, {"body": "patch", "patch": 4}], ids=["resnet", "small things", "patch"]
)
def test_pictures_of_different_sizes_in_one_batch_are_as_if_alone(options):
    encoder = ImageEncoder(3, dim=16, output="map", **options).eval()
    small = torch.rand(1, 3, 8, 8)
    padded, mask = torch.full((1, 3, 12, 20), torch.nan), torch.zeros(1, 12, 20, dtype=torch.bool)
    padded[..., :8, :8], mask[..., :8, :8] = small, True
    alone, _ = encoder(small)
    found, shown = encoder(padded, mask)
    torch.testing.assert_close(found[..., :2, :2], alone, rtol=1e-4, atol=1e-5)
    assert shown.sum() == 4


def test_bytes_are_numbers_about_zero():
    encoder = ImageEncoder(1, dim=16).eval()
    pixels = torch.randint(0, 256, (2, 1, 6, 6), dtype=torch.uint8)
    torch.testing.assert_close(encoder(pixels)[0], encoder(pixels.float() / 127.5 - 1)[0])


def test_patches_tell_where_they_stand_and_nothing_of_their_neighbours():
    encoder = ImageEncoder(1, dim=16, body="patch", patch=2, output="tokens").eval()
    same = torch.full((1, 1, 4, 4), 200, dtype=torch.uint8)
    tokens, _ = encoder(same)
    distances = torch.cdist(tokens[0], tokens[0]) + 9 * torch.eye(4)
    assert distances.min() > 0.01
    other = same.clone()
    other[..., :2, :2] = 0
    changed = (encoder(other)[0] - tokens).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [True, False, False, False]


def test_cells_of_one_colour_differ_by_their_places_alone():
    def middle(**options):
        encoder = ImageEncoder(1, dim=16, norm="batch", output="map", **options).eval()
        cells, _ = encoder(torch.full((1, 1, 48, 48), 200, dtype=torch.uint8))
        inner = cells[0, :, 4:8, 4:8].flatten(1).T  # no border is in their sight
        return (torch.cdist(inner, inner) + 9 * torch.eye(16)).min()

    assert middle() < 1e-3
    assert middle(places=True) > 0.01


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize(
    "options", [{}, SMALL_THINGS, {"body": "patch", "patch": 4}], ids=["resnet", "small things", "patch"]
)
def test_it_is_exported_for_any_batch(options):
    encoder = ImageEncoder(3, dim=16, **options).eval()
    batch = torch.export.Dim("batch", min=2)
    pixels, mask = torch.rand(5, 3, 10, 7), torch.rand(5) < 0.7
    exported = torch.export.export(encoder, (pixels, mask), dynamic_shapes=({0: batch}, {0: batch})).module()
    pixels, mask = torch.rand(2, 3, 10, 7), torch.tensor([True, False])
    torch.testing.assert_close(exported(pixels, mask)[0], encoder(pixels, mask)[0])


def test_what_cannot_be_is_refused():
    with pytest.raises(OptionError, match="body must be 'resnet' or 'patch', got 'vgg'"):
        ImageEncoder(3, body="vgg")
    with pytest.raises(OptionError, match="output must be 'pooled', 'tokens' or 'map', got 'grid'"):
        ImageEncoder(3, output="grid")
    with pytest.raises(OptionError, match="norm must be 'group' or 'batch', got 'layer'"):
        ImageEncoder(3, norm="layer")
    with pytest.raises(OptionError, match="stride and patch must be at least 1, got 1 and 0"):
        ImageEncoder(3, patch=0)
    with pytest.raises(ModalityError, match=r"must have shape \[B, 1, H, W\] .* got \(2, 3, 8, 8\)"):
        ImageEncoder(1)(torch.zeros(2, 3, 8, 8))
