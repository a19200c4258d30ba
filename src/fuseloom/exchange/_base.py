"""The contract of an exchange: ``streams -> streams``, same names, same shapes."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from fuseloom.errors import ModalityError
from fuseloom.part import Part, zero_masked
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Exchange", "check_positions"]


class Exchange(Part):
    """Modalities talk and stay apart.

    A subclass states its `card`, builds in ``__init__`` and implements `exchange`. It is final.

    Args:
        dims: Modality name -> width of its stream.
    """

    kind: ClassVar[str] = "exchange"

    def forward(
        self,
        streams: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
        **reads: Any,
    ) -> Streams:
        """Exchange between streams ``[B, D]``, ``[B, N, D]`` or ``[B, C, H, W]``.

        Args:
            streams: Modality name -> value.
            masks: Modality name -> bool, True = real; a missing key or None means that everything
                is real.
            trace: Collects auxiliary losses and records.
            reads: What the card names under ``reads``.

        Returns:
            The same names, shapes and dtypes, zero under False.

        Raises:
            ModalityError: names, ranks, widths or sizes of the streams do not fit.
            MaskError: a mask does not fit its stream.
            OptionError: a keyword the part does not read.
        """
        self.check_reads(reads)
        values, kept = self.enter(streams, masks)
        changed = self.exchange(values, kept, trace=trace, **reads)
        changed = {name: value.to(streams[name].dtype) for name, value in changed.items()}
        return {n: zero_masked(v, kept[n]) if n in kept else v for n, v in changed.items()}

    @abstractmethod
    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        """The method itself, on checked streams in the order of ``dims``, zero under False."""


def check_positions(streams: Streams) -> None:
    """Make sure that streams of equal width share their positions.

    Raises:
        ModalityError: they do not.
    """
    shapes = [tuple(value.shape) for value in streams.values()]
    if any(shape != shapes[0] for shape in shapes):  # no set: sizes under export cannot be hashed
        found = dict(zip(streams, shapes, strict=True))
        raise ModalityError(
            f"Streams must share their positions, got {found}. Resample them, or use cross_attention."
        )
