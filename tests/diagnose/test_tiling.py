import pytest
import torch

from fuseloom.diagnose.tiling import tiling


@pytest.mark.parametrize(
    ("count", "shape", "expected"),
    [
        (9, (1, 3, 30, 30), (3, 3)),
        (8, (1, 3, 20, 40), (2, 4)),
        (8, (1, 3, 30, 30), None),
        (6, (1, 3, 20, 40), None),
        (9, (1, 30, 30), None),
    ],
)
def test_positions_tile_a_picture_of_their_shape(
    count: int, shape: tuple[int, ...], expected: tuple[int, int] | None
) -> None:
    assert tiling(count, torch.zeros(shape)) == expected
    assert tiling(count, None) is None
