"""Maps and pictures whose pixels do not belong together."""

from dataclasses import replace
from typing import Any

import numpy as np

from fuseloom.data.checks import Finding
from fuseloom.data.checks.grids import find_grids
from fuseloom.data.dataset import Dataset, Image, Map, ModalitySpec, Schema
from fuseloom.data.maps import MapFormat


def dataset(depths: list[Any], photos: list[Any] | None = None) -> Dataset:
    def objects(values: list[Any]) -> np.ndarray:
        items = np.empty(len(values), dtype=object)
        items[:] = values
        return items

    modalities: dict[str, Any] = {"depth": Map(items=objects(depths))}
    if photos is not None:
        modalities["photo"] = Image(items=objects(photos))
    return Dataset(
        name="rooms",
        modalities=modalities,
        target=None,
        ids=[f"room {row}" for row in range(len(depths))],
        split=None,
        schema=Schema(
            source_format="table", modalities={n: ModalitySpec(kind=m.kind) for n, m in modalities.items()}
        ),
    )


def ramp(high: int, wide: int) -> np.ndarray:
    return np.arange(high * wide, dtype=float).reshape(high, wide)


def photo(high: int, wide: int) -> np.ndarray:
    return np.zeros((high, wide, 3), dtype=np.uint8)


def found(rows: Dataset) -> dict[str, Finding]:
    return {one.kind: one for one in find_grids(rows)}


def test_maps_on_one_grid_are_well() -> None:
    assert found(dataset([ramp(6, 8), ramp(6, 8), None], [photo(6, 8), None, photo(3, 3)])) == {}


def test_other_shapes_are_an_error_and_other_sizes_a_warning() -> None:
    rows = dataset(
        [ramp(6, 8), ramp(12, 16), ramp(6, 8), ramp(100, 100)],
        [photo(6, 9), photo(6, 8), photo(6, 8), photo(101, 100)],
    )
    shapes, sizes = (found(rows)[kind] for kind in ("unregistered", "other-sizes"))
    assert (shapes.severity, shapes.where) == ("error", ("room 0: depth 8 x 6, photo 9 x 6",))
    assert sizes.severity == "warning"
    assert sizes.where == ("room 1: depth 16 x 12, photo 8 x 6", "room 3: depth 100 x 100, photo 100 x 101")


def test_maps_that_say_nothing_are_named() -> None:
    rows = dataset(
        [
            ramp(6, 8),
            np.full((6, 8), 3.0),
            np.full((6, 8), np.nan),
            np.stack([ramp(6, 8), ramp(6, 8) * 0], -1),
        ]
    )
    (flat,) = find_grids(rows)
    assert (flat.kind, flat.where, flat.count) == ("flat-maps", ("room 1", "room 2"), 2)


def test_pictures_alone_are_not_looked_at() -> None:
    rows = dataset([ramp(2, 2)], [photo(4, 9)])
    pictures = {name: one for name, one in rows.modalities.items() if name == "photo"}
    assert not [*find_grids(replace(rows, modalities=pictures))]


def test_a_map_of_which_nothing_is_known_says_nothing() -> None:
    rows = dataset([ramp(6, 8), np.zeros((6, 8)) + [0, 5] * 4])
    form = MapFormat(unknown=(0, 5))
    unknown = replace(rows, modalities={"depth": replace(rows.modalities["depth"], form=form)})
    assert found(rows) == {}
    assert found(unknown)["flat-maps"].where == ("room 1",)
