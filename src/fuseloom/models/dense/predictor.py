"""A dense model between what training and prediction give, and what a task takes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.models.dense.model import DenseModel

__all__ = ["Expand", "GridPredictor"]

Expand = Callable[[Mapping[str, Tensor], Iterable[str]], dict[str, Tensor]]
"""From the weights of one pretrained backbone and the names of the modalities to what they are in a model."""

_WHITE = 255


class GridPredictor(nn.Module, ABC):
    """Pixels in, predictions at pixels out.

    Args:
        model: What predicts.
        mean: Of red, green and blue from 0 to 1, which becomes zero.
        std: What becomes one above it.
        expand: For a backbone that training can start from; by default there is none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: DenseModel,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        expand: Expand | None = None,
    ) -> None:
        super().__init__()
        self.model, self._expand = model, expand
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, _WHITE * torch.tensor(values).view(3, 1, 1), persistent=False)

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], *args: Any, **options: Any) -> Tensor:
        """Predictions ``[B, K, h, w]``; in training those of all streams and of their mean."""

    def maps(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor | None] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
        """Numbers ``[B, C, H, W]`` of each modality, and which of them are real, ``[B, H, W]``.

        Args:
            inputs: Modality name -> pictures in bytes ``[B, 3, H, W]``, or numbers ``[B, C, H, W]``.
            masks: Modality name -> ``[B]`` or ``[B, H, W]``, where True is real.
        """
        found = {name: self._numbers(value) for name, value in inputs.items()}
        real = {
            name: mask
            if mask is None or mask.dim() > 1
            else mask[:, None, None].expand(-1, *found[name].shape[2:])
            for name, mask in (masks or {}).items()
            if name in found
        }
        return found, real

    def load_backbone(self, weights: Mapping[str, Tensor]) -> None:
        """Give all streams the weights of one pretrained backbone.

        Args:
            weights: Official name -> weight.

        Raises:
            OptionError: a model that takes none, or weights of another backbone.
        """
        if self._expand is None:
            raise OptionError("A backbone must be one that can be started from, got one of a model by hand.")
        state, own = self._expand(weights, self.model.encoder.channels), self.model.state_dict()
        wrong = sorted(n for n, value in state.items() if n not in own or own[n].shape != value.shape)
        if wrong or not state:
            raise OptionError(
                f"Weights must be those of the model's backbone, got {wrong[0] if wrong else 'none'}. Choose "
                "its size with model.options."
            )
        self.model.load_state_dict({**own, **state})

    def _numbers(self, value: Tensor) -> Tensor:
        if value.dtype != torch.uint8:
            return value
        return (value.to(self.mean.dtype) - self.mean) / self.std
