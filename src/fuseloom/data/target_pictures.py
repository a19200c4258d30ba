"""Pictures and maps that are to be made from others of the same scene."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Dataset, Image, Map
from fuseloom.data.grid import Grid
from fuseloom.data.maps import MapFormat, read_map
from fuseloom.data.media import read_image, read_item

__all__ = ["TargetPicture", "target_modality"]

_WHITE = 255.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetPicture:
    """The picture of one scene, or a map of numbers over it, read when it is needed."""

    item: Any
    """As of `read_image`, or of `read_map`."""
    form: MapFormat | None = None
    """What the numbers of a map mean; None is a picture in bytes."""

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least and the largest number that there can be, if that is known."""
        return (0.0, _WHITE) if self.form is None else None

    def read(self, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Numbers ``[C, H, W]``, NaN where nothing is known; red, green and blue of a picture.

        Args:
            size: Height and width, to which the whole of it is brought: of pictures by means of pixels, of
                maps by the nearest pixel; its own by default.

        Raises:
            DataError: as of `read_image` and `read_map`, with the item's name.

        Example:
            >>> depth = np.array([[0, 1500], [2000, 1000]], dtype=np.uint16)
            >>> TargetPicture(item=depth, form=MapFormat(scale=0.001, unknown=(0,))).read().tolist()
            [[[nan, 1.5], [2.0, 1.0]]]
        """
        if self.form is None:
            pixels = read_item(read_image, self.item)
            wanted = pixels.shape[:2] if size is None else size
            grid = Grid(height=wanted[0], width=wanted[1], squash=True)
            return grid.picture(pixels).transpose(2, 0, 1).astype(np.float32)
        values, known = read_item(partial(read_map, form=self.form), self.item)
        numbers = np.where(known, values, np.float32(np.nan))
        if size is None or size == known.shape:
            return numbers
        rows, columns = Grid(height=size[0], width=size[1], squash=True).places(*known.shape)
        return numbers[:, rows[:, None], columns]


def target_modality(dataset: Dataset) -> Image | Map | None:
    """The target as if it were an input, where it is pictures or maps of numbers."""
    if dataset.target is None or dataset.schema.target_kind not in ("image", "map"):
        return None
    items = np.full(len(dataset), None, dtype=object)
    items[:] = [None if one is None else one.item for one in dataset.target]
    form = dataset.schema.map_format
    return Image(items=items) if form is None else Map(items=items, form=form)
