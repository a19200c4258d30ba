"""Reads the set ``scenes-seg`` as it was written."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fuseloom.data.cells import as_strings
from fuseloom.data.dataset import Image, Map, Modality
from fuseloom.data.files import items_of
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.maps import MapFormat
from fuseloom.data.scenes.seg import SEG_LABELS
from fuseloom.data.source import Source
from fuseloom.data.tables import read_table

__all__ = ["read_seg_scenes"]

_PICTURES = ("rgb", "normals")
_SPLITS = ("train", "valid", "test")
_DISTANCE = MapFormat(scale=0.001, unknown=(0,))
_FORMS: Mapping[str, MapFormat] = {
    "depth": _DISTANCE,
    "edges": MapFormat(scale=1 / 255),
    "thermal": MapFormat(scale=0.01),
    "event": MapFormat(offset=-128),
    "lidar": _DISTANCE,
    "shade": MapFormat(scale=1 / 255),
    "texture": MapFormat(scale=1 / 255),
}
"""What the numbers of each map mean; distances in metres, temperatures in kelvins."""


def read_seg_scenes(folder: Path | str) -> Source:
    """Read what `write_seg_scenes` wrote: every map is a modality, and the target what is at each pixel.

    Scenes of sensors that fail are in no split; the label ``failure`` says which of them it is.

    Raises:
        DataError: the folder lacks its table, or a column of it.
    """
    folder = Path(folder)
    table = read_table(folder / "scenes-seg.csv")
    splits = as_strings(table.column("split", role="split_column"))
    failures = as_strings(table.column("failure", role="label"))
    arrays: dict[str, Modality] = {
        name: Image(items=items_of(table.column(name, role="image"), folder)) for name in _PICTURES
    }
    for name, form in _FORMS.items():
        arrays[name] = Map(items=items_of(table.column(name, role="map"), folder), form=form)
    return Source(
        name="scenes-seg",
        source_format="scenes-seg",
        ids=[str(one) for one in as_strings(table.column("id", role="id_column"))],
        places=table.places,
        arrays=arrays,
        labels={
            "split": np.array([one if one in _SPLITS else "none" for one in splits], dtype=object),
            "failure": np.array([one or "none" for one in failures], dtype=object),
            "label": table.column("label", role="target"),
        },
        root=folder,
        target="label",
        target_kind="labels",
        label_format=LabelFormat(names=SEG_LABELS),
        split_column="split",
    )
