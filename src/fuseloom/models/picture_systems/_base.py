"""The contract of a system that makes pictures, which is named where a fusion is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from torch import nn

from fuseloom.models.config import ModelConfig
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.stream_encoder import BuildExchange
from fuseloom.models.picture_systems._predictor import PicturePredictor
from fuseloom.registry import Card, create, lookup

__all__ = ["PictureSystem", "placed_exchange"]


@dataclass(frozen=True, kw_only=True)
class PictureSystem(ABC):
    """A system whole that makes a picture of others; its fields are its options.

    A subclass is a frozen dataclass, is final, and is registered under its file's name.
    """

    kind: ClassVar[str] = "picture"
    name: ClassVar[str] = ""
    card: ClassVar[Card]

    judge: bool = True
    """Whether a network that tells real pictures from made ones teaches, too, while it learns itself; a model
    that is saved has none."""
    adversarial_weight: float = 0.01
    """Of what it teaches, beside the mean absolute difference; published as 1 beside 100."""

    @abstractmethod
    def build(self, channels: Mapping[str, int], out_channels: int, *, dropout: float) -> DenseModel:
        """The model for maps with so many channels each.

        Raises:
            ModalityError: the system cannot take the modalities.
            OptionError: an option that is out of its range.
        """

    @abstractmethod
    def build_judge(self, channels: Mapping[str, int], out_channels: int) -> nn.Module | None:
        """What tells real pictures of such maps from made ones; nothing where no judge is wanted."""

    def served(self, model: PicturePredictor, config: ModelConfig) -> tuple[PicturePredictor, ModelConfig]:
        """The trained model without its judge, and the configuration that builds it so."""
        model.judge = None
        options = {**config.options.get(self.name, {}), "judge": False}
        return model, replace(config, options={**config.options, self.name: options})


def placed_exchange(name: str, options: Mapping[str, Any]) -> BuildExchange | None:
    """What builds the exchange of that name; nothing where there is none.

    Raises:
        UnknownNameError: no exchange has the name.
    """
    if not name:
        return None
    lookup(name, kind="exchange")
    return partial(create, name, **options)
