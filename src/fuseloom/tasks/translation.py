"""A picture of the same scene through another sensor."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.counted import OfCounts, ratio_of
from fuseloom.metrics.generation import (
    frechet_distance,
    frechet_of_sums,
    frechet_sums,
    kernel_distance,
    random_features,
)
from fuseloom.metrics.inception import inception_features
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric
from fuseloom.tasks._grid import GridTask, read_each
from fuseloom.tasks._picture_item import PictureItem

__all__ = ["Translation"]

Features = Callable[[Tensor], Tensor]
Distance = Callable[[Tensor, Tensor], float]

_PEAK = 2.0
"""From the darkest to the brightest pixel."""


def _both(predictions: Floats, target: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Pictures of both, zero where nothing is known."""
    known = ~np.isnan(target)
    return (
        torch.from_numpy(np.where(known, predictions, 0).astype(np.float32)),
        torch.from_numpy(np.nan_to_num(target).astype(np.float32)),
    )


def _of_pixels(predictions: Floats, target: NDArray[Any], power: int) -> NDArray[np.float64]:
    """Sum of differences to a power, and of pixels that are known, ``[N, 2]``."""
    made, real = (one.double().flatten(1) for one in _both(predictions, target))
    known = (~np.isnan(target)).reshape(len(target), -1).sum(1)
    return np.stack([(made - real).abs().pow(power).sum(1).numpy(), known], axis=-1)


def _psnr(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(_PEAK**2 / ratio_of(sums)))


def _frechet_counts(predictions: Floats, target: NDArray[Any]) -> NDArray[np.float64]:
    made, real = _both(predictions, target)
    return frechet_sums(random_features(made), random_features(real))


def _apart(predictions: Floats, target: NDArray[Any], *, distance: Distance, features: Features) -> float:
    """How far made pictures are from real ones as a set."""
    if len(target) < 2:
        return float("nan")
    made, real = _both(predictions, target)
    return distance(features(made), features(real))


_METRICS: Mapping[str, Metric] = {
    "mae": Metric(function=OfCounts(partial(_of_pixels, power=1), ratio_of), higher_is_better=False),
    "mse": Metric(function=OfCounts(partial(_of_pixels, power=2), ratio_of), higher_is_better=False),
    "psnr": Metric(function=OfCounts(partial(_of_pixels, power=2), _psnr), bounded=False),
    "fid_random": Metric(
        function=OfCounts(_frechet_counts, frechet_of_sums), higher_is_better=False, bounded=False
    ),
    "kid_random": Metric(
        function=partial(_apart, distance=kernel_distance, features=random_features),
        higher_is_better=False,
        bounded=False,
    ),
}


def _published(weights: str) -> dict[str, Metric]:
    """FID and KID with the network by which they are published."""
    features = partial(inception_features, weights=weights)
    distances = {"fid": frechet_distance, "kid": kernel_distance}
    return {
        name: Metric(
            function=partial(_apart, distance=distance, features=features),
            higher_is_better=False,
            bounded=False,
        )
        for name, distance in distances.items()
    }


@register("translation")
class Translation(GridTask):
    """A picture, or a map of numbers, by the mean absolute difference of its pixels.

    Raw targets are pictures; encoded they are ``[N, C, H, W]`` from -1 to 1, NaN where nothing is known, all
    of one size. Outputs are pictures ``[N, C, H, W]`` on that scale, or in training those of several
    predictions ``[N, P, C, H, W]`` (of each modality, and of their mean), whose losses are added. Scores are
    on that scale, too, as CEN and TokenFusion report them; `numbers` goes back to those of the files.

    ``fid_random`` and ``kid_random`` are FID and KID with the features of a fixed random network instead of
    Inception's: they rank models on one set of pictures, and compare with no published number.

    Args:
        channels: Of the picture.
        size: Height and width of the targets.
        low: The number that becomes -1; what is below it does so, too.
        high: The number that becomes 1; what is above it does so, too.
        log: Whether numbers are told apart by their logarithms (of one more), as distances may be.
        inception: File of Inception's weights, with which there are ``fid`` and ``kid``, too, see
            `inception_features`.

    Raises:
        OptionError: limits that are no range, or such as have no logarithm.

    Example:
        >>> task = Translation(1, size=(1, 2), low=0, high=10)
        >>> task.numbers(task.predict(np.array([[[[-1.0, 0.5]]]]))).tolist()
        [[[[0.0, 7.5]]]]
        >>> sorted(task.metrics)
        ['fid_random', 'kid_random', 'mae', 'mse', 'psnr']
    """

    metrics: Mapping[str, Metric] = _METRICS
    default_metric = "mae"
    loss_metric = "mae"
    decision = "value"
    options = ("high", "inception", "log", "low")

    def __init__(
        self,
        channels: int,
        *,
        size: Sequence[int],
        low: float,
        high: float,
        log: bool = False,
        inception: str = "",
    ) -> None:
        height, width = size
        self.channels, self.size = int(channels), (int(height), int(width))
        self.low, self.high, self.log = float(low), float(high), bool(log)
        self.inception = inception
        if inception:
            self.metrics = {**_METRICS, **_published(inception)}
        if not self.low < self.high:
            raise OptionError(f"low must be below high, got {low} and {high}.")
        if self.log and self.low <= -1:
            raise OptionError(f"low must be above -1 where log is True, got {low}.")
        scale = f"{self.low:g} to {self.high:g}{' in logarithms' if self.log else ''}"
        self.notes = (f"{self.channels} channels of {scale}, at {self.size[0]} x {self.size[1]} pixels",)

    @classmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        """Learn how many channels there are, between which numbers, and their usual size.

        Raises:
            DataError: no picture, pictures of several numbers of channels, or no two numbers that are known.
        """
        pictures = _pictures(target)
        shapes, least, most = zip(*read_each(pictures, _looked_at), strict=True)
        counts = sorted({shape[0] for shape in shapes})
        if len(counts) > 1:
            raise DataError(f"target must have one number of channels in all rows, got {counts}.")
        low, high = float(np.nanmin(least, initial=np.inf)), float(np.nanmax(most, initial=-np.inf))
        if not low < high:
            raise DataError("target must have pixels of different numbers, got none.")
        height, width = np.median(np.array(shapes)[:, 1:], axis=0).astype(int).tolist()
        return cls(counts[0], size=(height, width), low=low, high=high)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(
            state["channels"],
            size=state["size"],
            low=state["low"],
            high=state["high"],
            log=state.get("log", False),
            inception=state.get("inception", ""),
        )

    def state(self) -> dict[str, Any]:
        return {
            "channels": self.channels,
            "size": list(self.size),
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "inception": self.inception,
        }

    @property
    def num_outputs(self) -> int:
        return self.channels

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        encoded = np.empty((len(target), self.channels, *self.size), dtype=np.float32)
        for row, numbers in enumerate(read_each(_pictures(target), partial(_read, size=self.size))):
            if len(numbers) != self.channels:
                raise DataError(
                    f"target must have {self.channels} channels as in training, got {len(numbers)}."
                )
            encoded[row] = self._scaled(numbers)
        return encoded

    def numbers(self, predictions: Floats) -> NDArray[np.float32]:
        """Predictions, or encoded targets, as numbers of the files."""
        first, last = self._ends
        found = (np.asarray(predictions, dtype=np.float64) + 1) / 2 * (last - first) + first
        return (np.expm1(found) if self.log else found).astype(np.float32)

    def balanced(self, target: NDArray[Any]) -> Self:
        raise OptionError(f"class_weight must be 'none' for {self.name}, which has no classes.")

    def blank_outputs(self, target: Tensor) -> Tensor:
        return torch.zeros_like(target)

    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Absolute differences ``[B, C * H * W]``, summed over several predictions, and which are known."""
        several = outputs if outputs.dim() > target.dim() else outputs[:, None]
        known = ~target.isnan()
        differences = (several - target.nan_to_num()[:, None]).abs().sum(1)
        return (differences * known).flatten(1), known.to(differences.dtype).flatten(1)

    def predict(self, outputs: Floats) -> Floats:
        """Pictures ``[N, C, H, W]`` from -1 to 1."""
        return np.clip(outputs, -1, 1)

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        """The mean number of each picture."""
        return {"prediction": self.numbers(predictions).mean((1, 2, 3))}

    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The mean number of each picture that is known."""
        means = [float(np.nanmean(numbers)) for numbers in read_each(_pictures(target), _read)]
        return {"target": np.array(means)}

    @property
    def _ends(self) -> tuple[float, float]:
        return (np.log1p(self.low), np.log1p(self.high)) if self.log else (self.low, self.high)

    def _scaled(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = np.clip(numbers, self.low, self.high)
        first, last = self._ends
        shares = ((np.log1p(inside) if self.log else inside) - first) / (last - first)
        return np.asarray(2 * shares - 1, dtype=np.float32)


def _pictures(target: NDArray[Any]) -> list[PictureItem]:
    if wrong := [one for one in target if not isinstance(one, PictureItem)]:
        raise DataError(
            f"target must be a picture in every row, got {wrong[0]!r}. Name the column of their paths, and "
            "say what it is: --kind COLUMN=image, or =map."
        )
    if not len(target):
        raise DataError("target must have a picture, got no row.")
    return list(target)


def _read(one: PictureItem, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    return one.read(size)


def _looked_at(one: PictureItem) -> tuple[tuple[int, ...], float, float]:
    """Its shape, and its least and largest number, NaN where none is known."""
    numbers = one.read()
    if one.limits is not None:
        return numbers.shape, *one.limits
    known = numbers[~np.isnan(numbers)]
    return numbers.shape, float(known.min(initial=np.inf)), float(known.max(initial=-np.inf))
