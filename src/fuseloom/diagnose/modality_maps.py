"""Where in a scene a model of dense prediction took from which modality, and what each of them predicted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data.exhibit import Exhibit
from fuseloom.data.grid import Grid
from fuseloom.data.thumbnail import shrunk
from fuseloom.diagnose.exchange_records import MARKS, exchanging, filing, map_of_channels, weights_of_others
from fuseloom.diagnose.observing import observed
from fuseloom.diagnose.resampling import interval_of, known_target, scored
from fuseloom.metrics.interval import Interval
from fuseloom.models.dense_systems import DensePredictor
from fuseloom.tasks import Metric
from fuseloom.train.fit import seeded
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Trace

__all__ = [
    "TOGETHER",
    "TRUTH",
    "ModalityMaps",
    "Scene",
    "SceneLabels",
    "StreamScore",
    "TakenMap",
    "modality_maps",
]

Doubles = NDArray[np.float64]
Bytes = NDArray[Any]

TRUTH, TOGETHER = "truth", "together"
_IGNORED = 255
_ROWS_AT_ONCE = 32
_MOST_CELLS = 32
_MOST_LABELS = 64
_SHOWN = 3
_STRIDES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class TakenMap:
    """How much of what stands at each pixel of a stream is another modality's, after some layers.

    Of tokens, how often they gave way; of channels, the share of the squares of what a pixel holds that
    stands in channels of another; of pixel attention, what the keys of the others weigh.
    """

    modality: str
    """Of the stream."""
    layers: tuple[str, ...]
    """Those whose maps are of this size; what is shown is their mean."""
    mean: float
    shares: tuple[tuple[float, ...], ...]
    """Row by row, at most 32 a side, rounded."""


@dataclass(frozen=True, kw_only=True)
class SceneLabels:
    """Labels of the pixels of a scene."""

    name: str
    """``truth``, the modality whose stream predicts them, or ``together``."""
    right: float | None
    """Share of the pixels that count; None of the truth, and where no pixel counts."""
    labels: tuple[tuple[int, ...], ...]
    """Row by row, at most 64 a side; 255 where none counts."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One row."""

    place: int
    """Where it stands among the rows that were given, from 0."""
    maps: tuple[TakenMap, ...]
    """Coarser ones later; none of a model without an exchange that says what it takes."""
    labels: tuple[SceneLabels, ...]
    row: str = ""
    """Its id."""
    pictures: dict[str, Exhibit] = field(default_factory=dict)
    """Modality -> what the model read, where it may be shown."""


@dataclass(frozen=True, kw_only=True)
class StreamScore:
    """What the prediction of one stream is worth, of a model whose streams have met on the way."""

    name: str
    """The modality, or ``together``."""
    score: Interval


@dataclass(frozen=True, kw_only=True)
class ModalityMaps:
    """Where each modality was used."""

    model: str
    metric: str
    rows: int
    classes: tuple[str, ...]
    """What labels are called."""
    streams: tuple[StreamScore, ...]
    """On all rows."""
    scenes: tuple[Scene, ...]
    """Drawn at random."""


def modality_maps(  # noqa: PLR0913  the keywords are what a person wants to say
    module: DensePredictor,
    rows: Batch,
    predict: Callable[[NDArray[np.float32]], Bytes],
    *,
    classes: Sequence[str],
    model: str,
    metric: tuple[str, Metric],
    num_scenes: int = 4,
    resamples: int = 1000,
    seed: int = 0,
) -> ModalityMaps:
    """Look at scenes: what each pixel took from other modalities, and what each stream made of it.

    Args:
        module: Stays as it was.
        rows: Held-out rows with their target.
        predict: Scores of labels ``[N, K, h, w]`` to labels ``[N, H, W]``.
        classes: What labels are called.
        model: Name for the result.
        metric: Name and metric.
        num_scenes: At most.
        resamples: Of the bootstrap over rows.
        seed: Of the bootstrap and of the scenes.

    Raises:
        DataError: the rows have no target.

    Example:
        >>> from fuseloom.models.dense import MitSize, geminifusion_mit
        >>> from fuseloom.tasks.segmentation import Segmentation
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 2), reductions=(2, 1))
        >>> net = DensePredictor(geminifusion_mit({"rgb": 3, "depth": 1}, 2, size=tiny, head_dim=8)).eval()
        >>> task, maps = Segmentation(["a", "b"], size=(32, 32)), torch.zeros(2, 32, 32).to(torch.uint8)
        >>> inputs = {"rgb": torch.zeros(2, 3, 32, 32), "depth": torch.zeros(2, 1, 32, 32)}
        >>> found = modality_maps(
        ...     net,
        ...     Batch(inputs=inputs, target=maps),
        ...     task.predict,
        ...     classes=task.labels,
        ...     model="mine",
        ...     metric=("miou", task.metrics["miou"]),
        ... )
        >>> [(one.modality, len(one.shares)) for one in found.scenes[0].maps]
        [('rgb', 8), ('depth', 8), ('rgb', 4), ('depth', 4)]
    """
    target = known_target(rows)
    predicted = _predicted(module, rows, predict)
    scores = scored(predicted.values(), target, metric[1], resamples=resamples, seed=seed)
    sign = metric[1].better(1.0)
    drawn = np.random.default_rng(seed).permutation(len(rows))[:num_scenes]
    return ModalityMaps(
        model=model,
        metric=metric[0],
        rows=len(rows),
        classes=tuple(classes),
        streams=tuple(
            StreamScore(name=name, score=interval_of(sign * own))
            for name, own in zip(predicted, scores, strict=True)
        ),
        scenes=tuple(
            Scene(
                place=place,
                maps=tuple(_maps(module, rows.take(slice(place, place + 1)))),
                labels=tuple(_labels({name: one[place] for name, one in predicted.items()}, target[place])),
            )
            for place in sorted(drawn.tolist())
        ),
    )


def _predicted(
    module: DensePredictor, rows: Batch, predict: Callable[[NDArray[np.float32]], Bytes]
) -> dict[str, Bytes]:
    """Labels ``[N, H, W]`` of each stream, where each predicts, and last of all together."""
    device = next((parameter.device for parameter in module.parameters()), rows.device)
    outputs: list[Tensor] = []
    found: list[list[Bytes]] = []
    hook = module.model.register_forward_hook(lambda _part, _given, out: outputs.append(out))
    try:
        with observed(module), torch.no_grad(), seeded(0):
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                outputs.clear()
                apply_model(module, rows.take(slice(start, start + _ROWS_AT_ONCE)).to(device))
                (parts,) = outputs
                found.append([predict(part.float().numpy(force=True)) for part in parts.unbind(1)])
    finally:
        hook.remove()
    names = module.model.encoder.names
    whole = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    streams = zip(names, whole, strict=False) if len(whole) == len(names) + 1 > 2 else ()
    return {**dict(streams), TOGETHER: whole[-1]}


def _maps(module: DensePredictor, row: Batch) -> Iterator[TakenMap]:
    """Those of one row, of layers in their order."""
    device = next((parameter.device for parameter in module.parameters()), row.device)
    parts, trace = exchanging(module), Trace()
    with observed(module), filing(parts, values=True), torch.no_grad(), seeded(0):
        apply_model(module, row.to(device), trace=trace)
    high, wide = next(iter(row.inputs.values())).shape[-2:]
    found = [
        (layer, modality, grid)
        for (layer, modality), value in _shares(trace).items()
        if (grid := _on_grid(value, high, wide)) is not None
    ]
    for size, same in groupby(found, key=lambda one: one[2].shape):
        layers: dict[str, dict[str, Doubles]] = {}
        for layer, modality, grid in same:
            layers.setdefault(modality, {})[layer] = grid
        for modality, grids in layers.items():
            mean = np.mean([*grids.values()], axis=0).reshape(size)
            small = shrunk(mean, height=_MOST_CELLS, width=_MOST_CELLS).round(_SHOWN)
            yield TakenMap(
                modality=modality,
                layers=tuple(grids),
                mean=float(mean.mean()),
                shares=tuple(tuple(row) for row in small.tolist()),
            )


def _shares(trace: Trace) -> dict[tuple[str, str], Tensor]:
    """Layer and modality -> share of each position that is another's, ``[1, P]`` or ``[1, h, w]``."""
    records = trace.records
    found = {}
    for key, value in records.items():
        stream = next((key.removesuffix(mark) for mark in MARKS if key.endswith(mark)), "")
        if f"{stream}.real" in records:
            layer, _, modality = stream.rpartition(".")
            found[layer, modality] = value.double()
    return (
        found
        | {place: weight for place, (weight, _) in weights_of_others(records).items()}
        | (map_of_channels(records))
    )


def _on_grid(value: Tensor, high: int, wide: int) -> Doubles | None:
    """A map ``[h, w]`` of one row's shares; positions are those of every so many pixels, or no map."""
    numbers = value[0].double().numpy(force=True)
    if numbers.ndim == 2:
        return numbers
    sizes = [(-(-high // stride), -(-wide // stride)) for stride in _STRIDES]
    size = next((size for size in sizes if size[0] * size[1] == numbers.size), None)
    return None if size is None else numbers.reshape(size)


def _labels(predicted: dict[str, Bytes], truth: Bytes) -> Iterator[SceneLabels]:
    grid = Grid(
        height=min(truth.shape[0], _MOST_LABELS), width=min(truth.shape[1], _MOST_LABELS), squash=True
    )
    near = np.ix_(*grid.places(*truth.shape))
    counts = truth != _IGNORED
    for name, labels in {TRUTH: truth, **predicted}.items():
        right = None if name == TRUTH or not counts.any() else float((labels == truth)[counts].mean())
        yield SceneLabels(name=name, right=right, labels=tuple(tuple(row) for row in labels[near].tolist()))
