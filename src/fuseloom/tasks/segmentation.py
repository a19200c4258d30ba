"""What is at each pixel."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError
from fuseloom.losses.hard_pixels import hard_pixel_loss
from fuseloom.metrics.counted import OfCounts
from fuseloom.metrics.segmentation import Absent, confusion_counts, scores_of_sums
from fuseloom.registry import register
from fuseloom.tasks._base import Floats, Metric
from fuseloom.tasks._grid import GridTask, read_each
from fuseloom.tasks._label_item import LabelItem

__all__ = ["Segmentation"]

T = TypeVar("T")

_IGNORED = 255
_PIXELS_AT_ONCE = 2**24
"""Scores of labels at full size that are held at a time, by what needs no gradient."""
_SCORES = ("miou", "miou_zero", "mean_accuracy", "pixel_accuracy", "mean_f1", "pixel_error")


def _of_instance(predictions: Floats, target: NDArray[Any]) -> float:
    raise OptionError(
        "A metric of labels must be of a task that knows their number, got that of the class. Use "
        "Segmentation(labels, size=size).metrics."
    )


@register("segmentation")
class Segmentation(GridTask):
    """One of K labels at each pixel, by softmax and cross-entropy over all pixels that count.

    Raw targets are maps of labels; encoded they are ``[N, H, W]`` in bytes, 255 where none counts, all of one
    size. Outputs are scores ``[N, K, h, w]``, or in training those of several predictions ``[N, P, K, h, w]``
    (of each modality, and of their mean), whose losses are added; they are enlarged to the size of the
    targets, bilinearly. Predictions are labels in bytes ``[N, H, W]``.

    Args:
        labels: What they are called.
        size: Height and width of the targets.
        weights: Of each label in the loss; None for all alike.
        hard: Learn from the pixels whose label is less probable than that, see `hard_pixel_loss`; by default
            from all.

    Example:
        >>> task = Segmentation(["road", "sky"], size=(2, 2))
        >>> outputs = torch.tensor([[3.0, -1.0], [0.0, 1.0]]).view(1, 2, 1, 2)
        >>> task.predict(outputs.numpy()).tolist()
        [[[0, 1], [0, 1]]]
        >>> sorted(task.metrics)[:4]
        ['iou_road', 'iou_sky', 'mean_accuracy', 'mean_f1']
    """

    metrics: Mapping[str, Metric] = {
        name: Metric(function=_of_instance, higher_is_better=name != "pixel_error") for name in _SCORES
    }
    """On an instance also the intersection over union of each label."""
    default_metric = "miou"
    loss_metric = "pixel_error"
    decision = "softmax"
    options = ("hard",)

    def __init__(
        self,
        labels: Sequence[str],
        *,
        size: Sequence[int],
        weights: Sequence[float] | None = None,
        hard: float | None = None,
    ) -> None:
        height, width = size
        self.labels, self.size = tuple(labels), (int(height), int(width))
        self.weights = None if weights is None else tuple(weights)
        self.hard = hard
        if hard is not None and not 0 < hard < 1:
            raise OptionError(f"hard must be a probability in (0, 1), got {hard}.")
        self.metrics = {
            "miou": self._metric("mean_iou"),
            "miou_zero": self._metric("mean_iou", absent="zero"),
            "mean_accuracy": self._metric("mean_accuracy"),
            "pixel_accuracy": self._metric("pixel_accuracy"),
            "mean_f1": self._metric("mean_f1"),
            "pixel_error": Metric(function=OfCounts(self._confusion, _pixel_error), higher_is_better=False),
            **{f"iou_{name}": self._metric("iou", label=place) for place, name in enumerate(self.labels)},
        }
        self.notes = (f"{len(self.labels)} labels, at {self.size[0]} x {self.size[1]} pixels",)

    @classmethod
    def learn(cls, target: NDArray[Any], names: Sequence[str] | None = None) -> Self:
        """Learn what labels there are, unless they are named, and their usual size.

        Raises:
            DataError: no map of labels, or no label that counts.
        """
        maps = _maps(target)
        said = next((one.names for one in maps if one.names), ())
        sides, largest = zip(*read_each(maps, _looked_at), strict=True)
        found = max(largest)
        if not said and found < 0:
            raise DataError("target must have a pixel whose label counts, got none.")
        height, width = np.median(np.array(sides), axis=0).astype(int).tolist()
        labels = said if said else tuple(str(label) for label in range(found + 1))
        return cls(labels, size=(height, width))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(state["labels"], size=state["size"], weights=state.get("weights"), hard=state.get("hard"))

    def state(self) -> dict[str, Any]:
        kept = {"weights": self.weights, "hard": self.hard}
        return {
            "labels": list(self.labels),
            "size": list(self.size),
            **{name: value for name, value in kept.items() if value is not None},
        }

    @property
    def num_outputs(self) -> int:
        return len(self.labels)

    def encode(self, target: NDArray[Any]) -> NDArray[Any]:
        encoded = np.empty((len(target), *self.size), dtype=np.uint8)
        for row, labels in enumerate(read_each(_maps(target), partial(_read, size=self.size))):
            wrong = (labels >= self.num_outputs) & (labels != _IGNORED)
            if wrong.any():
                raise DataError(
                    f"target must be of the {self.num_outputs} labels of training, got {labels[wrong][0]}. "
                    "Name all labels in a table, and give it as labels."
                )
            encoded[row] = labels
        return encoded

    def balanced(self, target: NDArray[Any]) -> Self:
        """All labels weigh alike, whatever their share of the pixels; one that no pixel has weighs 1."""
        counts = np.bincount(target.reshape(-1), minlength=_IGNORED + 1)[: self.num_outputs]
        share = counts.sum() / (max(int((counts > 0).sum()), 1) * np.maximum(counts, 1))
        weights = np.where(counts > 0, share, 1.0)
        return type(self).from_state({**self.state(), "weights": weights.tolist()})

    def blank_outputs(self, target: Tensor) -> Tensor:
        return torch.zeros(len(target), self.num_outputs, 1, 1)

    def errors(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Cross-entropy ``[B, H * W]`` of each pixel, summed over several predictions, and what it weighs."""
        wanted = target.long()
        losses = F.cross_entropy(
            self._enlarged(outputs, target.shape[1:]),
            self._repeated(wanted, outputs),
            ignore_index=_IGNORED,
            reduction="none",
        )
        errors = torch.unflatten(losses, 0, (len(target), -1)).sum(1)
        counts = (wanted != _IGNORED).to(errors.dtype)
        if self.weights is not None:
            table = torch.ones(_IGNORED + 1, dtype=errors.dtype, device=errors.device)
            table[: self.num_outputs] = errors.new_tensor(self.weights)
            counts = counts * table[wanted]
        return errors.flatten(1), counts.flatten(1)

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the pixels that count; of the hard ones where that is asked for.

        Of outputs that need no gradient some rows are enlarged at a time, and all pixels count.
        """
        if not outputs.requires_grad:
            return self._mean_loss(outputs, target, weight)
        if self.hard is None:
            return super().loss(outputs, target, weight)
        scores = self._enlarged(outputs, target.shape[1:])
        wanted = self._repeated(target.long(), outputs)
        parts = zip(
            *(torch.unflatten(values, 0, (len(target), -1)).unbind(1) for values in (scores, wanted)),
            strict=True,
        )
        return torch.stack([hard_pixel_loss(*part, threshold=self.hard) for part in parts]).sum()

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        if outputs.requires_grad:
            return super().losses(outputs, target)
        parts = [
            super(Segmentation, self).losses(outputs[some], target[some]) for some in self._parts(target)
        ]
        return torch.cat(parts)

    def predict(self, outputs: Floats) -> Floats:
        """Labels ``[N, H, W]`` in bytes."""
        found = np.empty((len(outputs), *self.size), dtype=np.uint8)
        for some in self._parts(found):
            scores = self._enlarged(torch.from_numpy(np.ascontiguousarray(outputs[some])), self.size)
            found[some] = scores.argmax(1).to(torch.uint8).numpy()
        return found

    def columns(self, predictions: Floats) -> dict[str, NDArray[Any]]:
        """The label of most pixels, and the share of the pixels of each."""
        shares = np.stack([_counts(row, self.num_outputs) for row in predictions])
        shares = shares / np.maximum(shares.sum(1, keepdims=True), 1)
        names = np.array(self.labels, dtype=object)
        return {
            "prediction": names[shares.argmax(1)],
            **{f"share_{name}": shares[:, place] for place, name in enumerate(self.labels)},
        }

    def target_columns(self, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The label of most pixels that count."""
        names = np.array(self.labels, dtype=object)
        most = [_counts(row, self.num_outputs).argmax() for row in self.encode(target)]
        return {"target": names[most]}

    @staticmethod
    def _enlarged(outputs: Tensor, size: Sequence[int]) -> Tensor:
        """Scores ``[B * P, K, H, W]`` of ``[B, P, K, h, w]``, or without ``P``."""
        flat = outputs.flatten(0, -4)
        return F.interpolate(flat, size=tuple(size), mode="bilinear", align_corners=False)

    @staticmethod
    def _repeated(target: Tensor, outputs: Tensor) -> Tensor:
        """Labels ``[B * P, H, W]``."""
        several = outputs.shape[1] if outputs.dim() > 4 else 1
        return target.repeat_interleave(several, 0)

    def _mean_loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        total, mass = outputs.new_zeros(()).double(), outputs.new_zeros(()).double()
        for some in self._parts(target):
            errors, counts = self.errors(outputs[some], target[some])
            assert counts is not None
            counts = counts if weight is None else counts * weight[some, None]
            total, mass = total + (errors * counts).double().sum(), mass + counts.double().sum()
        return (total / mass.clamp(min=torch.finfo(torch.float64).tiny)).to(outputs.dtype)

    def _parts(self, rows: Sequence[Any] | NDArray[Any] | Tensor) -> Iterator[slice]:
        step = max(1, _PIXELS_AT_ONCE // (self.num_outputs * self.size[0] * self.size[1]))
        return (slice(start, start + step) for start in range(0, len(rows), step))

    def _metric(self, score: str, *, label: int | None = None, absent: Absent = "skip") -> Metric:
        return Metric(
            function=OfCounts(
                self._confusion, partial(scores_of_sums, score=score, label=label, absent=absent)
            )
        )

    def _confusion(self, predictions: Floats, target: NDArray[Any]) -> NDArray[np.int64]:
        """Pixels of each row by label and prediction ``[N, K * K]``."""
        labels = self.num_outputs
        counts = [
            confusion_counts(ours, theirs, labels).reshape(-1)
            for ours, theirs in zip(predictions, target, strict=True)
        ]
        return np.stack(counts) if counts else np.zeros((0, labels**2), dtype=np.int64)


def _pixel_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - scores_of_sums(sums, score="pixel_accuracy")


def _maps(target: NDArray[Any]) -> list[LabelItem]:
    if wrong := [one for one in target if not isinstance(one, LabelItem)]:
        raise DataError(
            f"target must be a map of labels in every row, got {wrong[0]!r}. Name the column of their paths."
        )
    if not len(target):
        raise DataError("target must have a map of labels, got no row.")
    return list(target)


def _read(one: LabelItem, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    return one.read(size)


def _looked_at(one: LabelItem) -> tuple[tuple[int, ...], int]:
    """Its sides, and its largest label, -1 where none counts."""
    labels = one.read()
    return labels.shape, int(labels[labels != _IGNORED].max(initial=0)) if (labels != _IGNORED).any() else -1


def _counts(labels: NDArray[Any], num_labels: int) -> NDArray[np.int64]:
    return np.bincount(labels.reshape(-1), minlength=_IGNORED + 1)[:num_labels]
