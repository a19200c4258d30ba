"""Outputs of rows whose modalities come from different rows, some at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.diagnose.split import Split
from fuseloom.errors import DataError, ModalityError, OptionError
from fuseloom.types import Batch

__all__ = ["Crossed", "Places"]

Places = Mapping[str, Tensor]
"""Modality -> the row ``[B]`` that it comes from."""

_ENCODED_AT_ONCE = 256
_MOST_VALUES = 2**21
_MOST_ROWS = 2**14
_ALONE = 8
"""Rows that are computed once more by themselves."""
_TOLERANCE = 1e-2  # bfloat16 has two digits


class Crossed:
    """Every combination of the modalities of some rows, each with its mask, and what a model makes of it.

    Each row is encoded once; only what sees modalities together runs on combinations.

    Args:
        parts: The model.
        rows: Of which modalities are combined. What is beside inputs and masks stays behind, unless its name
            ends in that of a modality (``scores.text``), with which it then goes.

    Raises:
        DataError: no rows, or outputs that are not finite or that depend on which rows are computed together.
        ModalityError: fewer than two modalities.
        OptionError: outputs of another form than ``[N]`` or ``[N, K]``.

    Example:
        >>> rows = Batch(inputs={"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([[10.0], [20.0]])})
        >>> crossed = Crossed(Split(together=lambda rows: rows.inputs["a"] + rows.inputs["b"]), rows)
        >>> crossed.outputs({"a": torch.tensor([0]), "b": torch.tensor([1])})
        tensor([[21.]], dtype=torch.float64)
    """

    def __init__(self, parts: Split, rows: Batch) -> None:
        self.names = tuple(rows.inputs)
        _check_rows(rows)
        self._together = parts.together
        starts = range(0, len(rows), _ENCODED_AT_ONCE)
        chunks = [parts.alone(rows.take(slice(at, at + _ENCODED_AT_ONCE))) for at in starts]
        self.rows = Batch.collate([_bare(chunk) for chunk in chunks])
        """The rows as they are combined."""
        self.num_computed = 0
        """Combinations of which outputs were computed, true rows included."""
        self.own = self._true(len(rows))
        """Outputs of the true rows ``[N, K]``, double precision."""
        _check_outputs(self.own, self._true(min(_ALONE, max(1, len(rows) - 1))))

    def __len__(self) -> int:
        return len(self.rows)

    def outputs(self, places: Places) -> Tensor:
        """Outputs ``[B, K]`` in double precision of rows that are combined as ``places`` say."""
        self.num_computed += len(next(iter(places.values())))
        return _columns(self._together(_combined(self.rows, places)))

    def blocks(self, count: int, places: Callable[[Tensor], Places]) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers ``[B]`` of combinations from 0 to ``count`` and their outputs ``[B, K]``, block by block.

        Args:
            count: How many there are.
            places: Numbers of combinations to the rows that their modalities come from.
        """
        step = self._rows_at_once()
        for start in range(0, count, step):
            cells = torch.arange(start, min(start + step, count))
            yield cells, self.outputs(places(cells))

    def of_rows(self, rows: Tensor) -> "Crossed":
        """The same of some rows only ``[B]``."""
        return Crossed(Split(together=self._together), self.rows.take(rows.to(self.rows.device)))

    def with_mean_row(self) -> "Crossed":
        """The same with one more row, in which every modality has the mean of its values."""
        inputs = {name: torch.cat([value, _mean(value)]) for name, value in self.rows.inputs.items()}
        masks = {name: torch.cat([mask, mask[:1]]) for name, mask in self.rows.masks.items()}
        return Crossed(Split(together=self._together), Batch(inputs=inputs, masks=masks))

    def _true(self, count: int) -> Tensor:
        blocks = self.blocks(count, lambda cells: dict.fromkeys(self.names, cells))
        return torch.cat([outputs for _, outputs in blocks])

    def _rows_at_once(self) -> int:
        values = sum(value[0].numel() for value in self.rows.inputs.values())
        return max(1, min(_MOST_ROWS, _MOST_VALUES // max(values, 1)))


def _bare(rows: Batch) -> Batch:
    """Inputs, masks and what goes with a modality."""
    going = {key: value for key, value in rows.extras.items() if key.partition(".")[2] in rows.inputs}
    return Batch(inputs=rows.inputs, masks=rows.masks, extras=going)


def _combined(rows: Batch, places: Places) -> Batch:
    return Batch(
        inputs={name: _at(value, places[name]) for name, value in rows.inputs.items()},
        masks={name: _at(mask, places[name]) for name, mask in rows.masks.items()},
        extras={
            key: _at(value, places[key.partition(".")[2]])
            for key, value in rows.extras.items()
            if isinstance(value, Tensor)
        },
    )


def _mean(value: Tensor) -> Tensor:
    return value.mean(0, keepdim=True, dtype=torch.float64).to(value.dtype)


def _at(value: Tensor, rows: Tensor) -> Tensor:
    return value[rows.to(value.device)]


def _columns(outputs: NDArray[Any] | Tensor) -> Tensor:
    """Outputs as ``[B, K]`` in double precision."""
    columns = (
        outputs.detach().to("cpu", torch.float64)
        if isinstance(outputs, Tensor)
        else torch.tensor(outputs, dtype=torch.float64)
    )
    if columns.dim() not in (1, 2):
        raise OptionError(f"outputs must be [N] or [N, K], got shape {tuple(columns.shape)}.")
    return columns[:, None] if columns.dim() == 1 else columns


def _check_rows(rows: Batch) -> None:
    if len(rows.inputs) < 2:
        raise ModalityError(f"rows must have two or more modalities, got {sorted(rows.inputs)}.")
    if len(rows) == 0:
        raise DataError("rows must not be empty, got 0 of them.")


def _check_outputs(own: Tensor, alone: Tensor) -> None:
    if not own.isfinite().all():
        raise DataError(
            f"outputs must be finite, got {int((~own.isfinite()).any(1).sum())} rows that are not."
        )
    gap = float((own[: len(alone)] - alone).abs().max())
    if gap > _TOLERANCE * float(own.abs().max()):
        raise DataError(
            f"outputs of a row must not depend on chance or on the rows beside it, got a difference of "
            f"{gap:.2g}. Pass a model in evaluation mode that treats rows one by one."
        )
