"""The set ``scenes-things``: pictures, and of which kinds are the things that they show.

No text, and nothing of what the other sets ask: it is for encoders of pictures to learn from, before a model
that is to read the same world begins with them.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fuseloom.data.cells import as_strings
from fuseloom.data.dataset import Image
from fuseloom.data.scenes.draw import draw_scene
from fuseloom.data.scenes.render import Rendering, render
from fuseloom.data.scenes.writing import Progress, counted, jpeg, write_facts
from fuseloom.data.source import Source
from fuseloom.data.tables import read_table
from fuseloom.data.writing import make_folders
from fuseloom.errors import OptionError

__all__ = [
    "ThingsCeilings",
    "ThingsExample",
    "ThingsScenes",
    "kinds_in",
    "read_things",
    "things_example",
    "write_things_scenes",
]

_LEAST_PIXELS = 40
"""Of 64 x 64: what a picture shows less of itself is not told."""
_COUNTS = {"train": 8000, "valid": 1000, "test": 1000}
_TABLE = "scenes-things.csv"
_COLUMNS = ("id", "split", "image", "things")


@dataclass(frozen=True, kw_only=True)
class ThingsScenes:
    """How pictures are drawn."""

    pixels: int = 64
    """Side of the pictures."""

    def __post_init__(self) -> None:
        if self.pixels < 16:
            raise OptionError(f"pixels must be at least 16, got {self.pixels}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class ThingsExample:
    """A picture with what it shows."""

    id: str
    rendering: Rendering
    kinds: tuple[str, ...]
    """Sorted, each once."""


@dataclass(frozen=True, kw_only=True)
class ThingsCeilings:
    """The best score that can be expected of whoever sees the picture."""

    image: float


def things_example(settings: ThingsScenes, seed: int, index: int, split: str = "train") -> ThingsExample:
    """One picture, a function of these arguments alone.

    Args:
        settings: Of the set.
        seed: Of the whole set.
        index: Number of the example in its split.
        split: As of `draw_scene`.

    Example:
        >>> things_example(ThingsScenes(), seed=0, index=3).kinds
        ('cactus', 'flag', 'roundel', 'walker')
    """
    rendering = render(draw_scene(seed, index, split), settings.pixels, settings.pixels)
    return ThingsExample(id=f"{split}_{index}", rendering=rendering, kinds=kinds_in(rendering))


def kinds_in(rendering: Rendering) -> tuple[str, ...]:
    """Kinds of the things that are plain to see, sorted."""
    least = _LEAST_PIXELS * rendering.height * rendering.width / 64**2
    things = zip(rendering.scene.things, rendering.shown, strict=True)
    return tuple(sorted({thing.kind for thing, shown in things if shown >= least}))


def write_things_scenes(
    folder: Path | str,
    settings: ThingsScenes = ThingsScenes(),
    *,
    pictures: Mapping[str, int] = _COUNTS,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> dict[str, ThingsCeilings]:
    """Write pictures, and a table of what they show.

    The folder gets ``images/<id>.jpg``, ``scenes-things.csv`` with the columns ``id``, ``split``, ``image``
    and ``things`` (kinds with ``|`` between them), and ``scenes-things.json`` with the settings.

    Args:
        folder: Made where it is not there; it must hold nothing.
        settings: Of the set.
        pictures: Split -> how many.
        seed: Of everything that is drawn.
        progress: Called with a line for a person, now and then.

    Returns:
        Split -> its ceilings: who sees what was rendered knows all kinds.

    Raises:
        DataError: the folder holds something.
        MissingExtraError: Pillow is not installed.
        OptionError: there is no such split, or a negative number.
    """
    folder = Path(folder)
    make_folders(folder, "images")
    with (folder / _TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for split, count in pictures.items():
            drawn = (things_example(settings, seed, index, split) for index in range(count))
            for one in counted(_written(folder, drawn), split, count, progress):
                writer.writerow([one.id, split, f"images/{one.id}.jpg", "|".join(one.kinds)])
    stated = {split: ThingsCeilings(image=1.0) for split in pictures}
    write_facts(folder / "scenes-things.json", settings, stated, seed=seed, pictures=dict(pictures))
    return stated


def read_things(folder: Path) -> Source:
    """Read a folder that `write_things_scenes` wrote.

    Raises:
        DataError: the table is not there, or lacks a column.
    """
    table = read_table(folder / _TABLE)
    ids, split, paths, things = (table.column(name, role=name) for name in _COLUMNS)
    items = np.empty(len(table), dtype=object)
    items[:] = [folder / path for path in as_strings(paths)]
    return replace(
        table,
        ids=as_strings(ids).tolist(),
        columns={},
        labels={"split": split, "things": things},
        arrays={"image": Image(items=items)},
        target="things",
        target_kind="category",
        split_column="split",
    )


def _written(folder: Path, examples: Iterable[ThingsExample]) -> Iterator[ThingsExample]:
    """The same examples, each written before it is passed on."""
    for example in examples:
        (folder / "images" / f"{example.id}.jpg").write_bytes(jpeg(example.rendering.rgb))
        yield example
