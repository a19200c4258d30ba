"""The door of backbones of many streams: what maps they take, and who is there."""

import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import MaskError, ModalityError, OptionError
from fuseloom.models.dense import StreamEncoder, run_shared
from fuseloom.types import Masks, Streams, Trace


class Pooled(StreamEncoder):
    """Two stages that halve the maps; what came in stays for the tests to see."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__(channels, [4, 4], [2, 4])
        self.first = nn.ModuleDict(
            {name: nn.Conv2d(count, 4, 2, stride=2) for name, count in channels.items()}
        )
        self.second = nn.Conv2d(4, 4, 2, stride=2)

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        first = {name: self.first[name](value) for name, value in streams.items()}
        return [first, run_shared(self.second, first)]


@pytest.fixture
def encoder() -> Pooled:
    torch.manual_seed(0)
    return Pooled({"rgb": 3, "depth": 1})


def maps(batch: int = 2) -> dict[str, Tensor]:
    return {"rgb": torch.randn(batch, 3, 8, 12), "depth": torch.randn(batch, 1, 8, 12)}


def test_stages_come_as_streams_of_all_modalities(encoder: Pooled) -> None:
    stages, there = encoder(maps())
    assert [tuple(stage["rgb"].shape) for stage in stages] == [(2, 4, 4, 6), (2, 4, 2, 3)]
    assert all(list(stage) == ["rgb", "depth"] for stage in stages)
    assert there == {}


def test_the_order_of_maps_does_not_matter(encoder: Pooled) -> None:
    given = maps()
    turned = dict(reversed(given.items()))
    for one, other in zip(encoder(given)[0], encoder(turned)[0], strict=True):
        assert list(one) == list(other)
        assert all(value.equal(other[name]) for name, value in one.items())


def test_a_map_that_is_left_out_is_a_map_of_which_nothing_is_real(encoder: Pooled) -> None:
    given = maps()
    alone, there = encoder({"depth": given["depth"]})
    masked, of_masked = encoder(
        {**given, "rgb": torch.full_like(given["rgb"], torch.nan)},
        {"rgb": torch.zeros(2, 8, 12, dtype=torch.bool), "depth": None},
    )
    assert there["rgb"].tolist() == of_masked["rgb"].tolist() == [False, False]
    assert "depth" not in there
    for one, other in zip(alone, masked, strict=True):
        assert all(value.equal(other[name]) for name, value in one.items())


def test_a_hole_is_zero_and_a_sample_without_a_real_pixel_lacks_the_map(encoder: Pooled) -> None:
    given, mask = maps(3), torch.ones(3, 8, 12, dtype=torch.bool)
    mask[0, :4], mask[1] = False, False
    holed = given["depth"].masked_fill(~mask[:, None], torch.nan)
    found, there = encoder({**given, "depth": holed}, {"depth": mask})
    expected, _ = encoder({**given, "depth": given["depth"] * mask[:, None]})
    assert there["depth"].tolist() == [True, False, True]
    assert found[1]["depth"].equal(expected[1]["depth"])


def test_shared_modules_see_all_streams_as_one_batch() -> None:
    seen = []

    def watch(value: Tensor) -> Tensor:
        seen.append(tuple(value.shape))
        return 2 * value

    streams = {"rgb": torch.ones(2, 3), "depth": torch.zeros(2, 3), "heat": torch.ones(2, 3)}
    found = run_shared(watch, streams)
    assert seen == [(6, 3)]
    assert all(found[name].equal(2 * value) for name, value in streams.items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heat": torch.ones(2, 1, 8, 12)}, r"must be of \['depth', 'rgb'\], got 'heat'"),
        ({"rgb": torch.ones(2, 3, 8)}, r"must be \[B, C, H, W\], got shape \(2, 3, 8\)"),
        ({"depth": torch.ones(2, 1, 8, 13)}, r"'depth' must have shape \(2, 1, 8, 12\) .* to one grid"),
        ({"depth": torch.ones(2, 3, 8, 12)}, r"'depth' must have shape \(2, 1, 8, 12\)"),
    ],
)
def test_maps_that_do_not_fit_are_answered(encoder: Pooled, changed: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ModalityError, match=message):
        encoder({**maps(), **changed})


def test_no_map_and_masks_that_do_not_fit_are_answered(encoder: Pooled) -> None:
    with pytest.raises(ModalityError, match=r"a map of .* at least, got none"):
        encoder({})
    with pytest.raises(
        MaskError, match=r"Mask of 'rgb' must be bool of shape \(2, 8, 12\) .* got torch.float32"
    ):
        encoder(maps(), {"rgb": torch.ones(2, 8, 12)})
    with pytest.raises(OptionError, match="one for each of 2 stages, got 1"):
        StreamEncoder.__init__(encoder, {"rgb": 3}, [4, 4], [2])
