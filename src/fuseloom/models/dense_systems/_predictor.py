"""A dense model that labels pixels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.models.dense.inference import in_windows, over_scales
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.predictor import Expand, GridPredictor
from fuseloom.types import Trace

__all__ = ["DensePredictor", "Views"]

_WINDOW_OVERLAP = 0.5
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, in which pretrained backbones see pictures."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """How a scene is looked at to be predicted, besides once and whole.

    Raises:
        OptionError: no scale, one that is not above zero, or an empty window.
    """

    scales: tuple[float, ...] = (1.0,)
    """Of the sides; probabilities of labels are averaged over them."""
    mirror: bool = False
    """Whether each is seen from left to right, too."""
    window: tuple[int, int] | None = None
    """Rows and columns that are seen at a time, half of them twice; all by default."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise OptionError(f"scales must be above 0, one at least, got {list(self.scales)}.")
        if self.window is not None and min(self.window) < 1:
            raise OptionError(f"window must have a pixel or more, got {list(self.window)}.")

    @property
    def plain(self) -> bool:
        """Whether it is once and whole."""
        return self.scales == (1.0,) and not self.mirror and self.window is None


class DensePredictor(GridPredictor):
    """Pixels in, scores of labels out.

    Pictures in bytes become numbers as pretrained backbones saw them. In training outputs are the predictions
    of all streams and their mean, ``[B, M + 1, K, h, w]``; in evaluation the mean alone, ``[B, K, h, w]``.

    Args:
        model: What predicts.
        expand: From the weights of one pretrained backbone and the names of the modalities to what they are
            in the model's state; none takes none.

    Example:
        >>> from fuseloom.models.dense import MitSize, tokenfusion_mit
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 2), reductions=(2, 1))
        >>> model = DensePredictor(tokenfusion_mit({"rgb": 3, "depth": 1}, 5, size=tiny, head_dim=8)).eval()
        >>> rgb = torch.zeros(2, 3, 32, 48, dtype=torch.uint8)
        >>> model({"rgb": rgb}, {"rgb": torch.tensor([True, True])}).shape  # without depth
        torch.Size([2, 5, 8, 12])
    """

    def __init__(self, model: DenseModel, *, expand: Expand | None = None) -> None:
        super().__init__(model, mean=_MEAN, std=_STD, expand=expand)
        self.views = Views()
        """What evaluation looks at; anything but once and whole gives logarithms of probabilities
        ``[B, K, H, W]`` at the size of the inputs."""

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        trace: Trace | None = None,
    ) -> Tensor:
        """Scores of labels.

        Args:
            inputs: Modality name -> pictures in bytes ``[B, 3, H, W]``, or numbers ``[B, C, H, W]``.
            masks: Modality name -> ``[B]`` or ``[B, H, W]``, where True is real.
            trace: Collects auxiliary losses and records.
        """
        maps, real = self.maps(inputs, masks)
        if self.training:
            outputs: Tensor = self.model(maps, real, trace=trace)
            return outputs
        if self.views.plain:
            return self._mean(maps, real, trace=trace)
        found = over_scales(
            self._in_windows, maps, real, scales=self.views.scales, mirror=self.views.mirror, divisor=1
        )
        return found.clamp(min=torch.finfo(found.dtype).tiny).log()

    def _mean(
        self, maps: Mapping[str, Tensor], real: Mapping[str, Tensor | None] | None, trace: Trace | None = None
    ) -> Tensor:
        outputs: Tensor = self.model(maps, real, trace=trace)
        return outputs[:, -1]

    def _in_windows(self, maps: Mapping[str, Tensor], real: Mapping[str, Tensor | None] | None) -> Tensor:
        if self.views.window is None:
            return self._mean(maps, real)
        return in_windows(self._mean, maps, real, window=self.views.window, overlap=_WINDOW_OVERLAP)
