"""What the rows look like on which an exchange is shown: words at their positions, and maps as read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from fuseloom.data.dataset import Map, Modality, Text
from fuseloom.data.exhibit import Exhibit
from fuseloom.data.thumbnail import data_uri, grey, shrunk
from fuseloom.diagnose.exchanged import ExchangedSample, SampleStream
from fuseloom.diagnose.modality_maps import Scene
from fuseloom.types import Batch

__all__ = ["exhibited", "pictured"]

_SIDE = 96
_RGB = 3


def exhibited(
    sample: ExchangedSample,
    rows: Batch,
    data: Mapping[str, Modality] | None,
    *,
    places: Sequence[int] | None = None,
    ids: Sequence[str] | None = None,
) -> ExchangedSample:
    """The sample with its id, words and pictures.

    Words are shown where the model reads words or their pieces, and so has a position for each. A picture is
    the one that the model read, resized and cut as it was, so that its patches lie where they are drawn.

    Args:
        sample: Of these rows.
        rows: As the model reads them.
        data: What they were read from; None shows nothing of them.
        places: The numbers of the rows in it; by default they are all its rows, in their order.
        ids: Names of the rows.
    """
    named = replace(sample, row=str(sample.place) if ids is None else ids[sample.place])
    if data is None:
        return named
    number = sample.place if places is None else places[sample.place]
    streams = (_with_inputs(one, rows, data, place=sample.place, number=number) for one in sample.streams)
    return replace(named, streams=tuple(streams))


def _with_inputs(
    stream: SampleStream, rows: Batch, data: Mapping[str, Modality], *, place: int, number: int
) -> SampleStream:
    value, held = rows.inputs.get(stream.modality), data.get(stream.modality)
    if value is None or not stream.positions:
        return stream
    if isinstance(held, Text) and value.dim() == 3 and not value.is_floating_point():
        words = str(held.values[number]).split(" ")
        return replace(stream, words=tuple(words[: stream.positions]))
    if stream.grid is not None and value.dim() == 4 and (value.shape[1] == _RGB or isinstance(held, Map)):
        return replace(stream, picture=_as_read(value[place], held))
    return stream


def pictured(
    scene: Scene, rows: Batch, data: Mapping[str, Modality], *, ids: Sequence[str] | None = None
) -> Scene:
    """The scene with its id, and what the model read of each modality that it has.

    Args:
        scene: Of these rows.
        rows: As the model reads them.
        data: What they were read from.
        ids: Names of the rows.
    """
    found: dict[str, Exhibit] = {}
    for name, value in rows.inputs.items():
        mask = rows.masks.get(name)
        real = None if mask is None else mask[scene.place]
        if real is None or bool(real.any()):
            picture = _as_read(value[scene.place], data.get(name), real)
            found |= {} if picture is None else {name: picture}
    return replace(scene, row=str(scene.place) if ids is None else ids[scene.place], pictures=found)


def _as_read(value: Tensor, held: Modality | None, real: Tensor | None = None) -> Exhibit | None:
    """Of a picture, or of the first channel of a map ``[C, H, W]``: the larger the darker."""
    if not isinstance(held, Map):
        return _picture(value)
    numbers = value[0].double().numpy(force=True)
    known = np.ones(numbers.shape, dtype=bool) if real is None or real.dim() < 2 else real.numpy(force=True)
    low = float(numbers.min(where=known, initial=np.inf))
    small = shrunk(np.where(known, numbers, low), height=_SIDE, width=_SIDE)
    return Exhibit(
        kind="map",
        state="shown",
        words=f"{numbers.shape[1]:,} x {numbers.shape[0]:,} numbers",
        picture=data_uri(grey(small, low=low, high=float(small.max()))),
        width=small.shape[1],
        height=small.shape[0],
    )


def _picture(value: Tensor) -> Exhibit | None:
    """Of bytes ``[3, H, W]``; None of numbers, which may have been standardised."""
    if value.is_floating_point():
        return None
    pixels = value.permute(1, 2, 0).numpy(force=True)
    small = shrunk(pixels, height=_SIDE, width=_SIDE).round().astype("uint8")
    high, wide = pixels.shape[:2]
    return Exhibit(
        kind="image",
        state="shown",
        words=f"{wide:,} x {high:,} pixels",
        picture=data_uri(small),
        width=small.shape[1],
        height=small.shape[0],
    )
