"""The set ``scenes-seg``: maps of one scene on one grid, and what is at each pixel.

Some things are boards: cut out along the outline of what they show, so that a photograph cannot tell them
from it, whereas whatever measures distance can. And of vehicles and toys it is asked whether their colour is
warm, which only a photograph tells. So neither kind of map is enough, and how far each goes can be stated.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.picture_files import picture_bytes
from fuseloom.data.scenes.camera import project
from fuseloom.data.scenes.draw import SPLITS, draw_scene, generator_of
from fuseloom.data.scenes.failures import FAILURES, failed
from fuseloom.data.scenes.kinds import FAMILIES, KINDS, family_of
from fuseloom.data.scenes.render import Maps, Rendering, edges_between, render, scanned_rows
from fuseloom.data.scenes.world import SIZES, Thing
from fuseloom.data.scenes.writing import Progress, counted, write_facts
from fuseloom.data.writing import make_folders
from fuseloom.errors import OptionError

__all__ = [
    "MAPS",
    "SEG_LABELS",
    "WARM",
    "SegCeilings",
    "SegExample",
    "SegScenes",
    "seg_ceilings",
    "seg_example",
    "write_seg_scenes",
]

WARM = ("red", "yellow", "white")
"""The other three are cold. Of each kind as many warm as cold colours are held out from training."""
_COLOURED = ("vehicle", "toy")
_PLAIN = tuple(family for family in FAMILIES if family not in _COLOURED)
_SKY, _GROUND, _BOARD = range(3)

SEG_LABELS = (
    "sky",
    "ground",
    "board",
    *_PLAIN,
    *(f"{colour} {family}" for family in _COLOURED for colour in ("warm", "cold")),
)
"""What the numbers in a label map stand for."""

_FILES: Mapping[str, tuple[float, float, type[np.unsignedinteger[Any]]]] = {
    "rgb": (1, 0, np.uint8),
    "depth": (1000, 0, np.uint16),
    "normals": (127, 128, np.uint8),
    "edges": (255, 0, np.uint8),
    "thermal": (100, 0, np.uint16),
    "event": (1, 128, np.uint8),
    "lidar": (1000, 0, np.uint16),
    "shade": (1, 0, np.uint8),
    "texture": (255, 0, np.uint8),
}
"""Map -> by what its values are multiplied, what is added, and the type of a pixel in its file."""

MAPS = tuple(_FILES)
"""What is written of each scene, a folder each."""

_SHARES = np.linspace(0, 1, 201)
_COUNTS = {"train": 800, "valid": 100, "test": 100}
_FAST = 1
"""Level of compression of the files."""
_LABELS, _TABLE = "labels", "scenes-seg.csv"


@dataclass(frozen=True, kw_only=True)
class SegScenes:
    """How scenes are drawn."""

    boards: float = 0.4
    """Probability that a thing is a board."""
    pixels: int = 128
    """Side of the maps."""

    def __post_init__(self) -> None:
        if not 0 <= self.boards <= 1:
            raise OptionError(f"boards must be in [0, 1], got {self.boards}.")
        if self.pixels < 16:
            raise OptionError(f"pixels must be at least 16, got {self.pixels}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class SegExample:
    """One scene through all sensors; each map is computed when it is first asked for."""

    id: str
    rendering: Rendering
    """The scene as if no thing were a board: what a photograph shows."""
    boards: tuple[bool, ...]
    """Of each thing of the scene."""

    @cached_property
    def maps(self) -> Maps:
        """Name of ``MAPS`` -> map, in the units of `Rendering`; ``lidar`` is depth on its lines or zero."""
        seen, board = self.rendering, self._board
        depth = np.where(board, self._flat, seen.depth)
        normals = np.where(board[..., None], np.array([0, 0, -1], dtype=np.float32), seen.normals)
        air = np.float32(seen.scene.air_temperature)
        rows = scanned_rows(seen.height)
        lidar = np.zeros_like(depth)
        lidar[rows] = np.where(np.isfinite(depth[rows]), depth[rows], 0)
        return {
            "rgb": seen.rgb,
            "depth": depth,
            "normals": normals,
            "edges": edges_between(self.label, seen.instance, normals),
            "thermal": np.where(board, air, seen.thermal),
            "event": seen.event,
            "lidar": lidar,
            "shade": seen.shade,
            "texture": seen.texture,
        }

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """What is there, a place in ``SEG_LABELS`` ``[H, W]``."""
        looks = np.append(self._looks, 0)[self.rendering.instance - 1]
        nothing = np.where(np.isfinite(self.rendering.depth), _GROUND, _SKY)
        return np.where(self._board, _BOARD, np.where(self.rendering.instance > 0, looks, nothing))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many pixels look like each label, and are it, or are a board ``[L, 2]``."""
        looks = np.where(
            self.rendering.instance > 0, np.append(self._looks, 0)[self.rendering.instance - 1], self.label
        )
        pairs = 2 * looks + self._board
        return np.bincount(pairs.ravel(), minlength=2 * len(SEG_LABELS)).reshape(-1, 2)

    @property
    def _looks(self) -> NDArray[np.int64]:
        """Of each thing the label that a photograph of it has."""
        return np.array(
            [SEG_LABELS.index(_look(thing)) for thing in self.rendering.scene.things], dtype=np.int64
        )

    @cached_property
    def _board(self) -> NDArray[np.bool_]:
        board: NDArray[np.bool_] = np.array((*self.boards, False))[self.rendering.instance - 1]
        return board & (self.rendering.instance > 0)

    @property
    def _flat(self) -> NDArray[np.float32]:
        """Depth of a board where each thing is: that of its middle, as it stands across the line of sight."""
        scene = self.rendering.scene
        middles = [(*thing.place, KINDS[thing.kind].height * SIZES[thing.size] / 2) for thing in scene.things]
        depths = project(scene.camera, np.array(middles))[:, 2]
        return np.append(depths, 0).astype(np.float32)[self.rendering.instance - 1]


@dataclass(frozen=True, kw_only=True)
class SegCeilings:
    """The best mean intersection over union to be expected of who reads photographs, distances, or both."""

    rgb: float
    depth: float
    both: float


def seg_example(settings: SegScenes, seed: int, index: int, split: str = "train") -> SegExample:
    """One scene, a function of these arguments alone.

    Args:
        settings: Shares and sizes.
        seed: Of the whole set.
        index: Number of the example in its split.
        split: As of `draw_scene`.

    Example:
        >>> example = seg_example(SegScenes(pixels=64), seed=0, index=3)
        >>> example.boards, sorted({SEG_LABELS[label] for label in set(example.label.ravel().tolist())})[:3]
        ((True, False, False, False, True, False), ['board', 'emblem', 'ground'])
    """
    scene = draw_scene(seed, index, split)
    generator = generator_of(seed, split, index).spawn(1)[0]
    boards = tuple((generator.random(len(scene.things)) < settings.boards).tolist())
    return SegExample(
        id=f"{split}_{index}", rendering=render(scene, settings.pixels, settings.pixels), boards=boards
    )


def seg_ceilings(counts: NDArray[np.int64]) -> SegCeilings:
    """What oracles can expect on pixels so counted, see `SegExample.counts`.

    One knows from each photograph what it shows, but not what is a board; it calls the same share of the
    things boards, whichever share is best. The other knows from distances what is a board, and of the rest
    all but colours; of each family it calls the share warm that is best. Both together know all. Labels that
    no pixel has do not count.

    Example:
        >>> counts = np.zeros((len(SEG_LABELS), 2), dtype=int)
        >>> counts[SEG_LABELS.index("ground")] = 500, 0
        >>> counts[SEG_LABELS.index("warm toy")] = counts[SEG_LABELS.index("cold toy")] = 60, 40
        >>> one = seg_ceilings(counts)
        >>> round(one.rgb, 3), round(one.depth, 3), one.both
        (0.553, 0.667, 1.0)
    """
    real, boards = counts.T.astype(np.float64)
    there = real > 0
    there[_BOARD] = boards.sum() > 0
    return SegCeilings(
        rgb=max(float(_guessed_boards(real, boards, share)[there].mean()) for share in _SHARES),
        depth=float(_guessed_colours(real)[there].mean()),
        both=1.0,
    )


def write_seg_scenes(
    folder: Path | str,
    settings: SegScenes = SegScenes(),
    *,
    scenes: Mapping[str, int] = _COUNTS,
    failures: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> dict[str, SegCeilings]:
    """Write maps and labels as PNG files, and a table that joins them.

    The folder gets a folder for each of ``MAPS`` and for ``labels``, with ``<id>.png``; ``scenes-seg.csv``
    with the columns ``id``, ``split``, ``failure``, one for each map and ``label``; and ``scenes-seg.json``
    with the settings, the names of the labels and the ceilings. ``depth`` and ``lidar`` are in millimetres
    (16 bits; 0 is unknown, and the sky), ``thermal`` in hundredths of a kelvin (16 bits), ``normals`` and
    ``event`` are centred at 128 (of events a step is one), ``edges`` are 255, and of ``texture`` so is 1.

    Args:
        folder: Made where it is not there; it must hold nothing.
        settings: Of the set.
        scenes: Split -> how many.
        failures: Of ``FAILURES``: with each the test scenes are written again, as the split
            ``test-<failure>``.
        seed: Of everything that is drawn.
        progress: Called with a line for a person, now and then.

    Returns:
        Split -> its ceilings, of sensors that do not fail.

    Raises:
        DataError: the folder holds something.
        MissingExtraError: Pillow is not installed.
        OptionError: there is no such split or failure, or a negative number.
    """
    if unknown := sorted(set(failures) - set(FAILURES)):
        raise OptionError(f"failures must be of {list(FAILURES)}, got {unknown[0]!r}.")
    folder = Path(folder)
    make_folders(folder, *MAPS, _LABELS)
    stated = {}
    with (folder / _TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "split", "failure", *MAPS, "label"])
        for split, count in scenes.items():
            wanted = ("", *failures) if split == "test" else ("",)
            drawn = (seg_example(settings, seed, index, split) for index in range(count))
            counts = np.zeros((len(SEG_LABELS), 2), dtype=np.int64)
            for index, one in enumerate(counted(drawn, split, count, progress)):
                counts += one.counts
                writer.writerows(_written(folder, one, split, index, seed, wanted))
            stated[split] = seg_ceilings(counts)
    facts = {"seed": seed, "scenes": dict(scenes), "failures": list(failures), "labels": list(SEG_LABELS)}
    write_facts(folder / "scenes-seg.json", settings, stated, **facts)
    return stated


def _look(thing: Thing) -> str:
    family = family_of(thing.kind)
    return family if family in _PLAIN else f"{'warm' if thing.colour in WARM else 'cold'} {family}"


def _guessed_boards(
    real: NDArray[np.float64], boards: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """Intersection over union of each label where such a share of all things is called a board."""
    looks = boards > 0  # sky and ground are never taken for a thing
    kept = np.where(looks, 1 - share, 1.0)
    right, called = kept * real, kept * (real + boards)
    right[_BOARD], called[_BOARD] = share * boards.sum(), share * (real + boards)[looks].sum()
    true = real.copy()
    true[_BOARD] = boards.sum()
    return _over_union(right, called, true)


def _guessed_colours(real: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same where of each family that is asked for its colour the best share is called warm."""
    found = np.ones_like(real)
    for family in _COLOURED:
        warm, cold = places = [SEG_LABELS.index(f"{colour} {family}") for colour in ("warm", "cold")]
        both = real[warm] + real[cold]
        tried = [
            _over_union(shares * real[places], shares * both, real[places])
            for shares in (np.array([share, 1 - share]) for share in _SHARES)
        ]
        found[places] = max(tried, key=lambda one: one.sum())
    return found


def _over_union(
    right: NDArray[np.float64], called: NDArray[np.float64], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    union = called + true - right
    return np.divide(right, union, out=np.zeros_like(right), where=union > 0)


def _written(
    folder: Path, example: SegExample, split: str, index: int, seed: int, wanted: Iterable[str]
) -> Iterator[list[str]]:
    """A line of the table for each failure, and for none; its files are there before it."""
    label = f"{_LABELS}/{example.id}.png"
    (folder / label).write_bytes(picture_bytes(example.label.astype(np.uint8), compress_level=_FAST))
    for failure in wanted:
        name = f"{example.id}-{failure}" if failure else example.id
        maps = example.maps
        if failure:
            key = (SPLITS.index(split), index, list(FAILURES).index(failure) + 1)
            generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
            maps = failed(maps, failure, generator)
        paths = {
            kind: f"{kind}/{name if maps[kind] is not example.maps[kind] else example.id}.png"
            for kind in MAPS
        }
        for kind, path in paths.items():
            if not (folder / path).exists():
                (folder / path).write_bytes(picture_bytes(_stored(kind, maps[kind]), compress_level=_FAST))
        yield [name, f"{split}-{failure}" if failure else split, failure, *paths.values(), label]


def _stored(kind: str, values: NDArray[Any]) -> NDArray[Any]:
    """A map as the pixels of a file."""
    factor, offset, pixel = _FILES[kind]
    known = np.where(np.isfinite(values), values, 0).astype(np.float64)
    return np.round(offset + factor * known).astype(pixel)
