"""What converters of systems of dense prediction share: pieces of a network, and how scenes are prepared."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.models.config import ModelConfig
from fuseloom.models.converters._base import Converted, Piece
from fuseloom.models.dense.mit import MIT_SIZES
from fuseloom.models.dense.swin import SWIN_SIZES, SwinSize

__all__ = ["as_scenes", "mit_numbers", "pieces_of", "sides_of", "swin_numbers"]

_STAGE = r"(?:(?:block|layer)\d+|layers\.\d+\.blocks)"
_BLOCK = re.compile(rf"(?:(?:encoder|backbone)\.)?(?:body\.)?{_STAGE}\.\d+\.")
_COUNTED = ".num_batches_tracked"
_RGB = "rgb"


def pieces_of(
    state: Mapping[str, Tensor], convert: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
) -> list[Piece]:
    """Block by block, and beside the blocks weight by weight, what becomes what.

    Args:
        state: Official name -> weight.
        convert: From some of them to ours.
    """
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, value in state.items():
        found = _BLOCK.match(name)
        groups[found[0] if found else name][name] = value
    pieces = []
    for some in groups.values():
        counters = [name for name in some if name.endswith(_COUNTED)]
        ours = convert({name: value for name, value in some.items() if name not in counters})
        pieces.append(
            Piece(sources=[*some], weights={f"model.{name}": value for name, value in ours.items()})
        )
    return pieces


def as_scenes(
    pieces: Sequence[Piece],
    names: Sequence[str],
    *,
    fusion: str,
    options: Mapping[str, Any],
    size: str,
    divisor: float,
    channels: int = 1,
) -> Converted:
    """What a checkpoint of pictures and of maps of numbers holds.

    Args:
        pieces: Of its weights.
        names: Of the modalities; the first is a photograph.
        fusion: The system.
        options: Of that.
        size: To which scenes are brought, as ``HEIGHTxWIDTH``.
        divisor: Of the numbers of a map.
        channels: Of a map.
    """
    found = {name: value for piece in pieces for name, value in piece.weights.items()}
    classify = found.get("model.head.classify.weight")
    if classify is None:
        raise DataError(
            f"The checkpoint must be of {fusion} for segmentation, got one without its classifier."
        )
    preprocessing: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        state = {"size": size, "squash": True}
        if place == 0:
            preprocessing[name] = {"kind": "image", "state": {**state, "frames": 1}}
            continue
        numbers = {"mean": (0.0,) * channels, "std": (divisor,) * channels}
        form = {"scale": 1.0, "offset": 0.0, "unknown": ()}
        preprocessing[name] = {"kind": "map", "state": {**state, "form": form, **numbers}}
    return Converted(
        config=ModelConfig(
            encoders={
                name: {"kind": one["kind"], "channels": 3 if one["kind"] == "image" else channels}
                for name, one in preprocessing.items()
            },
            fusion=fusion,
            dropout=0.0,
            options={fusion: dict(options)},
        ),
        num_outputs=len(classify),
        pieces=pieces,
        preprocessing=preprocessing,
        size=sides_of(size),
    )


def sides_of(size: str) -> tuple[int, int]:
    """Height and width of ``480x640``.

    Raises:
        OptionError: text of another form.

    Example:
        >>> sides_of("480x640")
        (480, 640)
    """
    sides = [int(part) for part in size.split("x") if part.isdecimal()]
    if len(sides) != 2 or min(sides) < 1:
        raise OptionError(f"size must be HEIGHTxWIDTH, such as 480x640, got {size!r}.")
    return sides[0], sides[1]


def mit_numbers(found: Mapping[str, Tensor], num_heads: Sequence[int]) -> str | dict[str, Any]:
    """The size of a Mix Transformer from our weights: its name, or its numbers.

    Args:
        found: Our name -> weight, behind ``model.encoder.``.
        num_heads: Of attention in each stage, which no weight tells.
    """
    stages = sorted({int(name.split(".")[1]) for name in found if name.startswith("embed.")})
    if not stages:
        raise DataError("The checkpoint must be of a Mix Transformer, got none of its embeddings.")
    first = [f"stages.{stage}.0." for stage in stages]
    dims = [found[f"embed.{stage}.weight"].shape[0] for stage in stages]
    depths = [len({name.split(".")[2] for name in found if name.startswith(f"stages.{s}.")}) for s in stages]
    numbers = {
        "dims": dims,
        "depths": depths,
        "num_heads": [*num_heads][: len(dims)],
        "reductions": [
            found[f"{at}reduce.weight"].shape[-1] if f"{at}reduce.weight" in found else 1 for at in first
        ],
        "expansion": found[f"{first[0]}up.weight"].shape[0] // dims[0],
    }
    for name, size in MIT_SIZES.items():
        if all(
            list(getattr(size, key)) == numbers[key] for key in ("dims", "depths", "num_heads", "reductions")
        ):
            return name
    return numbers


def swin_numbers(found: Mapping[str, Tensor]) -> str | dict[str, Any]:
    """The size of a Swin Transformer from our weights: its name, or its numbers.

    Args:
        found: Our name -> weight, behind ``model.encoder.``.
    """
    if "embed.weight" not in found:
        raise DataError("The checkpoint must be of a Swin Transformer, got none of its embedding.")
    blocks = sorted({tuple(map(int, n.split(".")[1:3])) for n in found if n.startswith("stages.")})
    stages = sorted({stage for stage, _ in blocks})
    first = [found[f"stages.{stage}.0.bias"] for stage in stages]
    up = found["stages.0.0.up.weight"]
    size = SwinSize(
        dim=len(found["embed.weight"]),
        depths=tuple(sum(stage == one for one, _ in blocks) for stage in stages),
        num_heads=tuple(bias.shape[1] for bias in first),
        window=(math.isqrt(len(first[0])) + 1) // 2,
        expansion=up.shape[0] // up.shape[1],
    )
    return next((name for name, known in SWIN_SIZES.items() if known == size), asdict(size))
