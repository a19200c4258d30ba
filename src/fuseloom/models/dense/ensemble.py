"""The mean of what several streams predict, with weights that may be learnt."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.types import Masks, Streams

__all__ = ["Ensemble", "Weighting"]

Weighting = Literal["mean", "learned", "frozen"]
_WEIGHTINGS = ("mean", "learned", "frozen")


class Ensemble(nn.Module):
    r"""Weighted mean of the predictions of streams, of those that a sample has.

    .. math:: \bar y = \sum_m w_m\, \mathrm{sg}(y_m), \quad w = \mathrm{softmax}_m(\alpha)

    Only the weights learn from the mean, not the streams. ``mean`` has no weights; ``learned`` trains
    :math:`\alpha`, which starts even; ``frozen`` has it and does not train it, as the published segmentation
    models of GeminiFusion, TokenFusion and CEN do in fact, so that theirs is the plain mean.

    Args:
        names: Of the modalities.
        weighting: How they are weighted.

    Raises:
        OptionError: an unknown weighting.

    Example:
        >>> ensemble = Ensemble(["rgb", "depth"])
        >>> maps = {"rgb": torch.zeros(2, 3, 1, 1), "depth": torch.ones(2, 3, 1, 1)}
        >>> there = {"depth": torch.tensor([True, False])}
        >>> ensemble(maps, there)[:, 0, 0, 0].tolist()
        [0.5, 0.0]
    """

    def __init__(self, names: Sequence[str], *, weighting: Weighting = "learned") -> None:
        super().__init__()
        if weighting not in _WEIGHTINGS:
            hint = did_you_mean(weighting, _WEIGHTINGS)
            raise OptionError(f"weighting must be one of {list(_WEIGHTINGS)}, got {weighting!r}.{hint}")
        self.names = tuple(names)
        self.alpha = None if weighting == "mean" else nn.Parameter(torch.ones(len(self.names)))
        if self.alpha is not None:
            self.alpha.requires_grad_(weighting == "learned")

    def forward(self, streams: Streams, there: Masks) -> Tensor:
        """The mean, of the shape of one stream; zero of a sample that has none.

        Args:
            streams: Modality name -> predictions ``[B, ...]``.
            there: Modality name -> ``[B]``; one that is not in it is there in all samples.
        """
        values = torch.stack([streams[name] for name in self.names], 1).detach()  # [B, M, ...]
        alpha = values.new_zeros(len(self.names)) if self.alpha is None else self.alpha.to(values.dtype)
        scores = alpha.expand(values.shape[0], -1)
        if there:
            real = torch.stack([there.get(n, scores.new_ones(values.shape[0]).bool()) for n in self.names], 1)
            weights = scores.masked_fill(~real, -torch.inf).softmax(-1).masked_fill(~real, 0)
        else:
            weights = scores.softmax(-1)
        return torch.einsum("bm,bm...->b...", weights, values)
