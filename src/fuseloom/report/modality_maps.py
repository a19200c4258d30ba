"""Where each modality was used: scenes with maps over what the model read, and labels beside the truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.exhibit import Exhibit
from fuseloom.data.thumbnail import data_uri
from fuseloom.diagnose.modality_maps import TOGETHER, TRUTH, ModalityMaps, Scene, SceneLabels, TakenMap
from fuseloom.report.exchanged import layer_name
from fuseloom.report.svg import element, figure
from fuseloom.report.tables import Table
from fuseloom.report.words import listed, range_text, score
from fuseloom.train.masks import label_colours

__all__ = ["SceneCard", "SceneFigure", "maps_details", "maps_saying", "maps_table", "scene_cards"]

_SIDE = 144.0
_SHARES = 3
_DARKEST = 0.8
_FLAT = 0.01
"""Maps that span less are of one shade, that of their mean."""
_TINT = (221, 28, 119)
"""Seen on photographs as on maps in grey."""
_IGNORED = 255


@dataclass(frozen=True, kw_only=True)
class SceneFigure:
    """One drawing."""

    title: str
    drawing: str
    """Inline SVG."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SceneCard:
    """One scene: what was read, what is there and was predicted, and how much is another modality's."""

    row: str
    figures: tuple[SceneFigure, ...]
    maps: tuple[SceneFigure, ...]
    legend: tuple[tuple[str, str], ...]
    """Labels that occur, and their colours."""


def maps_saying(one: ModalityMaps, decimals: int) -> str:
    """What each stream's prediction is worth beside that of all.

    Example:
        >>> from fuseloom.diagnose.modality_maps import StreamScore
        >>> from fuseloom.metrics.interval import Interval
        >>> names = {"rgb": 0.5, "depth": 0.4, "together": 0.6}
        >>> streams = tuple(StreamScore(name=n, score=Interval(mean=v)) for n, v in names.items())
        >>> found = ModalityMaps(model="m", metric="miou", rows=9, classes=(), streams=streams, scenes=())
        >>> maps_saying(found, 2)
        'Together the streams reach a miou of 0.60; that of rgb reaches 0.50 and that of depth 0.40.'
    """
    found = {stream.name: score(stream.score.mean, decimals) for stream in one.streams}
    together = found.pop(TOGETHER)
    if not found:
        return f"All streams make one prediction, whose {one.metric} is {together}."
    others = listed(
        f"that of {name} {'reaches ' if not place else ''}{value}"
        for place, (name, value) in enumerate(found.items())
    )
    return f"Together the streams reach a {one.metric} of {together}; {others}."


def maps_table(one: ModalityMaps, decimals: int) -> Table:
    """The score of each stream's prediction."""
    rows = tuple(
        (stream.name, score(stream.score.mean, decimals), range_text(stream.score, decimals))
        for stream in one.streams
    )
    return Table(head=("Prediction of", one.metric, "95 % interval"), rows=rows)


def maps_details(one: ModalityMaps) -> Iterator[tuple[str, Table]]:
    """What the scenes that are drawn show, as numbers, under a title."""
    rows = tuple(
        (
            scene.row or str(scene.place),
            taken.modality,
            _of(taken),
            _size(taken),
            score(taken.mean, _SHARES),
            _range(taken),
        )
        for scene in one.scenes
        for taken in scene.maps
    )
    if rows:
        head = ("Scene", "Modality", "Layers", "Map", "Of others", "From, to")
        yield "How much is another modality's", Table(head=head, rows=rows, words=4)


def scene_cards(one: ModalityMaps) -> tuple[SceneCard, ...]:
    """Those that may be shown."""
    colours = label_colours(len(one.classes))
    return tuple(_card(scene, one.classes, colours) for scene in one.scenes)


def _card(scene: Scene, classes: Sequence[str], colours: NDArray[np.uint8]) -> SceneCard:
    seen = [
        SceneFigure(title=name, drawing=_drawn(f"{name}, as the model read it", picture, []))
        for name, picture in scene.pictures.items()
    ]
    told = [
        SceneFigure(
            title=_title(labels),
            drawing=_painted(labels, colours),
            note="" if labels.right is None else f"{100 * labels.right:.0f} % right",
        )
        for labels in scene.labels
    ]
    names = dict.fromkeys(taken.modality for taken in scene.maps)
    maps = [_map(taken, scene) for name in names for taken in scene.maps if taken.modality == name]
    there = sorted({label for labels in scene.labels for row in labels.labels for label in row} - {_IGNORED})
    legend = tuple((classes[label], "#" + bytes(colours[label].tolist()).hex()) for label in there)
    return SceneCard(
        row=scene.row or str(scene.place), figures=(*seen, *told), maps=tuple(maps), legend=legend
    )


def _title(labels: SceneLabels) -> str:
    if labels.name == TRUTH:
        return "what is there"
    return "predicted together" if labels.name == TOGETHER else f"predicted: {labels.name}"


def _of(taken: TakenMap) -> str:
    """Layers, the first and the last of several.

    Example:
        >>> names = tuple(f"encoder.stages.1.{block}.after_attention" for block in range(3))
        >>> _of(TakenMap(modality="rgb", layers=names, mean=0, shares=((0.0,),)))
        'block 1.0 to 1.2'
    """
    names = [layer_name(layer) for layer in taken.layers]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1].removeprefix('block ')}"


def _size(taken: TakenMap) -> str:
    return f"{len(taken.shares)} x {len(taken.shares[0])}"


def _range(taken: TakenMap) -> str:
    values = [share for row in taken.shares for share in row]
    return f"{min(values):.{_SHARES}f} to {max(values):.{_SHARES}f}"


def _map(taken: TakenMap, scene: Scene) -> SceneFigure:
    shares = np.array(taken.shares)
    low, high = float(shares.min()), float(shares.max())
    depth = (shares - low) / (high - low) if high - low > _FLAT else np.full(shares.shape, taken.mean)
    pixels = np.empty((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3], pixels[..., 3] = _TINT, np.rint(255 * _DARKEST * depth.clip(0, 1))
    pictures = scene.pictures
    below = pictures.get(taken.modality) or next(iter(pictures.values()), None)
    others = [name for name in dict.fromkeys(one.modality for one in scene.maps) if name != taken.modality]
    note = f"{100 * taken.mean:.0f} % from {listed(others)} ({100 * low:.0f} to {100 * high:.0f} %)"
    title = f"{taken.modality}, {_of(taken)}"
    return SceneFigure(
        title=title,
        drawing=_drawn(
            f"{title}: {note}", below, [data_uri(pixels)], shape=(shares.shape[0], shares.shape[1])
        ),
        note=note,
    )


def _painted(labels: SceneLabels, colours: NDArray[np.uint8]) -> str:
    numbers = np.array(labels.labels)
    pixels = np.zeros((*numbers.shape, 4), dtype=np.uint8)
    known = numbers != _IGNORED
    pixels[known, :3], pixels[known, 3] = colours[numbers[known]], 255
    shape = (numbers.shape[0], numbers.shape[1])
    return _drawn(_title(labels), None, [data_uri(pixels)], shape=shape)


def _drawn(
    label: str, below: Exhibit | None, layers: Sequence[str], *, shape: tuple[int, int] = (1, 1)
) -> str:
    """A picture with others over it, stretched to its size; a bare sheet where there is none below."""
    high, wide = shape if below is None else (below.height, below.width)
    size = {"width": _SIDE, "height": _SIDE * high / wide}
    sheet = element("rect", x=0, y=0, class_="sheet", **size)
    hrefs = [*([] if below is None else [below.picture]), *layers]
    images = [element("image", href=href, preserveAspectRatio="none", **size) for href in hrefs]
    return figure(label, sheet, *images, width=_SIDE, height=size["height"], class_="patches")
