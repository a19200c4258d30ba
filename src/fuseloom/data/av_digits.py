"""Audio-visual digits: a handwritten digit and a recording of someone who says the same one."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Audio, Image
from fuseloom.data.idx import read_idx
from fuseloom.data.media import Sound, read_audio, read_item
from fuseloom.data.source import Source
from fuseloom.errors import DataError, OptionError

__all__ = ["FILES", "AVDigits", "make_av_digits", "read_av_digits"]

FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
"""What the folder of the set holds, beside ``recordings/<digit>_<speaker>_<number>.wav``."""

_RECORDING = re.compile(r"(\d)_([A-Za-z0-9]+)_(\d+)\.wav")
_HELD_OUT = 6
"""One speaker, and one picture, in six is for validation, and as many for test."""
_SPLITS = ("test", "valid", "train")


@dataclass(frozen=True, kw_only=True, eq=False)
class AVDigits(Mapping[str, Any]):
    """Pairs of the same digit; a mapping that `fuseloom.compare` and `fuseloom.data.load` take as it is.

    Its entries are ``image``, ``audio``, ``target`` and ``split``.
    """

    image: NDArray[np.uint8]
    """Pixels ``[N, 28, 28]``."""
    audio: tuple[Path | Sound, ...]
    """A recording for each row: its file, or its samples where there is noise on them."""
    target: NDArray[np.object_]
    """The digit of each row ``[N]``."""
    split: NDArray[np.object_]
    """``train``, ``valid`` or ``test`` ``[N]``; no speaker and no picture is in two of them."""
    speaker: NDArray[np.object_]
    """Who says it ``[N]``."""
    ids: tuple[str, ...]
    """The recording and the number of the picture, of each row."""

    def __getitem__(self, name: str) -> Any:
        entries = {"image": self.image, "audio": list(self.audio)}
        return {**entries, "target": self.target, "split": self.split}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("image", "audio", "target", "split"))

    def __len__(self) -> int:
        return 4


def read_av_digits(folder: Path) -> Source:
    """Read pictures of MNIST's test set and recordings of the Free Spoken Digit Dataset, as pairs.

    Each recording is paired once; see `make_av_digits` for other numbers of rows, and for noise. Data: LeCun
    et al., 1998, doi:10.1109/5.726791; Jackson et al., doi:10.5281/zenodo.1342401.

    Raises:
        DataError: a file is missing or damaged.
    """
    rows = make_av_digits(folder)
    images, recordings = (np.empty(len(rows.ids), dtype=object) for _ in range(2))
    images[:], recordings[:] = list(rows.image), list(rows.audio)
    return Source(
        name="av-digits",
        source_format="av-digits",
        ids=list(rows.ids),
        places=[f"av-digits {name}" for name in rows.ids],
        arrays={"image": Image(items=images), "audio": Audio(items=recordings)},
        labels={"digit": rows.target, "split": rows.split, "speaker": rows.speaker},
        target="digit",
        target_kind="category",
        split_column="split",
    )


def make_av_digits(
    folder: Path | str,
    *,
    rows: int | None = None,
    image_noise: float = 0.0,
    occlusion: float = 0.0,
    audio_snr_db: float | None = None,
    held_out: Literal["speakers", "recordings"] = "speakers",
    seed: int = 0,
) -> AVDigits:
    """Pair pictures with recordings of the same digit, and make either harder to tell.

    Speakers and pictures are dealt to the splits before they are paired: of six speakers four train, one
    validates, one is tested; so are the pictures of each digit. Every row has its own picture; recordings
    are used in turn.

    Args:
        folder: Holds MNIST's test set and ``recordings/`` of the Free Spoken Digit Dataset.
        rows: How many pairs, divided as speakers are; by default as many as there are recordings.
        image_noise: Standard deviation of Gaussian noise on the pixels, where 1 is black to white.
        occlusion: Side of a grey square somewhere on the picture, as a share of the picture's.
        audio_snr_db: White noise is added to each recording so that the signal has that many decibels over
            it; below zero the noise is the louder one.
        held_out: What no two splits share: whole speakers, or only recordings, which is far easier.
        seed: Of the deal, the pairs and the noise.

    Raises:
        DataError: a file is missing or damaged, or there are too few of either for the rows.
        OptionError: rows or noise out of their range, or nothing that can be held out.
    """
    if not image_noise >= 0 or not 0 <= occlusion <= 1:
        raise OptionError(
            f"image_noise must not be negative and occlusion be in [0, 1], got {image_noise} and {occlusion}."
        )
    if rows is not None and rows < 1:
        raise OptionError(f"rows must be positive, got {rows}.")
    if held_out not in _HELD:
        raise OptionError(f"held_out must be 'speakers' or 'recordings', got {held_out!r}.")
    folder = Path(folder)
    pixels, digits = _pictures(folder)
    recordings = _recordings(folder / "recordings")
    pairing, noise = np.random.default_rng(seed).spawn(2)
    pictures = [_dealt(np.flatnonzero(digits == digit), pairing) for digit in range(10)]
    heard = _HELD[held_out](recordings, pairing)
    pairs = list(_pairs(pictures, heard, rows, pairing))
    shown = _hidden(_noisy(pixels[[pair.picture for pair in pairs]], image_noise, noise), occlusion, noise)
    files = [pair.recording.path for pair in pairs]
    return AVDigits(
        image=shown,
        audio=tuple(files if audio_snr_db is None else (_hissing(p, audio_snr_db, noise) for p in files)),
        target=_strings(str(pair.recording.digit) for pair in pairs),
        split=_strings(pair.split for pair in pairs),
        speaker=_strings(pair.recording.speaker for pair in pairs),
        ids=tuple(f"{pair.recording.path.stem}-{pair.picture}" for pair in pairs),
    )


@dataclass(frozen=True)
class _Recording:
    path: Path
    digit: int
    speaker: str


@dataclass(frozen=True)
class _Pair:
    picture: int
    recording: _Recording
    split: str


def _pictures(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    for name in FILES:
        if not (folder / name).is_file():
            raise DataError(f"{folder.name} must hold {' and '.join(FILES)}, got no {name}.")
    pixels, digits = read_idx(folder / FILES[0], axes=3), read_idx(folder / FILES[1], axes=1)
    if len(pixels) != len(digits):
        raise DataError(
            f"{FILES[1]} must have a label per picture, got {len(digits)} for {len(pixels)} pictures."
        )
    return pixels, digits


def _recordings(folder: Path) -> list[_Recording]:
    names = sorted(path.name for path in folder.glob("*.wav"))
    found = [_RECORDING.fullmatch(name) for name in names]
    if strange := [name for name, match in zip(names, found, strict=True) if match is None]:
        raise DataError(f"recordings must be called <digit>_<speaker>_<number>.wav, got {strange[0]!r}.")
    recordings = [_Recording(folder / m.string, int(m[1]), m[2]) for m in found if m is not None]
    speakers = {recording.speaker for recording in recordings}
    if len(speakers) < len(_SPLITS):
        raise DataError(
            f"{folder.parent.name}/recordings must be of at least 3 speakers, one for each split, got "
            f"{len(speakers)}."
        )
    return recordings


def _by_speaker(recordings: list[_Recording], generator: np.random.Generator) -> list[list[_Recording]]:
    names = np.array(sorted({recording.speaker for recording in recordings}), dtype=object)
    parts = [set(part.tolist()) for part in _dealt(names, generator)]
    return [[recording for recording in recordings if recording.speaker in part] for part in parts]


def _by_recording(recordings: list[_Recording], generator: np.random.Generator) -> list[list[_Recording]]:
    """Of each digit the same shares."""
    parts: list[list[_Recording]] = [[] for _ in _SPLITS]
    for digit in sorted({recording.digit for recording in recordings}):
        group = [recording for recording in recordings if recording.digit == digit]
        if len(group) < len(_SPLITS):
            raise DataError(
                f"There must be at least 3 recordings of each digit, got {len(group)} of {digit}."
            )
        for part, places in zip(parts, _dealt(np.arange(len(group)), generator), strict=True):
            part += [group[place] for place in places]
    return parts


_HELD = {"speakers": _by_speaker, "recordings": _by_recording}


def _pairs(
    pictures: list[list[NDArray[Any]]],
    recordings: list[list[_Recording]],
    rows: int | None,
    generator: np.random.Generator,
) -> Iterator[_Pair]:
    """Split by split, recordings in turn, each with the next picture of its digit.

    Args:
        pictures: Of each digit those of each split.
        recordings: Of each split.
        rows: How many in all.
        generator: Of the order.
    """
    total = sum(map(len, recordings))
    for part, (split, heard) in enumerate(zip(_SPLITS, recordings, strict=True)):
        wanted = len(heard) if rows is None else max(1, round(rows * len(heard) / total))
        unused = [iter(of_digit[part]) for of_digit in pictures]
        order = np.concatenate([generator.permutation(len(heard)) for _ in range(0, wanted, len(heard))])
        for place in order[:wanted]:
            recording = heard[place]
            picture = next(unused[recording.digit], None)
            if picture is None:
                raise DataError(
                    f"There must be a picture for each of {wanted} {split} rows of av-digits, got too few of "
                    f"digit {recording.digit}. Ask for fewer rows."
                )
            yield _Pair(int(picture), recording, split)


def _dealt(items: NDArray[Any], generator: np.random.Generator) -> list[NDArray[Any]]:
    """The items in random order, those held out for test and validation first."""
    part = max(1, len(items) // _HELD_OUT)
    return np.split(generator.permutation(items), [part, 2 * part])


def _noisy(pixels: NDArray[np.uint8], deviation: float, noise: np.random.Generator) -> NDArray[np.uint8]:
    if deviation == 0:
        return pixels
    drawn = noise.normal(0, 255 * deviation, size=pixels.shape)
    return np.clip(np.round(pixels + drawn), 0, 255).astype(np.uint8)


def _hidden(pixels: NDArray[np.uint8], share: float, noise: np.random.Generator) -> NDArray[np.uint8]:
    side = round(share * pixels.shape[1])
    if side == 0:
        return pixels
    places = np.arange(pixels.shape[1])
    corners = noise.integers(0, pixels.shape[1] - side, size=(len(pixels), 2), endpoint=True)
    high, wide = ((corner[:, None] <= places) & (places < corner[:, None] + side) for corner in corners.T)
    return np.where(high[:, :, None] & wide[:, None, :], np.uint8(128), pixels)


def _hissing(path: Path, snr_db: float, noise: np.random.Generator) -> Sound:
    samples, rate = read_item(read_audio, path)
    power = float(np.square(samples, dtype=np.float64).mean()) / 10 ** (snr_db / 10)
    hiss = noise.normal(0, power**0.5, size=len(samples))
    return Sound(samples=(samples + hiss).astype(np.float32), rate=rate)


def _strings(values: Iterator[str]) -> NDArray[np.object_]:
    return np.array(list(values), dtype=object)
