"""The contract of a published system that is named where a fusion is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fuseloom.encoders import Encoder
from fuseloom.models.config import ModelConfig
from fuseloom.models.fusion import FusionModel
from fuseloom.registry import Card
from fuseloom.tasks import Task

__all__ = ["Extra", "System"]


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a system learns from beside its inputs."""

    of: str
    """Kind of the modality that it is made of."""
    kind: str
    """Of the preprocessing that makes it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options of that preprocessing."""


class System(ABC):
    """A published system whole; its fields are its options.

    A subclass is a frozen dataclass, is final, and is registered under its file's name.
    """

    kind: ClassVar[str] = "system"
    name: ClassVar[str] = ""
    card: ClassVar[Card]

    def extras(self) -> Mapping[str, Extra]:
        """Name that its parts read -> what is read in training, and nowhere else."""
        return {}

    @abstractmethod
    def build(self, encoders: Mapping[str, Encoder], config: ModelConfig, task: Task) -> FusionModel:
        """The model around encoders that give tokens where they can.

        Raises:
            ModalityError: the system cannot take the modalities.
            OptionError: an option that is out of its range.
        """

    def served(self, model: FusionModel, config: ModelConfig) -> tuple[FusionModel, ModelConfig]:
        """The model as it predicts, without what only training needs, and what that is built of."""
        return model, config
