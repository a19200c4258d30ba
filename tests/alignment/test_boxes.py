from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.alignment import align_boxes
from fuseloom.errors import DataError, OptionError

WIDTH, HEIGHT, GRID = 12, 8, (2, 3)  # patches of 4 x 4 pixels


def painted(box: list[int]) -> torch.Tensor:
    """Pixels of each patch that a box of whole pixels covers."""
    picture = torch.zeros(HEIGHT, WIDTH)
    picture[max(box[1], 0) : max(box[3], 0), max(box[0], 0) : max(box[2], 0)] = 1
    return picture.view(2, 4, 3, 4).sum((1, 3)).flatten()


@given(
    st.lists(st.integers(-3, 14), min_size=2, max_size=2).map(sorted),
    st.lists(st.integers(-3, 11), min_size=2, max_size=2).map(sorted),
    st.sampled_from(["patch", "box"]),
)
def test_weights_are_the_shares_of_counted_pixels(across: list[int], down: list[int], share_of: Any) -> None:
    box = [across[0], down[0], across[1], down[1]]
    pixels = painted(box)
    expected = pixels / (16 if share_of == "patch" else pixels.sum().clamp(min=1))
    alignment = align_boxes([[box]], [(WIDTH, HEIGHT)], grid=GRID, share_of=share_of)
    weights = torch.zeros(6)
    weights[alignment.target_index[0]] = alignment.weight[0]
    torch.testing.assert_close(weights, expected)
    assert not alignment.source_index.any()


def test_boxes_are_numbered_and_small_shares_left_out() -> None:
    boxes = [torch.tensor([[0.0, 0, 4, 4], [3, 0, 8, 4]]), torch.zeros(0, 4)]
    alignment = align_boxes(boxes, [(12, 8), (12, 8)], grid=GRID, least=0.3)
    assert alignment.source_index.tolist() == [[0, 1], [-1, -1]]
    assert alignment.target_index.tolist() == [[0, 1], [-1, -1]]


def test_relative_boxes_are_in_a_picture_of_size_one() -> None:
    relative = align_boxes([[[0.25, 0.0, 1.0, 0.5]]], [(1, 1)], grid=GRID)
    absolute = align_boxes([[[3, 0, 12, 4]]], [(WIDTH, HEIGHT)], grid=GRID)
    assert relative.target_index.equal(absolute.target_index)
    torch.testing.assert_close(relative.weight, absolute.weight)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ([2, 0, 1, 1], (9, 9)),
        ([0, 2, 1, 1], (9, 9)),
        ([0, 0, float("nan"), 1], (9, 9)),
        ([0, 0, 1, 1], (0, 9)),
    ],
)
def test_a_box_that_is_none_is_refused(box: list[float], size: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="Boxes must be x1 <= x2, y1 <= y2 in a picture of a size, got"):
        align_boxes([[box]], [size], grid=GRID)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (0, 3)}, r"^grid must be positive and least in \[0, 1\), got \(0, 3\) and 0\.0\.$"),
        ({"grid": GRID, "least": 1.0}, r"got \(2, 3\) and 1\.0\.$"),
        ({"grid": GRID, "share_of": "image"}, r"^share_of must be one of \['box', 'patch'\], got 'image'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        align_boxes([[]], [(1, 1)], **options)


def test_every_sample_has_a_size() -> None:
    with pytest.raises(DataError, match=r"^sizes must be of 1 samples like boxes, got 0\.$"):
        align_boxes([[]], [], grid=GRID)
