"""Two sources and a target as tables: what an information diagnostic reads of a batch of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.types import Batch

__all__ = ["Sources", "TargetClasses", "read_sources"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Sources = Sequence[str | tuple[str, ...]]
"""Two names of modalities, or tuples of names that count as one source."""


def read_sources(rows: Batch, sources: Sources | None = None) -> dict[str, NDArray[np.float64]]:
    """Values ``[N, F]`` of the two sources: tokens by their mean, all else flattened, zero where masked.

    A source that some rows lack has a further column for each such modality, 1 where it is there. Several
    modalities are put side by side and are called ``audio+text``.

    Args:
        rows: Inputs of numbers, and masks.
        sources: By default the two modalities there are.

    Raises:
        DataError: values that are not finite where they are real.
        OptionError: there are not two sources, one is unknown, or one is in both.

    Example:
        >>> import torch
        >>> rows = Batch(inputs={"a": torch.ones(2, 1), "b": torch.tensor([[3.0], [np.nan]])})
        >>> rows.masks["b"] = torch.tensor([True, False])
        >>> {name: values.tolist() for name, values in read_sources(rows).items()}
        {'a': [[1.0], [1.0]], 'b': [[3.0, 1.0], [0.0, 0.0]]}
    """
    groups = [(one,) if isinstance(one, str) else tuple(one) for one in sources or rows.inputs]
    names = [name for group in groups for name in group]
    if len(groups) != 2 or not all(groups) or len(set(names)) < len(names) or set(names) - set(rows.inputs):
        raise OptionError(
            f"sources must be two different modalities, or groups of them, of {sorted(rows.inputs)}, got "
            f"{groups}. Name two as sources=('a', 'b'), or the rest as one: ('a', ('b', 'c'))."
        )
    return {"+".join(group): np.concatenate([_flat(rows, name) for name in group], 1) for group in groups}


def _flat(rows: Batch, name: str) -> NDArray[np.float64]:
    value, mask = rows.inputs[name].detach().cpu(), rows.mask_of(name).cpu()
    shown = _spread(value, mask)
    flat = value.double().masked_fill(~shown, 0)
    if value.dim() == 3:
        flat = flat.sum(1) / shown.sum(1).clamp(min=1)
    table: NDArray[np.float64] = flat.reshape(len(value), -1).numpy()
    if not np.isfinite(table).all():
        raise DataError(f"{name} must be finite where it is real, got NaN or infinity. Mask such values.")
    there = mask.reshape(len(mask), -1).any(1).numpy()
    return table if there.all() else np.concatenate([table, there[:, None]], 1)


def _spread(value: Tensor, mask: Tensor) -> Tensor:
    """The mask in the shape of the value; a feature map has its channels first."""
    if value.dim() == 4 and mask.dim() == 3:
        return mask[:, None].expand_as(value)
    return mask.reshape(*mask.shape, *[1] * (value.dim() - mask.dim())).expand_as(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetClasses:
    """The target as classes: as it is, or numbers in bins that hold equally many rows."""

    labels: NDArray[np.int64]
    """Class of each row ``[N]``."""
    edges: Floats
    """Between the bins; empty where the target has classes of its own."""
    of_numbers: bool

    @classmethod
    def of(cls, rows: Batch, *, num_bins: int = 4) -> Self:
        """Read the target.

        Args:
            rows: With a target ``[N]``: class indices, or numbers.
            num_bins: For numbers.

        Raises:
            DataError: there is no target, or several per row.
            OptionError: fewer than two bins.

        Example:
            >>> import torch
            >>> rows = Batch(inputs={}, target=torch.tensor([0.1, 0.7, 0.2, 0.9]))
            >>> TargetClasses.of(rows, num_bins=2).labels.tolist()
            [0, 1, 0, 1]
        """
        if rows.target is None or rows.target.dim() != 1:
            got = "none" if rows.target is None else f"shape {list(rows.target.shape)}"
            raise DataError(f"target must have one class or number per row, [N], got {got}.")
        if num_bins < 2:
            raise OptionError(f"num_bins must be at least 2, got {num_bins}.")
        target = rows.target.detach().cpu().numpy()
        if target.dtype.kind != "f":
            return cls(labels=target.astype(np.int64), edges=np.empty(0), of_numbers=False)
        edges = np.unique(np.quantile(target, np.arange(1, num_bins) / num_bins))
        return cls(labels=np.searchsorted(edges, target, side="right"), edges=edges, of_numbers=True)

    def of_predictions(self, predictions: Floats) -> NDArray[np.int64]:
        """Class ``[N]`` of predictions: the likeliest, or the bin of the target that a number falls into.

        Raises:
            DataError: they are not as the target asks.
        """
        if predictions.shape[0] != len(self.labels) or predictions.ndim != (1 if self.of_numbers else 2):
            wanted = "[N] numbers" if self.of_numbers else "[N, K] probabilities"
            raise DataError(
                f"predictions must be {wanted} of the {len(self.labels)} rows, got shape "
                f"{list(predictions.shape)}."
            )
        if self.of_numbers:
            return np.asarray(np.searchsorted(self.edges, predictions, side="right"), dtype=np.int64)
        return np.asarray(predictions.argmax(1), dtype=np.int64)
