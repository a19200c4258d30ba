"""A dense model that makes pictures."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fuseloom.losses.adversarial import adversarial_loss, judgement_loss
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.predictor import GridPredictor
from fuseloom.types import Trace

__all__ = ["PicturePredictor"]

_MIDDLE = (0.5, 0.5, 0.5)


class PicturePredictor(GridPredictor):
    """Pixels in, a picture from -1 to 1 out.

    Pictures in bytes go in on that scale, too. In training outputs are what all streams make and their mean,
    ``[B, M + 1, C, H, W]``; in evaluation the mean alone, ``[B, C, H, W]``.

    A judge learns at once with what it judges: it files its own loss, and that of the streams, whose pictures
    it should take for real. The published runs let the judge take its step first.

    Args:
        model: What makes pictures.
        judge: Tells real pictures of an input from made ones, such as `PatchDiscriminator`; in training only.
        adversarial_weight: Of the streams' loss by the judge, beside a mean absolute difference of 1.

    Example:
        >>> from fuseloom.models.dense import cen_translation
        >>> model = PicturePredictor(cen_translation({"rgb": 3, "depth": 1}, dim=4, depth=4)).eval()
        >>> model({"rgb": torch.zeros(2, 3, 32, 48, dtype=torch.uint8)}).shape  # without depth
        torch.Size([2, 3, 32, 48])
    """

    reads = ("target",)

    def __init__(
        self, model: DenseModel, *, judge: nn.Module | None = None, adversarial_weight: float = 0.01
    ) -> None:
        super().__init__(model, mean=_MIDDLE, std=_MIDDLE)
        self.judge, self.adversarial_weight = judge, adversarial_weight

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor | None] | None = None,
        *,
        target: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """Pictures.

        Args:
            inputs: Modality name -> pictures in bytes ``[B, 3, H, W]``, or numbers ``[B, C, H, W]``.
            masks: Modality name -> ``[B]`` or ``[B, H, W]``, where True is real.
            target: Real pictures ``[B, C, H, W]`` for the judge, NaN where nothing is known; in training
                only.
            trace: Collects auxiliary losses and records.
        """
        maps, real = self.maps(inputs, masks)
        outputs: Tensor = self.model(maps, real, trace=trace)
        if not self.training:
            return outputs[:, -1]
        if self.judge is not None and target is not None and trace is not None:
            self._file(self.judge, _whole(maps, real), outputs, target, trace)
        return outputs

    def _file(
        self, judge: nn.Module, maps: dict[str, Tensor], outputs: Tensor, target: Tensor, trace: Trace
    ) -> None:
        """What the judge learns from, and what the streams learn from it as it stands."""
        known = ~target.isnan()
        wanted, names = target.nan_to_num(), self.model.encoder.names
        made = {name: outputs[:, place] * known for place, name in enumerate(names)}
        seen = {name: maps[name] for name in names}
        of_real = judge(seen, dict.fromkeys(names, wanted))
        of_made = judge(seen, {name: one.detach() for name, one in made.items()})
        trace.loss("judgement", judgement_loss(of_real, of_made))
        frozen = {name: value.detach() for name, value in judge.named_parameters()}
        told = functional_call(judge, frozen, (seen, made))
        trace.loss("adversarial", self.adversarial_weight * adversarial_loss(told))


def _whole(maps: Mapping[str, Tensor], real: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Maps of as many channels each, zero where nothing is real."""
    most = max(value.shape[1] for value in maps.values())
    found = {}
    for name, value in maps.items():
        mask = real.get(name)
        there = value if mask is None else torch.where(mask[:, None], value, 0)
        found[name] = there.expand(-1, most, -1, -1)
    return found
