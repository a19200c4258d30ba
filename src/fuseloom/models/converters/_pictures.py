"""What converters of systems that make pictures share: which weight became which, and Taskonomy's domains."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fuseloom.models.config import ModelConfig
from fuseloom.models.converters._base import Converted, Piece
from fuseloom.models.converters._dense import sides_of

__all__ = ["as_pictures", "traced", "without_counts"]

_COUNTED = ".num_batches_tracked"
_LARGEST: Mapping[str, float] = {
    "depth_euclidean": 11.1,
    "depth_zbuffer": 11.1,
    "edge_occlusion": 11584.0,
    "edge_texture": 11355.0,
}
"""Domain of 16 bits -> what becomes 1; half of it becomes 0. Of depth it is of logarithms."""


def without_counts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the counts of batches, on which nothing depends."""
    return {name: value for name, value in state.items() if not name.endswith(_COUNTED)}


def traced(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[Piece]:
    """Weight by weight, what became what, where values were moved and not changed.

    Args:
        state: Official name -> weight.
        ours: Our name -> the same values; others are made anew, of no official weight.
    """
    places = {id(value): name for name, value in state.items()}
    taken: dict[str, dict[str, Tensor]] = {name: {} for name in state}
    made: dict[str, Tensor] = {}
    for name, value in ours.items():
        weights = taken[places[id(value)]] if id(value) in places else made
        weights[f"model.{name}"] = value
    pieces = [Piece(sources=[name], weights=weights) for name, weights in taken.items()]
    return [*pieces, Piece(sources=[], weights=made)] if made else pieces


def as_pictures(
    pieces: Sequence[Piece],
    names: Sequence[str],
    *,
    fusion: str,
    options: Mapping[str, Any],
    size: str,
    out_channels: int,
    stem: str,
) -> Converted:
    """What a checkpoint of Taskonomy's domains holds.

    Args:
        pieces: Of its weights.
        names: Of the modalities; one that is called as a domain of 16 bits is a map, any other a picture.
        fusion: The system.
        options: Of that.
        size: To which scenes are brought, as ``HEIGHTxWIDTH``.
        out_channels: Of the pictures made.
        stem: Our name of the weight that reads the maps; the official code repeats a map of one channel, and
            where all are such, the weights of its copies are added up.
    """
    preprocessing: dict[str, dict[str, Any]] = {}
    for name in names:
        state: dict[str, Any] = {"size": size, "squash": True}
        if name not in _LARGEST:
            preprocessing[name] = {"kind": "image", "state": {**state, "frames": 1}}
            continue
        form = {"scale": 1.0, "offset": 0.0, "unknown": (), "log": name.startswith("depth_")}
        half = (_LARGEST[name] / 2,)
        preprocessing[name] = {"kind": "map", "state": {**state, "form": form, "mean": half, "std": half}}
    if all(one["kind"] == "map" for one in preprocessing.values()):
        pieces = [_of_one_channel(piece, f"model.{stem}") for piece in pieces]
    return Converted(
        config=ModelConfig(
            encoders={
                name: {"kind": one["kind"], "channels": 3 if one["kind"] == "image" else 1}
                for name, one in preprocessing.items()
            },
            fusion=fusion,
            dropout=0.0,
            options={fusion: {**options, "judge": False}},
        ),
        num_outputs=out_channels,
        pieces=pieces,
        preprocessing=preprocessing,
        size=sides_of(size),
        pictures=True,
    )


def _of_one_channel(piece: Piece, stem: str) -> Piece:
    weights = {n: value.sum(1, keepdim=True) if n == stem else value for n, value in piece.weights.items()}
    return Piece(sources=piece.sources, weights=weights)
