import pytest
import torch
from torchvision.tv_tensors import Image, Mask

from fuseloom.data.published_views import blurred, jittered
from fuseloom.errors import OptionError
from fuseloom.train.published_augmentation import GeminiFusionScene, SceneDraw


def scene(rows: int = 12, columns: int = 16) -> list[torch.Tensor]:
    """A picture, a depth that is one too, and labels."""
    photo = torch.randint(1, 256, (3, rows, columns), dtype=torch.uint8)
    return [photo, photo.clone(), photo[0].clone()]


PICTURES = [True, True, False]


def test_only_the_first_picture_changes_its_colours_and_is_blurred():
    parts, change = scene(), GeminiFusionScene((12, 16))
    drawn = SceneDraw(jitter=(1.2, 0.8, 1.1), blur=True)
    photo, depth, labels = change.apply(parts, PICTURES, drawn)
    wanted = blurred(jittered(parts[0], brightness=1.2, contrast=0.8, saturation=1.1))
    assert photo.equal(wanted)
    assert depth.equal(parts[1])
    assert labels.equal(parts[2])


def test_a_map_in_numbers_before_the_picture_keeps_them():
    photo, _, labels = scene()
    depth = torch.rand(1, 12, 16)
    drawn = SceneDraw(jitter=(1.2, 0.8, 1.1), ratio=1.5)
    found, shown, _ = GeminiFusionScene((12, 16)).apply([depth, photo, labels], [False, True, False], drawn)
    assert set(found.unique().tolist()) <= set(depth.unique().tolist())
    assert not shown.equal(photo)


def test_a_faithful_jitter_leaves_nothing_of_a_picture():
    photo, *_ = GeminiFusionScene((12, 16), faithful=True).apply(
        scene(), PICTURES, SceneDraw(jitter=(1.2, 0.8, 1.1))
    )
    assert photo.max() <= 1


def test_all_parts_are_mirrored_and_cropped_together():
    parts, change = scene(), GeminiFusionScene((6, 8))
    photo, depth, labels = change.apply(parts, PICTURES, SceneDraw(flip=True, ratio=2.0, corner=(3, 5)))
    wanted = parts[0].flip(-1)[:, 3:9, 5:13]
    assert photo.equal(wanted)
    assert depth.equal(wanted)
    assert labels.equal(wanted[0])


def test_what_is_drawn_is_within_its_range_and_the_same_for_the_same_seed():
    change = GeminiFusionScene((48, 64), scale=(0.5, 2.0))
    generator = torch.Generator().manual_seed(1)
    draws = [change.draw((72, 96), generator) for _ in range(400)]
    assert all(0.5 <= drawn.ratio <= 2.0 for drawn in draws)
    for of_chance, p in (([d.flip for d in draws], 0.5), ([d.blur for d in draws], 0.2)):
        assert sum(of_chance) / 400 == pytest.approx(p, abs=0.08)
    factors = [factor for drawn in draws if drawn.jitter for factor in drawn.jitter]
    assert 0.5 <= min(factors) < 0.6
    assert 1.4 < max(factors) <= 1.5
    assert len({drawn.corner for drawn in draws}) > 100
    assert change.draw((72, 96), torch.Generator().manual_seed(1)) == draws[0]


def test_a_corner_never_lies_where_something_would_be_added_that_need_not_be():
    change = GeminiFusionScene((10, 10), scale=(1.0, 2.0))
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        drawn = change.draw((10, 10), generator)
        (part,) = change.apply([torch.ones(10, 10)], [False], drawn)
        assert part.all()


def test_called_as_a_transform_it_knows_pictures_and_what_keeps_its_numbers():
    change = GeminiFusionScene((6, 8), jitter_p=0, flip_p=1.0, blur_p=0, scale=(2.0, 2.0))
    photo, depth, labels = scene()
    torch.manual_seed(3)
    found = change([Image(photo), Image(depth), Mask(labels)])
    assert all(type(part) is torch.Tensor for part in found)
    torch.manual_seed(3)
    drawn = change.draw((12, 16))
    for part, wanted in zip(found, change.apply([photo, depth, labels], PICTURES, drawn), strict=True):
        assert part.equal(wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4,)}, r"size must be two positive numbers, rows and columns, got \(4,\)"),
        ({"size": (4, 0)}, r"size must be two positive numbers, rows and columns, got \(4, 0\)"),
        ({"size": (4, 4), "scale": (2.0, 0.5)}, r"scale must be two positive numbers, the lower first"),
        ({"size": (4, 4), "blur_p": 1.5}, r"blur_p must be in \[0, 1\], got 1\.5"),
    ],
)
def test_numbers_out_of_their_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        GeminiFusionScene(**options)
