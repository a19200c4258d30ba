"""Kinetics-Sounds: 31 actions that can be seen and heard, from a spectrogram and frames of the video."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Embedding, Image
from fuseloom.data.files import file_bytes, load_array
from fuseloom.data.mapping import room
from fuseloom.data.media import Frames, even_places, is_image_name, read_item
from fuseloom.data.source import Source
from fuseloom.errors import DataError, OptionError

__all__ = ["CLASSES", "FILES", "read_kinetics_sounds"]

FILES = ("ks_train_overlap.txt", "ks_test_overlap.txt")
"""What the folder of the set holds, beside the spectrograms and frames that these lists name."""

CLASSES = (
    "blowing_nose",
    "blowing_out_candles",
    "bowling",
    "chopping_wood",
    "dribbling_basketball",
    "laughing",
    "mowing_lawn",
    "playing_accordion",
    "playing_bagpipes",
    "playing_bass_guitar",
    "playing_clarinet",
    "playing_drums",
    "playing_guitar",
    "playing_harmonica",
    "playing_keyboard",
    "playing_organ",
    "playing_piano",
    "playing_saxophone",
    "playing_trombone",
    "playing_trumpet",
    "playing_violin",
    "playing_xylophone",
    "ripping_paper",
    "shoveling_snow",
    "shuffling_cards",
    "singing",
    "stomping_grapes",
    "tap_dancing",
    "tapping_guitar",
    "tapping_pen",
    "tickling",
)
"""Names of the numbers in the lists."""

_FOLDERS = {"train": ("train_spec", "train-frames-1fps/train"), "test": ("test_spec", "val-frames-1fps/test")}
"""Split -> where its spectrograms and frames lie."""
_SEPARATORS = re.compile(r"[,\s]+")
_EXCERPT = re.compile(r"(.{11})_\d{6}_\d{6}")
"""A video of YouTube with the seconds that were cut out of it."""
_OFFICIAL_FRAMES, _OFFICIAL_SHORT, _OFFICIAL_LAST = 3, 6, 9


@dataclass(frozen=True)
class _Clip:
    name: str
    label: str
    split: str
    spectrogram: Path
    frames: Path


def read_kinetics_sounds(
    folder: Path | str,
    *,
    frames: int = 3,
    sampling: Literal["even", "official"] = "even",
    seed: int = 0,
) -> Source:
    """Read spectrograms and frames in the layout of BalanceMM and RollingQ.

    ``ks_train_overlap.txt`` and ``ks_test_overlap.txt`` have a line per clip, its name first and the number
    of its class last. ``train_spec/<name>.npy`` and ``test_spec/<name>.npy`` are spectrograms
    ``[1024, 128]``, as `fuseloom.data.preprocessing.FilterbankPreprocessor` makes them of recordings; frames,
    one per second, are ``train-frames-1fps/train/<name>/frame_00001.jpg`` and
    ``val-frames-1fps/test/<name>/``. A clip without either is set aside. The last frames of a spectrogram
    that are equal in all bands are padding and masked.

    Papers cut other sets of 31 to 34 classes out of Kinetics and split them otherwise, so scores under this
    name compare only on the same lists. Clips of one video have the same ``video_id``.

    Frames are taken in the order of their names, the same each time, from the whole clip. The official
    loader, ``sampling="official"``, takes three out of the first nine: in training one at random out of each
    third (drawn here once), in test that of the middle, of clips of at most six frames the first one three
    times; and it leaves clips of at most three frames out.

    Data: Arandjelovic and Zisserman, 2017, arXiv:1705.08168.

    Args:
        folder: Holds the lists.
        frames: Of each clip.
        sampling: ``even``, the middles of as many equal parts, or ``official``.
        seed: Of what is drawn.

    Raises:
        DataError: a list that cannot be read, or no spectrogram at all.
        OptionError: fewer than one frame, or not three of them by the official rule, or an unknown rule.
    """
    _check_options(frames, sampling)
    folder = Path(folder)
    clips = [
        clip for file, split in zip(FILES, _FOLDERS, strict=True) for clip in _listed(folder, file, split)
    ]
    draw = np.random.default_rng(seed) if sampling == "official" else None
    images, unseen = _images(clips, frames, draw)
    audio, unheard = _spectrograms(clips)
    excerpts = [_EXCERPT.fullmatch(clip.name) for clip in clips]
    videos = [clip.name if found is None else found[1] for clip, found in zip(clips, excerpts, strict=True)]
    return Source(
        name="kinetics-sounds",
        source_format="kinetics-sounds",
        ids=[clip.name for clip in clips],
        places=[f"kinetics-sounds {clip.name}" for clip in clips],
        arrays={"audio": audio, "video": Image(items=images)},
        problems={"audio": unheard, "video": unseen},
        labels={
            "action": np.array([clip.label for clip in clips], dtype=object),
            "split": np.array([clip.split for clip in clips], dtype=object),
            "video_id": np.array(videos, dtype=object),
        },
        target="action",
        target_kind="category",
        split_column="split",
        grouping="video_id",
    )


def _check_options(frames: int, sampling: str) -> None:
    if sampling not in ("even", "official"):
        raise OptionError(f"sampling must be 'even' or 'official', got {sampling!r}.")
    if frames < 1 or (sampling == "official" and frames != _OFFICIAL_FRAMES):
        least = "at least 1" if sampling == "even" else "3 by the official rule"
        raise OptionError(f"frames must be {least}, got {frames}.")


def _listed(folder: Path, file: str, split: str) -> list[_Clip]:
    heard, seen = (folder / name for name in _FOLDERS[split])
    clips = []
    lines = file_bytes(folder / file).decode("utf-8-sig", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = _SEPARATORS.split(line.strip())
        label = rest[-1] if rest else ""
        if not label.isdecimal() or int(label) >= len(CLASSES):
            raise DataError(
                f"{file} must have a clip and a class from 0 to {len(CLASSES) - 1} in each line, got "
                f"{line.strip()!r} in line {number}. Other lists have other classes: they are another set."
            )
        if Path(name).name != name or name == "..":
            raise DataError(f"{file} must name clips, got the path {name!r} in line {number}.")
        clips.append(_Clip(name, CLASSES[int(label)], split, heard / f"{name}.npy", seen / name))
    return clips


def _images(
    clips: Sequence[_Clip], frames: int, draw: np.random.Generator | None
) -> tuple[NDArray[np.object_], dict[int, str]]:
    """Frames of each clip, and why there are none of some."""
    items, lacking = np.empty(len(clips), dtype=object), {}
    fewest = 1 if draw is None else _OFFICIAL_FRAMES + 1
    for row, clip in enumerate(clips):
        files = sorted(path for path in clip.frames.glob("*") if is_image_name(path.name))
        if len(files) < fewest:
            lacking[row] = f"video: {clip.name}: {len(files)} frames in {clip.frames.parent.name}"
            continue
        if draw is None:
            places = even_places(len(files), frames)
        else:
            places = _official_places(len(files), clip.split, draw)
        items[row] = Frames(tuple(files[place] for place in places))
    return items, lacking


def _official_places(count: int, split: str, draw: np.random.Generator) -> list[int]:
    third = count // _OFFICIAL_FRAMES
    if split == "train":
        numbers = [part * third + int(draw.integers(1, third + 1)) for part in range(_OFFICIAL_FRAMES)]
    elif count <= _OFFICIAL_SHORT:
        numbers = [1] * _OFFICIAL_FRAMES
    else:
        numbers = [part * third + third // 2 for part in range(_OFFICIAL_FRAMES)]
    return [min(number, _OFFICIAL_LAST) - 1 for number in numbers]


def _spectrograms(clips: Sequence[_Clip]) -> tuple[Embedding, dict[int, str]]:
    """Spectrograms of one shape, and why there is none of some clips."""
    lacking: dict[int, str] = {}
    values: NDArray[np.float32] | None = None
    for row, clip in enumerate(clips):
        try:
            found = read_item(load_array, clip.spectrogram)
        except DataError as error:
            lacking[row] = f"audio: {error}"
            continue
        if values is None and found.ndim == 2 and found.dtype.kind == "f":
            values = room((len(clips), *found.shape))
        if values is None or found.shape != values.shape[1:] or found.dtype.kind != "f":
            lacking[row] = f"audio: {clip.spectrogram.name}: {found.dtype} of shape {found.shape}"
            continue
        values[row] = found
    if values is None:
        first = next(iter(lacking.values()), "no clip")
        raise DataError(f"kinetics-sounds must have spectrograms in train_spec and test_spec, got {first}.")
    return Embedding(values=values, mask=_sounding(values)), lacking


def _sounding(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True up to the last frame that is not equal in all bands ``[N, T]``."""
    mask = np.zeros(values.shape[:2], dtype=np.bool_)
    for row, frames in enumerate(values):  # some may lie in a file
        differs = frames.max(1) != frames.min(1)
        mask[row] = np.logical_or.accumulate(differs[::-1])[::-1]
    return mask
