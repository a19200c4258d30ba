"""What sensors show when they fail: night, fog, too much light, a shaken camera, distances that are lost."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.scenes.light import decoded, encoded
from fuseloom.data.scenes.render import Maps
from fuseloom.errors import OptionError, did_you_mean

__all__ = ["FAILURES", "failed"]

Generator = np.random.Generator

_NIGHT, _NIGHT_NOISE = 0.02, 0.008
"""What is left of the light, and the spread of the sensor's noise beside it."""
_FOG_REACH, _FOG = 2.5, 0.75
"""Metres in which fog takes all but 1/e of the light, and how bright it is itself."""
_OVEREXPOSED = 8.0
_SHAKEN = 13
"""Of 128 pixels: how far the camera moves while the picture is taken."""
_LOST = 0.6
"""Share of blocks of a distance map that are lost."""
_BLOCKS = 16
"""To a side."""
_JITTER = 0.25
"""Metres, the spread of distances that shake."""


def failed(maps: Maps, failure: str, generator: Generator) -> Maps:
    """The maps as they are with a failure; those of sensors that do not fail are the same arrays.

    Args:
        maps: Name -> map, as of `SegExample`.
        failure: One of ``FAILURES``.
        generator: Of what is random.

    Raises:
        OptionError: there is no such failure.
    """
    if failure not in FAILURES:
        raise OptionError(
            f"failure must be one of {list(FAILURES)}, got {failure!r}.{did_you_mean(failure, FAILURES)}"
        )
    return {**maps, **FAILURES[failure](maps, generator)}


def _night(maps: Maps, generator: Generator) -> Maps:
    linear = _NIGHT * decoded(maps["rgb"])
    return {"rgb": encoded(linear + generator.normal(0, _NIGHT_NOISE, linear.shape))}


def _fog(maps: Maps, generator: Generator) -> Maps:
    left = np.exp(-maps["depth"].astype(np.float64) / _FOG_REACH)[..., None]
    return {"rgb": encoded(left * decoded(maps["rgb"]) + (1 - left) * _FOG)}


def _overexposed(maps: Maps, generator: Generator) -> Maps:
    return {"rgb": encoded(_OVEREXPOSED * decoded(maps["rgb"]))}


def _shaken(maps: Maps, generator: Generator) -> Maps:
    linear = decoded(maps["rgb"])
    far = max(1, round(_SHAKEN * linear.shape[1] / 128))
    wide = np.pad(linear, ((0, 0), (far // 2, far - 1 - far // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(wide, ((0, 0), (1, 0), (0, 0))), axis=1)
    return {"rgb": encoded((sums[:, far:] - sums[:, :-far]) / far)}


def _holes(maps: Maps, generator: Generator) -> Maps:
    height, width = maps["depth"].shape
    lost = generator.random((_BLOCKS, _BLOCKS)) < _LOST
    rows, columns = (np.arange(size) * _BLOCKS // size for size in (height, width))
    return {"depth": np.where(lost[rows[:, None], columns], np.float32(0), maps["depth"])}


def _no_depth(maps: Maps, generator: Generator) -> Maps:
    return {"depth": np.zeros_like(maps["depth"])}


def _jitter(maps: Maps, generator: Generator) -> Maps:
    shaken: dict[str, NDArray[np.generic]] = {}
    for name in ("depth", "lidar"):
        known = np.isfinite(maps[name]) & (maps[name] > 0)
        noise = generator.normal(0, _JITTER, maps[name].shape).astype(np.float32)
        shaken[name] = np.where(known, np.maximum(maps[name] + noise, 0), maps[name])
    return shaken


FAILURES: Mapping[str, Callable[[Maps, Generator], Maps]] = {
    "night": _night,
    "fog": _fog,
    "overexposed": _overexposed,
    "shaken": _shaken,
    "holes": _holes,
    "no-depth": _no_depth,
    "jitter": _jitter,
}
"""Name -> the maps that it changes."""
