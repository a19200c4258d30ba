import numpy as np
import pytest
from PIL import Image as Picture

from fuseloom.data.dataset import Image
from fuseloom.data.media import Frames
from fuseloom.data.preprocessing import ImagePreprocessor
from fuseloom.errors import OptionError


def pictures(*items: np.ndarray | None) -> Image:
    held = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        held[row] = item
    return Image(items=held)


def blank(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_the_size_is_the_median_shorter_side_of_training_pictures() -> None:
    modality = pictures(blank(20, 30), blank(24, 10), blank(40, 50), None, blank(64, 64))
    assert ImagePreprocessor.fit(modality, np.arange(4)).size == 20
    assert ImagePreprocessor.fit(modality, np.arange(4), size=5).size == 5


@pytest.mark.parametrize(("side", "size"), [(2, 8), (300, 64)])
def test_the_size_has_bounds(side: int, size: int) -> None:
    assert ImagePreprocessor.fit(pictures(blank(side, side)), np.arange(1)).size == size


def test_pictures_of_the_right_size_are_only_turned_and_absent_ones_masked() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    values, mask = ImagePreprocessor(size=8).apply(pictures(pixels, None))
    np.testing.assert_array_equal(values[0], pixels.transpose(2, 0, 1))
    assert (values.dtype, values[1].max()) == (np.uint8, 0)
    assert mask.tolist() == [True, False]


def test_the_middle_of_the_longer_side_is_kept() -> None:
    wide = blank(8, 24)
    wide[:, 8:16] = 200
    values, _ = ImagePreprocessor(size=8).apply(pictures(wide))
    assert (values == 200).all()


def test_resizing_is_that_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 17, 3), dtype=np.uint8)
    values, _ = ImagePreprocessor(size=9).apply(pictures(pixels))
    expected = Picture.fromarray(pixels).resize((9, 9), Picture.Resampling.BILINEAR)
    np.testing.assert_array_equal(values[0].transpose(1, 2, 0), np.asarray(expected))


def test_training_rows_without_a_picture_still_give_a_size() -> None:
    fitted = ImagePreprocessor.fit(pictures(None, blank(30, 30)), np.array([0]))
    assert fitted.apply(pictures(None))[0].shape == (1, 3, 8, 8)
    assert fitted.encoder_options() == {"channels": 3}


def test_frames_are_spread_evenly_and_stand_behind_one_another() -> None:
    film = Frames(tuple(blank(8, 8, shade) for shade in (10, 20, 30, 40, 50)))
    modality = pictures(film, blank(8, 8, 70), None)
    fitted = ImagePreprocessor.fit(modality, np.arange(3), frames=3)
    values, mask = fitted.apply(modality)
    assert values.shape == (3, 9, 8, 8)
    assert values[:, ::3, 0, 0].tolist() == [[10, 30, 50], [70, 70, 70], [0, 0, 0]]
    assert mask.tolist() == [True, True, False]
    assert fitted.encoder_options() == {"channels": 9}


def test_all_frames_are_taken_unless_fewer_are_asked_for() -> None:
    film = Frames(tuple(blank(8, 8, shade) for shade in (10, 20, 30)))
    modality = pictures(film, blank(8, 8), Frames((blank(8, 8),) * 5))
    assert ImagePreprocessor.fit(modality, np.arange(2)).frames == 3
    one = ImagePreprocessor.fit(modality, np.arange(2), frames=1)
    assert one.apply(modality)[0][0, :, 0, 0].tolist() == [20, 20, 20]
    with pytest.raises(OptionError, match=r"frames must be at least 1, got 0\."):
        ImagePreprocessor.fit(modality, np.arange(2), frames=0)


def test_a_state_from_before_there_were_frames_is_of_one() -> None:
    assert ImagePreprocessor.from_state({"notes": [], "size": 8}) == ImagePreprocessor(size=8, frames=1)


def test_squashed_pictures_keep_what_lies_at_their_sides() -> None:
    wide = blank(8, 24)
    wide[:, :8] = 255
    made = ImagePreprocessor.fit(pictures(wide), np.arange(1), size=8)
    squashed = ImagePreprocessor.fit(pictures(wide), np.arange(1), size=8, squash=True)
    assert made.apply(pictures(wide))[0].max() < 10
    assert squashed.apply(pictures(wide))[0][0, :, :, 0].min() > 240
    assert ImagePreprocessor.from_state(squashed.state()) == squashed
