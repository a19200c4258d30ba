from pathlib import Path

import numpy as np
import pytest
import torch

from fuseloom.data import encode, fit_preprocessors, load
from fuseloom.data.dataset import Audio, Image, Series
from fuseloom.data.files import load_array
from fuseloom.data.media import ArchivePart, Sound, read_image
from fuseloom.data.values import as_array, as_modality, embedding
from fuseloom.errors import DataError

TONE = Sound(np.sin(np.arange(800.0)), 8000)
PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (PIXELS, PIXELS[0]),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS[0]),
        (PIXELS[..., :1], np.repeat(PIXELS[0, ..., :1], 3, -1)),
        (PIXELS[..., 0], np.repeat(PIXELS[0, ..., :1], 3, -1)),
        (PIXELS / 255, PIXELS[0]),
    ],
)
def test_arrays_of_four_axes_are_pictures(values: np.ndarray, first: np.ndarray) -> None:
    found = as_modality("a", values, {})
    assert isinstance(found, Image)
    np.testing.assert_array_equal(read_image(found.items[0]), first)


def test_pictures_of_several_sizes_stand_in_a_list() -> None:
    found = as_modality("a", [PIXELS[0], None, PIXELS[0, :2]], {})
    assert isinstance(found, Image)
    assert found.items[1] is None
    np.testing.assert_array_equal(read_image(found.items[2]), PIXELS[0, :2])


def test_a_picture_of_nan_or_under_the_mask_is_missing() -> None:
    values = PIXELS / 255
    values[0] = np.nan
    assert [item is None for item in as_modality("a", values, {}).items] == [True, False]
    found = as_modality("a", PIXELS, {}, mask=np.array([True, False]))
    assert [item is None for item in found.items] == [False, True]


def test_lists_of_recordings_and_parts_are_told_apart() -> None:
    assert isinstance(as_modality("a", [TONE, None], {}), Audio)
    part = ArchivePart(Path("x.tar"), "a.wav", 0, 1)
    assert isinstance(as_modality("a", [part, TONE], {}), Audio)
    with pytest.raises(
        DataError, match="'a' must hold pictures, recordings or arrays only, got Sound beside"
    ):
        as_modality("a", [TONE, np.ones(2)], {})


def test_paths_are_a_column() -> None:
    assert as_array("a", [Path("a.png"), None]).tolist() == ["a.png", None]


def test_a_mapping_holds_sequences_tensors_paths_and_recordings(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones(3))
    rows = load(
        {
            "steps": [np.ones((2, 3)), torch.ones(4, 3, dtype=torch.bfloat16), None],
            "nested": [[[1, 2]], [[3, 4], [5, 6]], None],
            "vector": [tmp_path / "v.npy", tmp_path / "no.npy", None],
            "sound": [TONE, TONE, None],
        },
        target=["a", "b", "a"],
    )
    assert {name: m.kind for name, m in rows.modalities.items()} == {
        "steps": "embedding", "nested": "embedding", "vector": "embedding", "sound": "audio",
    }  # fmt: skip
    assert [(aside.where, aside.reason.split(",")[0]) for aside in rows.set_aside] == [
        ("row 1", "vector: no.npy: must be a file that can be read")
    ]
    assert rows.modalities["steps"].mask.sum(1).tolist() == [2, 0]
    assert rows.modalities["nested"].values[0, 0].tolist() == [1, 2]


def test_times_make_a_series() -> None:
    values, when = np.ones((2, 3, 1)), np.array([[0, 1, 4], [2.5, np.nan, 3]])
    found = as_modality("a", values, {}, time=when)
    assert isinstance(found, Series)
    assert found.mask.tolist() == [[True] * 3, [True, False, True]]
    np.testing.assert_array_equal(found.time, when)


def test_ragged_sequences_have_ragged_times_and_masks() -> None:
    rows = load(
        {
            "a": [np.ones((2, 3)), None, np.ones((1, 3))],
            "a.time": [np.array([0.0, 1.5]), None, np.array([7.0])],
            "a.mask": [np.array([True, False]), None, np.array([True])],
            "b": np.ones((3, 1)),
        },
        target=[0.5, 1.5, 2.5],
    )
    found = rows.modalities["a"]
    assert isinstance(found, Series)
    assert found.mask.tolist() == [[True, False], [False, False], [True, False]]
    np.testing.assert_array_equal(found.time, [[0, 1.5], [np.nan, np.nan], [7, np.nan]])


def test_a_mapped_array_stays_mapped_and_gives_the_same(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[7] = np.nan
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values)
    np.save(tmp_path / "labels.npy", np.arange(50) % 2)
    found = embedding("a", load_array(tmp_path / "a.npy"))
    assert isinstance(found.values, np.memmap)
    assert np.flatnonzero(~found.mask).tolist() == [7]
    from_disk, in_memory = load(tmp_path), load({"a": values, "b": values}, target=np.arange(50) % 2)
    assert isinstance(from_disk.modalities["a"].values, np.memmap)
    (inputs, masks), (others, other_masks) = (
        encode(rows, fit_preprocessors(rows, np.arange(40))) for rows in (from_disk, in_memory)
    )
    torch.testing.assert_close(inputs["a"], others["a"])
    assert torch.equal(masks["a"], other_masks["a"])
