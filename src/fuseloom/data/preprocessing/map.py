"""Maps of numbers, such as depth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Map
from fuseloom.data.grid import Grid, usual_sides
from fuseloom.data.hha import Intrinsics, hha
from fuseloom.data.maps import MapFormat, read_map
from fuseloom.data.media import read_item
from fuseloom.data.preprocessing._base import Encoded, Preprocessor, standardised, usable_std
from fuseloom.errors import DataError, OptionError

__all__ = ["MapPreprocessor"]

_LOOKED_AT = 256


@dataclass(frozen=True, kw_only=True)
class MapPreprocessor(Preprocessor):
    """Standardised numbers ``[N, C, H, W]``, as pictures are cut, and which are known.

    ``size`` is both sides, or ``HxW``. The shorter side is resized and the middle of the longer one kept,
    unless ``squash`` resizes both; a number is that of the nearest pixel, as a mean over an edge would be no
    distance at all.
    """

    kind = "map"
    reads = "map"
    rows_at_once: ClassVar[int] = 64
    size: int | str
    squash: bool
    form: MapFormat
    mean: tuple[float, ...]
    std: tuple[float, ...]
    hha: str | float | None = None
    """The camera of a depth whose HHA is taken in its place, as of `fit`."""

    @classmethod
    def fit(
        cls,
        modality: Map,
        rows: NDArray[np.intp],
        *,
        size: int | str | None = None,
        squash: bool = False,
        unknown: float | None = None,
        log: bool = False,
        hha: str | float | None = None,
    ) -> Self:
        """Take what is given, or learn it from training maps; mean and deviation are of some hundred of them.

        Args:
            modality: All maps.
            rows: Those of training.
            size: Pixels of both sides, or of each, ``480x640``; by default the median shorter side, from 8 to
                64 pixels.
            squash: Resize both sides, whatever the shape of a map.
            unknown: A number of the files that says that nothing is known, such as 0 of depth; besides those
                that are not finite.
            log: Tell numbers apart by their logarithms (of one more), as distances may be.
            hha: Of a depth, the camera: then `fuseloom.data.hha.hha` of it stands in its place, and a pixel
                where one of the three is unknown is. ``nyudv2``; degrees that it sees from left to right; or
                ``FX/FY/CX/CY`` in pixels of the files.

        Raises:
            DataError: training maps have different numbers of channels.
            OptionError: a size that is none, a camera of another form, or logarithms of a depth whose HHA is
                taken.
        """
        if log and hha is not None:
            raise OptionError(f"log must be False where HHA is taken of a depth, got True and hha={hha!r}.")
        there = [modality.items[row] for row in rows if modality.items[row] is not None]
        shown = there[:: max(1, len(there) // _LOOKED_AT)]
        form = modality.form
        if unknown is not None:
            form = replace(form, unknown=(*form.unknown, unknown))
        if log:
            form = replace(form, log=True)
        found = [_read(item, form, hha) for item in shown]
        counts = sorted({len(values) for values, _ in found}) or [1]
        if len(counts) > 1:
            raise DataError(f"maps must have as many channels as one another, got {counts}")
        if size is None:
            size = usual_sides([min(known.shape) for _, known in found])
        numbers = [values[:, known].astype(np.float64) for values, known in found]
        whole = np.concatenate(numbers, axis=1) if numbers else np.zeros((counts[0], 0))
        mean = whole.mean(1) if whole.size else np.zeros(counts[0])
        std = whole.std(1) if whole.size else np.ones(counts[0])
        return cls(
            size=Grid.of(size).size,
            squash=squash,
            form=form,
            mean=tuple(mean.tolist()),
            std=usable_std(std, mean),
            hha=hha,
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from what `state` gave, also after JSON has made a mapping of the format."""
        return super().from_state({**state, "form": MapFormat.from_state(state["form"])})

    @property
    def grid(self) -> Grid:
        """What all maps are brought to."""
        return Grid.of(self.size, squash=self.squash)

    def apply(self, modality: Map) -> Encoded:
        """Numbers ``[N, C, H, W]``, zero where nothing is known, and a mask entry per pixel."""
        grid = self.grid
        values = np.zeros((len(modality), len(self.mean), grid.height, grid.width), dtype=np.float32)
        mask = np.zeros((len(modality), grid.height, grid.width), dtype=np.bool_)
        mean, std = (np.array(numbers)[:, None, None] for numbers in (self.mean, self.std))
        for row, item in enumerate(modality.items):
            if item is None:
                continue
            numbers, known = _read(item, self.form, self.hha)
            if len(numbers) != len(self.mean):
                raise DataError(
                    f"maps must have {len(self.mean)} channels as in training, got {len(numbers)}"
                )
            places = np.ix_(*grid.places(*known.shape))
            mask[row] = known[places]
            near = numbers[:, places[0], places[1]]
            values[row] = np.where(mask[row], standardised(near, mean, std), 0)
        return values, mask

    def encoder_options(self) -> dict[str, Any]:
        """Number of channels."""
        return {"channels": len(self.mean)}


def _read(
    item: Any, form: MapFormat, camera: str | float | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    read = partial(read_map, form=form) if camera is None else partial(_read_hha, form=form, camera=camera)
    return read_item(read, item)


def _read_hha(
    item: Any, *, form: MapFormat, camera: str | float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values, known = read_map(item, form)
    if len(values) != 1:
        raise DataError(f"a depth must have one channel, of which HHA is taken, got {len(values)}")
    height, width = known.shape
    found = hha(values[0], Intrinsics.named(camera, height=height, width=width), known)
    there: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(found), axis=0)
    return np.where(there, found, 0), there
