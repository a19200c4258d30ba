"""Maps and pictures of one row whose pixels do not belong together, and maps that say nothing."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from fuseloom.data.checks._finding import Finding
from fuseloom.data.dataset import Dataset, Image, Map
from fuseloom.data.label_counts import LabelPixels
from fuseloom.data.maps import MapFormat, read_map
from fuseloom.data.media import frames_of, picture_head, read_item
from fuseloom.data.target_pictures import target_modality

__all__ = ["find_grids"]

Size = tuple[int, int]

_ALIKE = 0.02
"""Ratios of sides that differ by less are of one shape: of 480 rows of pixels some may have been cut off."""


def find_grids(dataset: Dataset, pixels: LabelPixels | None = None) -> Iterator[Finding]:
    """Rows whose map and picture, maps, or labels differ in shape or size, and maps of one number only."""
    modalities = {name: one for name, one in dataset.modalities.items() if isinstance(one, Image | Map)}
    if (target := target_modality(dataset)) is not None and dataset.schema.target is not None:
        modalities[dataset.schema.target] = target
    if pixels is None and not any(isinstance(one, Map) for one in modalities.values()):
        return
    seen = {name: _looked_at(one) for name, one in modalities.items()}
    sizes: dict[str, Sequence[Size | None]] = {
        name: [size for size, _ in found] for name, found in seen.items()
    }
    if pixels is not None:
        sizes["labels"] = pixels.sizes
    rows = [
        {name: own[row] for name, own in sizes.items() if own[row] is not None} for row in range(len(dataset))
    ]
    yield from _differing(dataset, rows)
    for name, found in seen.items():
        if flat := [dataset.ids[row] for row, (_, says) in enumerate(found) if not says]:
            yield Finding(
                severity="warning",
                kind="flat-maps",
                what=f"maps of {name} hold one number only, or none that is known",
                where=tuple(flat),
                count=len(flat),
                advice="Look at them; leave the cell empty where the sensor saw nothing.",
            )


def _differing(dataset: Dataset, rows: list[dict[str, Size | None]]) -> Iterator[Finding]:
    shapes: list[str] = []
    sizes: list[str] = []
    for row, found in enumerate(rows):
        known = [size for size in found.values() if size is not None]
        if len(set(known)) > 1:
            ratios = [high / wide for high, wide in known]
            where = ", ".join(f"{name} {size[1]} x {size[0]}" for name, size in found.items() if size)
            (shapes if max(ratios) > (1 + _ALIKE) * min(ratios) else sizes).append(
                f"{dataset.ids[row]}: {where}"
            )
    if shapes:
        yield Finding(
            severity="error",
            kind="unregistered",
            what="rows have maps of different shapes, whose pixels cannot belong together",
            where=tuple(shapes),
            count=len(shapes),
            advice="Bring them onto one grid, with the calibration of the sensors.",
        )
    if sizes:
        yield Finding(
            severity="warning",
            kind="other-sizes",
            what="rows have maps of one shape and different sizes",
            where=tuple(sizes),
            count=len(sizes),
            advice="They are brought to one size; check that they show the same view.",
        )


def _looked_at(modality: Image | Map) -> list[tuple[Size | None, bool]]:
    """Of each row the size of what it has, and whether that says something."""
    look = partial(_map, form=modality.form) if isinstance(modality, Map) else _picture
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda item: (None, True) if item is None else look(item), modality.items))


def _picture(item: Any) -> tuple[Size | None, bool]:
    return read_item(picture_head, frames_of(item)[0])[1], True


def _map(item: Any, form: MapFormat) -> tuple[Size | None, bool]:
    values, known = read_item(partial(read_map, form=form), item)
    high, wide = known.shape
    return (high, wide), bool(known.any() and np.ptp(values[:, known], axis=1).max() > 0)
