"""A gate that looks at a scene after the first stage and says how far its modalities are to be fused."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.merge.dynamic import RouteKind
from fuseloom.nn import gumbel, soft, straight_through
from fuseloom.nn.channel_norm import MaskedBatchNorm
from fuseloom.part import check_dims
from fuseloom.types import Streams, Trace

__all__ = ["StageGate", "convert_dynmm_gate"]

_KERNEL, _STRIDE = 5, 2
_SMALLEST = _KERNEL + _STRIDE * (_KERNEL - 1)
"""Pixels a side must have for both convolutions."""


class StageGate(nn.Module):
    r"""Weights of ``K`` routes, of which route ``k`` runs the first ``k`` exchanges of a backbone.

    .. math:: w = \operatorname{gate}\Big(\tfrac{1}{\tau} W\, \operatorname{mean}_{ij}
        f\big(f(\Vert_m x_m)\big)_{ij}\Big), \quad f(x) = \tanh(\operatorname{norm}(K * x))

    An exchange is as open as the routes together weigh that run it. ``soft`` gates mix; the others pick one
    route, as in `fuseloom.merge.dynamic.Dynamic`. The trace gets the loss ``cost``, ``cost_weight`` times the
    mean over samples of ``sum_k w_k c_k``, and the record ``gate``, ``[B, K]``. All routes are computed.

    Paper: Xue & Marculescu, CVPRW 2023 (DynMM), its gate of a whole network for segmentation. Differs from
    the official code: there it reads what the stem gives, before the first stage, does not sample
    (``straight_through`` or ``soft``), draws routes evenly in its first epochs, lowers the temperature as it
    learns, and weighs routes by the multiplications of the depth encoder.

    Args:
        dims: Modality name -> channels after the first stage.
        num_routes: ``K``, one more than there are exchanges.
        hidden: Channels of both convolutions.
        kind: How scores become weights.
        temperature: ``tau``.
        costs: Of each route in any unit, scaled so that the largest is 1; by default that of route ``k`` is
            ``k``.
        cost_weight: How strongly costly routes are avoided, in units of the loss.

    Raises:
        ModalityError: a name that cannot be used, or no channels.
        OptionError: fewer than two routes, an unknown kind, or numbers out of their range.

    Example:
        >>> gate, trace = StageGate({"rgb": 4, "depth": 4}, 3).eval(), Trace()
        >>> maps = {"rgb": torch.ones(2, 4, 16, 16), "depth": torch.ones(2, 4, 16, 16)}
        >>> gate(maps, trace=trace).sum(-1).tolist(), trace.records["gate"].shape
        ([1.0, 1.0], torch.Size([2, 3]))
    """

    cost: Tensor

    def __init__(
        self,
        dims: Mapping[str, int],
        num_routes: int,
        *,
        hidden: int = 8,
        kind: RouteKind = "gumbel",
        temperature: float = 1.0,
        costs: Sequence[float] | None = None,
        cost_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.dims = check_dims(dims, (1, None), owner=type(self).__name__)
        if num_routes < 2:
            raise OptionError(f"num_routes must be at least 2, got {num_routes}.")
        if kind not in (known := get_args(RouteKind)):
            raise OptionError(
                f"kind must be one of {sorted(known)}, got {kind!r}.{did_you_mean(kind, known)}"
            )
        if not temperature > 0:
            raise OptionError(f"temperature must be positive, got {temperature}.")
        if not (isfinite(cost_weight) and cost_weight >= 0):
            raise OptionError(f"cost_weight must be at least 0, got {cost_weight}.")
        self.num_routes, self.kind, self.temperature = num_routes, kind, temperature
        self.cost_weight = cost_weight
        self.register_buffer("cost", _shares(costs, num_routes), persistent=False)
        self.first = nn.Conv2d(sum(self.dims.values()), hidden, _KERNEL, stride=_STRIDE)
        self.first_norm = MaskedBatchNorm(hidden)
        self.second = nn.Conv2d(hidden, hidden, _KERNEL, stride=_STRIDE)
        self.second_norm = MaskedBatchNorm(hidden)
        self.score = nn.Linear(hidden, num_routes, bias=False)

    def forward(self, streams: Streams, *, trace: Trace | None = None) -> Tensor:
        """Weights ``[B, K]`` that sum to one.

        Args:
            streams: Maps ``[B, C, H, W]`` of all modalities, zero where one is not there.
            trace: Collects the loss and the record.

        Raises:
            ModalityError: maps too small for the convolutions.
        """
        values = torch.cat([streams[name] for name in self.dims], 1)
        if min(values.shape[-2:]) < _SMALLEST:
            raise ModalityError(
                f"Maps of the gate must be at least {_SMALLEST} pixels high and wide, got "
                f"{tuple(values.shape[-2:])}. Give larger pictures."
            )
        values = self.first_norm(self.first(values)).tanh()
        values = self.second_norm(self.second(values)).tanh()
        weights = self._weigh(self.score(values.mean((2, 3))))
        if trace is not None:
            trace.record("gate", weights)
            trace.loss("cost", self.cost_weight * (weights * self.cost).sum(-1).mean())
        return weights

    def opened(self, weights: Tensor) -> Tensor:
        """How open each exchange is, ``[B, K - 1]``: what the routes weigh that run it."""
        return weights.flip(-1).cumsum(-1).flip(-1)[:, 1:]

    def _weigh(self, scores: Tensor) -> Tensor:
        if self.kind == "gumbel":
            return gumbel(scores, temperature=self.temperature, training=self.training)
        return (soft if self.kind == "soft" else straight_through)(scores, temperature=self.temperature)


def _shares(costs: Sequence[float] | None, num_routes: int) -> Tensor:
    given = list(range(num_routes)) if costs is None else list(costs)
    if len(given) != num_routes:
        raise OptionError(f"costs must be one for each of {num_routes} routes, got {len(given)}.")
    if not all(isfinite(cost) and cost >= 0 for cost in given) or not any(given):
        raise OptionError(f"costs must be at least 0 and not all 0, got {given}.")
    return torch.tensor([cost / max(given) for cost in given])


def convert_dynmm_gate(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a `StageGate` of ``rgb`` and ``depth``, in this order, from that of DynMM's gate.

    Args:
        official: Official name -> weight; the counts of batches, which nothing reads, are left out.

    Raises:
        OptionError: a name that the official gate does not have.
    """
    found = {}
    for key, value in official.items():
        if key.endswith(".num_batches_tracked"):
            continue
        place, _, what = key.rpartition(".")
        if place not in _OFFICIAL:
            raise OptionError(f"The state must be that of DynMM's gate, got {key!r} in it.")
        found[f"{_OFFICIAL[place]}.{what}"] = value.flatten(1) if place == "fc" else value
    return found


_OFFICIAL = {
    "conv.0": "first",
    "conv.1": "first_norm",
    "conv.3": "second",
    "conv.4": "second_norm",
    "fc": "score",
}
