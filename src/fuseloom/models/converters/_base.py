"""The contract of a converter: what is in an official checkpoint, and which weight becomes which of ours."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fuseloom.errors import ModalityError
from fuseloom.models.config import ModelConfig
from fuseloom.part import check_dims

__all__ = ["Converted", "Converter", "Piece", "check_widths"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Official weights that become weights of ours together: one to one, one split, or several joined."""

    sources: Sequence[str]
    """Official names."""
    weights: Mapping[str, Tensor]
    """Our names -> values; none where the official model does not use its weights."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a checkpoint holds, in our words; whether it is all of it is checked by who asked."""

    config: ModelConfig
    num_outputs: int
    pieces: Sequence[Piece]
    preprocessing: Mapping[str, Mapping[str, Any]]
    """Modality -> ``kind`` and ``state`` of what prepares its raw values."""
    size: tuple[int, int] | None = None
    """Height and width of scenes, of a system that predicts at their pixels."""
    pictures: bool = False
    """Whether it makes pictures of that size, instead of labelling pixels."""


class Converter(ABC):
    """Reads the checkpoints of one published system.

    A subclass is final and is registered under its file's name; the first line of its docstring says which
    system, the rest what it has to be told. What no weight tells are its fields, if it is a dataclass.
    """

    kind: ClassVar[str] = "converter"
    name: ClassVar[str] = ""
    paper: ClassVar[str]
    code: ClassVar[str]
    """The official code whose checkpoints it reads."""

    @abstractmethod
    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        """Translate every weight that the system is known to have; leave others out.

        Args:
            state: Official name -> weight.
            modalities: Name -> width, or None where it need not be told, in the official order.

        Raises:
            DataError: the checkpoint is of another system.
            ModalityError: it was trained on other modalities.
        """


def check_widths(found: Mapping[str, int], told: Mapping[str, int | None]) -> dict[str, int]:
    """Modality -> the width that the checkpoint has for it.

    Args:
        found: Official weight -> the width of input that it takes, one for each modality.
        told: Modality -> width, or None.

    Raises:
        ModalityError: there are more or fewer, or of other widths; or a name cannot be used.

    Example:
        >>> check_widths({"text.fc.weight": 6, "audio.fc.weight": 4}, {"text": None, "audio": 4})
        {'text': 6, 'audio': 4}
    """
    if len(found) != len(told):
        widths = ", ".join(str(width) for width in found.values())
        raise ModalityError(
            f"modalities must name the {len(found)} inputs of the checkpoint, of widths {widths}, in its "
            f"order, got {list(told)}."
        )
    for (weight, width), (name, said) in zip(found.items(), told.items(), strict=True):
        if said not in (None, width):
            raise ModalityError(
                f"The width of {name!r} must be {width}, as {weight!r} of the checkpoint has it, got {said}. "
                "Are the modalities in the official order?"
            )
    dims = dict(zip(told, found.values(), strict=True))
    check_dims(dims, (1, None), owner="A checkpoint")
    return dims
