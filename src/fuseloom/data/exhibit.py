"""What a row looks like: one raw cell of each modality, made small enough to stand in a report."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.data.dataset import Audio, Embedding, Image, Map, Modality, ModalityKind, Series, Table, Text
from fuseloom.data.maps import read_map
from fuseloom.data.media import read_audio, read_image, read_item
from fuseloom.data.thumbnail import data_uri, grey, shrunk
from fuseloom.errors import DataError, MissingExtraError
from fuseloom.nn.mel import log_mel

__all__ = ["Exhibit", "exhibit", "exhibits"]

Doubles = NDArray[np.float64]

_LONGEST_SIDE = 96
_MOST_HIGH, _MOST_WIDE = 48, 96
"""Of pictures of numbers and of sounds."""
_LONGEST_TEXT = 280
_LONGEST_CELL = 40
_MOST_COLUMNS = 8
_MOST_CHANNELS = 4
_MOST_POINTS = 60
_HEARD_S = 20.0
_WINDOW_S, _FEWEST_SAMPLES = 0.025, 400
"""Of a frame: at a low rate it is longer, so that every band of the mel scale holds some of the spectrum."""
_SILENT = float(np.log(1e-6))
_RANGE = 8 * float(np.log(10))
"""80 dB in natural logarithms of power."""
_JOINER = "\u200d"


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One cell of a data set as it was read, made small: at most some 6 kB, however large the cell is.

    What its kind does not have stays empty.
    """

    kind: ModalityKind
    state: Literal["shown", "missing", "unreadable"]
    """Unreadable is also what needs a package that is not installed."""
    words: str
    """What it is, such as ``28 x 28 pixels``, or why it is not shown."""
    text: str = ""
    """Its start."""
    picture: str = ""
    """A data URI; of numbers and of sounds in grey, the darker the larger or louder."""
    width: int = 0
    """Of the picture, in pixels."""
    height: int = 0
    """Of the picture, in pixels; of sounds low tones are at the bottom."""
    timed: bool = False
    """Whether time runs from left to right in the picture, so that its shape means nothing."""
    lines: tuple[tuple[str, ...], ...] = ()
    """Of each of the first four channels its runs of points, as SVG reads them, in a box of 100 x 100."""
    columns: tuple[tuple[str, str], ...] = ()
    """Names and values of the first eight columns."""


def exhibits(modalities: Mapping[str, Modality], row: int) -> dict[str, Exhibit]:
    """What each modality of a row is, by name.

    Args:
        modalities: Such as those of a `Dataset`.
        row: Its number.
    """
    return {name: exhibit(modality, row) for name, modality in modalities.items()}


def exhibit(modality: Modality, row: int) -> Exhibit:
    """What one cell is; a file that cannot be read any more is said to be so.

    Pictures become thumbnails, sounds spectrograms, vectors rectangles of grey; texts and tables are cut,
    and series drawn as lines. Of a sound the first 20 seconds are shown.

    Args:
        modality: As it was read.
        row: Its number.

    Example:
        >>> rows = Text(values=np.array(["Warm, and very dry.", None], dtype=object))
        >>> exhibit(rows, 0).text, exhibit(rows, 1).state
        ('Warm, and very dry.', 'missing')
    """
    try:
        return _SHOWN[modality.kind](modality, row)
    except (DataError, MissingExtraError) as error:
        return Exhibit(kind=modality.kind, state="unreadable", words=_cut(str(error), _LONGEST_TEXT))


def _missing(kind: ModalityKind) -> Exhibit:
    return Exhibit(kind=kind, state="missing", words="absent")


def _image(modality: Image, row: int) -> Exhibit:
    if modality.items[row] is None:
        return _missing("image")
    pixels = read_item(read_image, modality.items[row])
    high, wide = pixels.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(high, wide))
    small = shrunk(pixels, height=max(1, round(high * scale)), width=max(1, round(wide * scale)))
    shown = np.rint(small).astype(np.uint8)
    plain = shown[..., 0] if (shown == shown[..., :1]).all() else shown
    return _pictured("image", plain, f"{wide:,} x {high:,} pixels")


def _map(modality: Map, row: int) -> Exhibit:
    if modality.items[row] is None:
        return _missing("map")
    values, known = read_item(partial(read_map, form=modality.form), modality.items[row])
    count, high, wide = values.shape
    scale = min(1.0, _LONGEST_SIDE / max(high, wide))
    first = np.where(known, values[0], values[0][known].min() if known.any() else 0)
    small = shrunk(first, height=max(1, round(high * scale)), width=max(1, round(wide * scale)))
    shades = grey(small, low=float(small.min()), high=float(small.max()))
    channels = f", the first of {count} channels shown" if count > 1 else ""
    holes = f", {1 - known.mean():.0%} unknown" if not known.all() else ""
    return _pictured("map", shades, f"{wide:,} x {high:,} numbers{holes}{channels}")


def _audio(modality: Audio, row: int) -> Exhibit:
    if modality.items[row] is None:
        return _missing("audio")
    wave, rate = read_item(read_audio, modality.items[row])
    heard = wave[: round(_HEARD_S * rate)]
    cut = f", the first {_HEARD_S:.0f} s shown" if len(heard) < len(wave) else ""
    window = max(_WINDOW_S, _FEWEST_SAMPLES / rate)
    frames = log_mel(torch.from_numpy(heard), rate, num_mels=_MOST_HIGH, window_s=window).numpy()  # [T, M]
    loud = shrunk(frames.T[::-1], height=_MOST_HIGH, width=_MOST_WIDE)
    shades = grey(loud, low=max(_SILENT, float(loud.max()) - _RANGE), high=float(loud.max()))
    return _pictured("audio", shades, f"{_duration(len(wave) / rate)} at {rate:,} Hz{cut}", timed=True)


def _embedding(modality: Embedding, row: int) -> Exhibit:
    values, real = modality.values[row], np.atleast_1d(modality.mask[row])
    steps = values.ndim == 2
    grid = (values[real] if steps else values[None]).astype(np.float64)
    if not real.any() or not np.isfinite(grid).any():
        return _missing("embedding")
    low, high = float(grid[np.isfinite(grid)].min()), float(grid[np.isfinite(grid)].max())
    count = _count(grid.shape[1], "number")
    words = f"{_count(len(grid), 'step')} of {count}" if steps else count
    laid = grid.T if steps else grid.reshape(_sides(grid.size))
    small = shrunk(np.where(np.isfinite(laid), laid, low), height=_MOST_HIGH, width=_MOST_WIDE)
    shades = grey(small, low=low, high=high)
    return _pictured("embedding", shades, f"{words} from {low:.3g} to {high:.3g}", timed=steps)


def _sides(size: int) -> tuple[int, int]:
    """Height and width of a whole rectangle of so many, as near to a square as can be: 4 and 8 of 32."""
    height = next(side for side in range(isqrt(size), 0, -1) if size % side == 0)
    return height, size // height


def _pictured(kind: ModalityKind, pixels: NDArray[np.uint8], words: str, *, timed: bool = False) -> Exhibit:
    height, width = pixels.shape[:2]
    return Exhibit(
        kind=kind,
        state="shown",
        words=words,
        picture=data_uri(pixels),
        width=width,
        height=height,
        timed=timed,
    )


def _text(modality: Text, row: int) -> Exhibit:
    value = modality.values[row]
    if value is None:
        return _missing("text")
    whole = " ".join(str(value).split())
    shown = _cut(whole, _LONGEST_TEXT)
    many = _count(len(whole), "character")
    return Exhibit(
        kind="text", state="shown", words=many if shown == whole else f"start of {many}", text=shown
    )


def _cut(text: str, most: int) -> str:
    """At most so many characters, ended after a word where one ends in the second half, with an ellipsis."""
    if len(text) <= most:
        return text
    end = most - 1
    while end > 1 and (_joins(text[end]) or text[end - 1] == _JOINER):
        end -= 1
    space = text.rfind(" ", most // 2, end + 1)
    return text[: end if space < 0 else space].rstrip() + "…"


def _joins(char: str) -> bool:
    """Whether a character only changes the one before it: an accent, a skin tone, a joiner."""
    return unicodedata.category(char) in ("Mn", "Me", "Mc", "Cf") or "\U0001f3fb" <= char <= "\U0001f3ff"


def _table(modality: Table, row: int) -> Exhibit:
    found: dict[str, str | None] = {name: _number(column[row]) for name, column in modality.numbers.items()}
    found |= {name: column[row] for name, column in modality.categories.items()}
    if all(value is None for value in found.values()):
        return _missing("table")
    many = _count(len(found), "column")
    first = list(found.items())[:_MOST_COLUMNS]
    return Exhibit(
        kind="table",
        state="shown",
        words=many if len(first) == len(found) else f"{many}, the first {len(first)} shown",
        columns=tuple((_cut(name, _LONGEST_CELL), _cell(value)) for name, value in first),
    )


def _cell(value: str | None) -> str:
    return "missing" if value is None else _cut(str(value), _LONGEST_CELL)


def _number(value: float) -> str | None:
    """As a person would write it; None where there is none."""
    if not np.isfinite(value):
        return None
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.10g}"


def _series(modality: Series, row: int) -> Exhibit:
    real = modality.mask[row]
    values = modality.values[row][real].astype(np.float64)  # [T, C]
    if not np.isfinite(values).any():
        return _missing("series")
    steps, channels = values.shape
    time = np.arange(steps) if modality.time is None else modality.time[row][real]
    if not np.isfinite(time).all():
        time = np.arange(steps)
    shown = values[:, :_MOST_CHANNELS]
    more = f", the first {_MOST_CHANNELS} drawn" if channels > _MOST_CHANNELS else ""
    return Exhibit(
        kind="series",
        state="shown",
        words=f"{_count(steps, 'step')} of {_count(channels, 'channel')}{more}",
        lines=tuple(_line(column, time.astype(np.float64)) for column in shown.T),
    )


def _line(values: Doubles, time: Doubles) -> tuple[str, ...]:
    """Runs of points of a channel ``[T]``, scaled to its own range; neighbours are averaged where many."""
    known = np.isfinite(values)
    stacked = np.stack([known, np.where(known, values, 0.0), time], axis=1)
    share, total, place = shrunk(stacked, height=_MOST_POINTS, width=3).T
    there = share > 0
    heights = np.divide(total, share, out=np.zeros_like(total), where=there)
    across, up = _scaled(place, np.ones_like(there)), 100 - _scaled(heights, there)
    points = [f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True)]
    edges = np.flatnonzero(np.diff(there.astype(np.int8))) + 1
    runs = [run.tolist() for run in np.split(np.arange(len(there)), edges) if there[run[0]]]
    # A run of one point is drawn twice: a line without an end would not be seen.
    return tuple(" ".join(points[place] for place in (run if len(run) > 1 else run * 2)) for run in runs)


def _scaled(values: Doubles, known: NDArray[np.bool_]) -> Doubles:
    """From 0 to 100, the middle where all are equal."""
    low, high = values.min(where=known, initial=np.inf), values.max(where=known, initial=-np.inf)
    if not high > low:
        return np.full_like(values, 50.0)
    scaled: Doubles = (values - low) / (high - low) * 100
    return scaled


def _count(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _duration(seconds: float) -> str:
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s"


_SHOWN: Mapping[ModalityKind, Callable[[Any, int], Exhibit]] = {
    "audio": _audio,
    "embedding": _embedding,
    "image": _image,
    "map": _map,
    "series": _series,
    "table": _table,
    "text": _text,
}
