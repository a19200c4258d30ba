"""The contract of a system of dense prediction that is named where a fusion is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.models.dense.model import DenseModel
from fuseloom.registry import Card

__all__ = ["DenseSystem"]


class DenseSystem(ABC):
    """A system whole: backbone, exchanges, head and ensemble; its fields are its options.

    A subclass is a frozen dataclass, is final, and is registered under its file's name.
    """

    kind: ClassVar[str] = "dense"
    name: ClassVar[str] = ""
    card: ClassVar[Card]

    @abstractmethod
    def build(self, channels: Mapping[str, int], num_labels: int, *, dropout: float) -> DenseModel:
        """The model for maps with so many channels each.

        Raises:
            ModalityError: the system cannot take the modalities.
            OptionError: an option that is out of its range.
        """

    def expand_backbone(self, weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        """What the weights of one pretrained backbone are in the state of the model, for all streams.

        Raises:
            OptionError: the system takes none.
        """
        raise OptionError(f"start must name a backbone that {self.name!r} takes, got weights. It takes none.")
