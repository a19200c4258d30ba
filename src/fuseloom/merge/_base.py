"""The contract of a merge: ``streams -> tensor``."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.part import Part
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Decision", "Merge", "Pool", "check_positions", "pool_streams"]

Pool = Callable[[Tensor, Tensor | None], Tensor]
"""Tokens ``[B, N, D]`` and their mask ``[B, N]`` to ``[B, D]``; a sample that keeps none gives zeros."""
Decision = Literal["softmax", "sigmoid", "value"]
"""What the outputs of a head are: logits of classes that exclude one another, log-odds of a class each, or
numbers. The assembly tells it to a merge of decisions that has an option ``decision``."""


class Merge(Part):
    """Modalities become one tensor of width ``dim``.

    A subclass states its `card`, builds in ``__init__`` and implements `merge`. It is final.

    Args:
        dims: Modality name -> width of its stream.
        dim: Width of the output; the largest input width by default.
    """

    kind: ClassVar[str] = "merge"

    def __init__(self, dims: Mapping[str, int], dim: int | None = None) -> None:
        super().__init__(dims)
        self.dim = dim if dim is not None else max(self.dims.values())
        if self.dim < 1:
            raise OptionError(f"dim must be at least 1, got {dim}.")

    def forward(
        self,
        streams: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
        **reads: Any,
    ) -> Tensor:
        """Merge streams ``[B, D]``, ``[B, N, D]`` or ``[B, C, H, W]``.

        Args:
            streams: Modality name -> value.
            masks: Modality name -> bool, True = real; a missing key or None means that everything
                is real.
            trace: Collects auxiliary losses and records.
            reads: What the card names under ``reads``.

        Returns:
            ``[B, dim]``, or the streams' own rank where the merge keeps positions; in the parameters' dtype,
            under autocast in autocast's.

        Raises:
            ModalityError: names, ranks, widths or sizes of the streams do not fit.
            MaskError: a mask does not fit its stream.
            OptionError: a keyword the part does not read.
        """
        self.check_reads(reads)
        values, kept = self.enter(streams, masks)
        values = {name: _channel_last(value) for name, value in values.items()}
        fused = self.merge(values, kept, trace=trace, **reads)
        return fused.movedim(-1, 1) if fused.dim() == 4 else fused

    @abstractmethod
    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        """The method itself, on checked streams in the order of ``dims``, features last, zero under False."""


def pool_streams(
    streams: Streams, masks: Masks, pool: Pool | None
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Values to fuse, and which of them are there, in the order of the streams.

    Args:
        streams: ``[B, D]``, ``[B, N, D]`` or ``[B, H, W, D]``, zero under False.
        masks: Those that were given.
        pool: Makes tokens one vector; ``None`` keeps positions, which then must be the same in all streams.

    Returns:
        Values ``[B, D_m]`` (``[B, ..., D_m]`` if positions are kept) and presence ``[B]`` (``[B, ...]``),
        ``None`` where everything is real.

    Raises:
        ModalityError: positions are to be kept and differ.
    """
    if pool is None:
        check_positions(streams, where=" where pool=None", remedy="Pass a pool.")
        return list(streams.values()), [masks.get(name) for name in streams]
    values, present = [], []
    for name, value in streams.items():
        mask = masks.get(name)
        if value.dim() > 2:
            tokens = value.flatten(1, -2)
            kept = None if mask is None else mask.flatten(1)
            value, mask = pool(tokens, kept), None if kept is None else kept.any(-1)
        values.append(value)
        present.append(mask)
    return values, present


def check_positions(streams: Streams, *, remedy: str, where: str = "") -> None:
    """Refuse streams that do not share their positions.

    Args:
        streams: ``[B, ..., D_m]``.
        remedy: What to do, a sentence.
        where: When they must, as ``" where pool=None"``.

    Raises:
        ModalityError: they differ.
    """
    shapes = [tuple(value.shape[:-1]) for value in streams.values()]
    if any(shape != shapes[0] for shape in shapes):  # no set: sizes under export cannot be hashed
        found = dict(zip(streams, shapes, strict=True))
        raise ModalityError(f"Streams must share their positions{where}, got {found}. {remedy}")


def _channel_last(value: Tensor) -> Tensor:
    return value.movedim(1, -1) if value.dim() == 4 else value
