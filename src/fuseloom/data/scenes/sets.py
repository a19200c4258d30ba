"""The generated sets by name: written to a folder, read from one, or made for the moment."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Files
from fuseloom.data.files import items_of
from fuseloom.data.mvsa import read_mvsa
from fuseloom.data.scenes.msa import write_msa_scenes
from fuseloom.data.scenes.ner import write_ner_scenes
from fuseloom.data.scenes.seg import write_seg_scenes
from fuseloom.data.scenes.seg_reading import read_seg_scenes
from fuseloom.data.scenes.things import read_things, write_things_scenes
from fuseloom.data.scenes.writing import Progress
from fuseloom.data.source import Source
from fuseloom.data.tagged import read_tagged
from fuseloom.errors import OptionError

__all__ = ["SCENE_SETS", "SceneSet", "embedded_scenes", "read_scenes", "write_scenes"]

_ROWS = 10_000
_FEWEST = 100
"""So that each split has pairs that do not contradict themselves."""
_HELD_OUT = 10
"""One row in so many is for validation, and one for testing."""


@dataclass(frozen=True, kw_only=True)
class SceneSet:
    """One of the sets."""

    rows: str
    """What the writer calls the rows."""
    score: str
    """What is stated as the most that can be expected."""
    write: Callable[..., Mapping[str, Any]]
    read: Callable[[Path], Source]
    embedded: int = 3000
    """Rows that are made where it is asked for by its name: ready in half a minute, on one core."""


SCENE_SETS: Mapping[str, SceneSet] = {
    "scenes-msa": SceneSet(rows="examples", score="accuracy", write=write_msa_scenes, read=read_mvsa),
    "scenes-ner": SceneSet(rows="sentences", score="span F1", write=write_ner_scenes, read=read_tagged),
    "scenes-seg": SceneSet(
        rows="scenes",
        score="mean intersection over union",
        write=write_seg_scenes,
        read=read_seg_scenes,
        embedded=500,
    ),
    "scenes-things": SceneSet(
        rows="pictures", score="mean average precision", write=write_things_scenes, read=read_things
    ),
}


def write_scenes(
    name: str,
    folder: Path,
    *,
    rows: int = _ROWS,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> dict[str, dict[str, float]]:
    """Write a set with its default settings, eight rows in ten of it for training and one each for the rest.

    Args:
        name: Of the set.
        folder: Made where it is not there; it must hold nothing.
        rows: In all splits together.
        seed: Of everything that is drawn.
        progress: Called with a line for a person, now and then.

    Returns:
        Split -> who reads (``text``, ``both``, ...) -> the best score that can be expected.

    Raises:
        DataError: the folder holds something.
        MissingExtraError: Pillow is not installed.
        OptionError: too few rows, or a negative seed.
    """
    if rows < _FEWEST:
        raise OptionError(f"rows must be {_FEWEST} or more, got {rows}.")
    held_out = round(rows / _HELD_OUT)
    counts = {"train": rows - 2 * held_out, "valid": held_out, "test": held_out}
    one = SCENE_SETS[name]
    stated = one.write(folder, seed=seed, progress=progress, **{one.rows: counts})
    return {split: asdict(ceilings) for split, ceilings in stated.items()}


def read_scenes(name: str, folder: Path) -> Source:
    """Read a folder that `write_scenes` wrote, by the reader of the published sets in whose format it is.

    Raises:
        DataError: files that are not of the format.
    """
    source = SCENE_SETS[name].read(folder)
    places = [f"{name} {row}" for row in source.ids]
    return replace(source, name=name, source_format=name, places=places)


def embedded_scenes(name: str) -> Source:
    """A small set of seed 0, as it is read from its folder, with the pictures in memory."""
    with TemporaryDirectory() as folder:
        write_scenes(name, Path(folder, name), rows=SCENE_SETS[name].embedded)
        source = read_scenes(name, Path(folder, name))
        arrays = {
            key: replace(array, items=_bytes(array.items)) if isinstance(array, Files) else array
            for key, array in source.arrays.items()
        }
        labels = dict(source.labels)
        if source.target_kind == "labels":
            assert source.target is not None
            labels[source.target] = _bytes(items_of(labels[source.target], source.root))
    return replace(source, root=None, arrays=arrays, labels=labels)


def _bytes(paths: NDArray[np.object_]) -> NDArray[np.object_]:
    items = np.empty(len(paths), dtype=object)
    items[:] = [path.read_bytes() for path in paths]
    return items
