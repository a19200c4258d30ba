"""CREMA-D: which of six emotions an actor speaks with, from the recording and frames of the video."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Audio, Image, SetAside
from fuseloom.data.files import file_bytes
from fuseloom.data.media import Frames, even_places, is_image_name
from fuseloom.data.source import Source
from fuseloom.errors import DataError, OptionError

__all__ = ["FILES", "read_crema_d"]

FILES = ("AudioWAV",)
"""What the folder of the set holds, beside frames in ``Image-<rate>-FPS/<clip>/<number>.jpg``."""

_EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
_CLIP = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")
"""Actor, sentence, emotion and level."""
_LISTS = {"train": "train.csv", "test": "test.csv"}
_FRAMES = "Image-*-FPS"


@dataclass(frozen=True)
class _Clip:
    name: str
    emotion: str
    split: str | None


def read_crema_d(
    folder: Path | str,
    *,
    frames: int = 3,
    sampling: Literal["even", "random"] = "even",
    seed: int = 0,
) -> Source:
    """Read recordings and frames in the layout of OGM-GE, BalanceMM and RollingQ.

    ``AudioWAV/<clip>.wav`` are recordings, ``Image-01-FPS/<clip>/00000.jpg`` and so on frames at a rate
    (where there are several rates, the lowest). ``train.csv`` and ``test.csv``, lines such as
    ``1088_IOM_NEU_XX,NEU`` without a header, are the split; without them clips are named by their files
    and rows are split as in any other set. A clip whose recording or frames are missing is set aside.

    The split of those lists has all 91 actors on both sides, so scores on it say nothing of new ones:
    ``--group actor --kind split=ignore`` deals whole actors instead.

    Frames are taken in the order of their names, the same each time. The official loader lists them in the
    order of the file system and draws ``frames`` of them with replacement, in training and test alike, so
    that its scores are not repeatable; ``sampling="random"`` draws so, once for each clip, in the order of
    names. It also cuts each training frame at random by itself, and squeezes those of test into a square;
    neither is done here.

    Data: Cao et al., 2014, doi:10.1109/TAFFC.2014.2336244.

    Args:
        folder: Holds ``AudioWAV`` and the frames.
        frames: Of each clip.
        sampling: ``even``, the middles of as many equal parts, or ``random``.
        seed: Of what is drawn.

    Raises:
        DataError: no recording, no frames, or lists that cannot be read or contradict each other.
        OptionError: fewer than one frame, or an unknown ``sampling``.
    """
    if frames < 1 or sampling not in ("even", "random"):
        raise OptionError(
            f"frames must be at least 1 and sampling 'even' or 'random', got {frames} and {sampling!r}."
        )
    folder = Path(folder)
    clips, strange = _clips(folder)
    pictures = _frame_folder(folder)
    draw = np.random.default_rng(seed) if sampling == "random" else None
    images, lacking = _images([pictures / clip.name for clip in clips], frames, draw)
    split = [clip.split for clip in clips if clip.split is not None]
    parts = [_parts(clip.name) for clip in clips]
    return Source(
        name="crema-d",
        source_format="crema-d",
        ids=[clip.name for clip in clips],
        places=[f"crema-d {clip.name}" for clip in clips],
        arrays={
            "audio": Audio(items=_objects([folder / "AudioWAV" / f"{clip.name}.wav" for clip in clips])),
            "video": Image(items=images),
        },
        problems={"video": lacking},
        labels={
            "emotion": _objects([clip.emotion for clip in clips]),
            **({"split": _objects(split)} if split else {}),
            **{name: _objects([part[at] for part in parts]) for name, at in _DESCRIBED.items()},
        },
        target="emotion",
        target_kind="category",
        split_column="split" if split else None,
        grouping="actor",
        set_aside=tuple(strange),
    )


_DESCRIBED = {"actor": 0, "sentence": 1, "level": 3}
"""Label -> its place in the name of a clip."""


def _clips(folder: Path) -> tuple[list[_Clip], list[SetAside]]:
    """Clips of the lists, or of the files; and files that are called otherwise."""
    there = {split: folder / name for split, name in _LISTS.items() if (folder / name).is_file()}
    if len(there) == 1:
        (missing,) = _LISTS.keys() - there.keys()
        raise DataError(f"{folder.name} must hold both lists or none, got no {_LISTS[missing]}.")
    if there:
        clips = [clip for split, path in there.items() for clip in _listed(path, split)]
        counts = Counter(clip.name for clip in clips)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise DataError(f"train.csv and test.csv must name each clip once, got {twice[0]!r} again.")
        return clips, []
    names = sorted(path.stem for path in (folder / "AudioWAV").glob("*.wav"))
    fitting = [name for name in names if _is_clip(name)]
    if not fitting:
        raise DataError(
            f"{folder.name}/AudioWAV must hold recordings such as 1001_IEO_NEU_XX.wav, got "
            f"{names[0] + '.wav' if names else 'none'}."
        )
    reason = "must be called <actor>_<sentence>_<emotion>_<level>.wav"
    strange = [SetAside(where=f"crema-d {name}.wav", reason=reason) for name in names if not _is_clip(name)]
    return [_Clip(name, _parts(name)[2], None) for name in fitting], strange


def _listed(path: Path, split: str) -> list[_Clip]:
    clips = []
    try:
        lines = file_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path.name} must be text in UTF-8, got another encoding.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, emotion = (part.strip() for part in line.partition(","))
        if emotion not in _EMOTIONS or not _is_clip(name):
            shown = f"{path.name}:{number}: {line.strip()!r}"
            raise DataError(
                f"{path.name} must have lines such as 1088_IOM_NEU_XX,NEU, of {', '.join(_EMOTIONS)}, got "
                f"{shown}."
            )
        clips.append(_Clip(name, emotion, split))
    return clips


def _is_clip(name: str) -> bool:
    found = _CLIP.fullmatch(name)
    return found is not None and found[3] in _EMOTIONS


def _parts(name: str) -> tuple[str, ...]:
    return tuple(name.split("_"))


def _frame_folder(folder: Path) -> Path:
    found = sorted(path for path in folder.glob(_FRAMES) if path.is_dir())
    if not found:
        raise DataError(
            f"{folder.name} must hold frames in Image-01-FPS/<clip>/00000.jpg, got no folder {_FRAMES}. "
            "Extract them from the videos, one per second."
        )
    return found[0]


def _images(
    folders: Sequence[Path], frames: int, draw: np.random.Generator | None
) -> tuple[NDArray[np.object_], dict[int, str]]:
    """Frames of each clip, and why there are none of some."""
    items, lacking = np.empty(len(folders), dtype=object), {}
    for row, folder in enumerate(folders):
        files = sorted(path for path in folder.glob("*") if is_image_name(path.name))
        if not files:
            lacking[row] = f"video: {folder.name}: no frame in {folder.parent.name}"
            continue
        places = even_places(len(files), frames)
        if draw is not None:
            places = sorted(draw.integers(0, len(files), frames).tolist())
        items[row] = Frames(tuple(files[place] for place in places))
    return items, lacking


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    items = np.empty(len(values), dtype=object)
    items[:] = values
    return items
