"""Late fusion: the decisions of the modalities are combined, not their features."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge._base import Decision, Merge, Pool, pool_streams
from fuseloom.nn import masked_max, masked_mean, masked_softmax, stack_masks
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Combine", "Late"]

Combine = Literal["mean", "weighted", "product", "max"]
_Rule = Callable[[Tensor, Tensor | None], Tensor]
"""Logits ``[..., M, K]`` and presence ``[..., M]`` to ``[..., K]``."""


@register("late")
class Late(Merge):
    r"""Combination of one prediction per modality: ``f_A(x_A) + f_B(x_B)``.

    The streams are logits ``[B, K]``, made by one head per modality that the assembly puts before it. Over
    the modalities ``P`` that a sample has:

    .. math::

        \text{mean}: \tfrac{1}{|P|} \sum_{m \in P} y_m \qquad
        \text{weighted}: \sum_{m \in P} a_m y_m, \; a = \text{softmax}_P(s) \qquad
        \text{max}: \max_{m \in P} y_m

    ``product`` multiplies what the modalities believe, and that depends on what they decide:

    .. math::

        \text{softmax}: \sum_{m \in P} \log \text{softmax}(y_m) \qquad
        \text{sigmoid}: \sum_{m \in P} y_m \qquad
        \text{value}: \tfrac{1}{|P|} \sum_{m \in P} y_m

    Of classes that exclude one another it multiplies the probabilities; of a class by itself (a log-odds)
    the odds that it is there; numbers are the centres of normal densities of equal width, whose product is
    centred at their mean. A sample without any modality gives zeros.

    MultiBench calls "late fusion" what is here an encoder per modality and ``concat``; the lecture's late
    fusion, and PID's ``AdditiveEnsemble``, is this mean. The trace records the weights as ``weights``,
    ``[..., M]``, where ``combine="weighted"``.

    Args:
        dims: Modality name -> number of outputs ``K``, the same for all.
        dim: ``K``.
        combine: How.
        decision: What the outputs are; by default ``softmax``, and of one output ``sigmoid``. A model that
            `fuseloom.models.build_model` makes has it from the task.
        pool: Makes the logits of tokens and positions one vector; ``None`` combines position by position.

    Raises:
        ModalityError: numbers of outputs that differ.
        OptionError: an unknown ``combine`` or ``decision``, or another ``dim`` than ``K``.

    Example:
        >>> merge = Late({"text": 3, "audio": 3})
        >>> logits = {"text": torch.tensor([[2.0, 0.0, 0.0]]), "audio": torch.tensor([[0.0, 0.0, 4.0]])}
        >>> merge(logits)
        tensor([[1., 0., 2.]])
    """

    card = Card(
        summary="Mean, weighted mean, product or maximum of the modalities' own predictions.",
        interaction="additive",
        cost="M K",
        parameters="shared; per modality if weighted",
        level="decision",
        symmetric=True,
        code="pliang279/PID",
        differs="Absent modalities do not vote; the official ensemble knows none.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        combine: Combine = "mean",
        decision: Decision | None = None,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        if len(set(self.dims.values())) > 1:
            raise ModalityError(
                f"Late must have as many outputs in every modality, got {self.dims}. Put a head before each."
            )
        if self.dim != next(iter(self.dims.values())):
            raise OptionError(f"dim must be the number of outputs of each modality, got {dim}.")
        decision = decision if decision is not None else "sigmoid" if self.dim == 1 else "softmax"
        for name, value, known in (("combine", combine, Combine), ("decision", decision, Decision)):
            if value not in get_args(known):
                raise OptionError(f"{name} must be one of {sorted(get_args(known))}, got {value!r}.")
        if combine == "max":
            self.card = replace(self.card, interaction="nonlinear")
        self.pool = pool
        self.combine = _Weighted(self.dims) if combine == "weighted" else _Fixed(combine, decision)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, present = pool_streams(streams, masks, self.pool)
        combined: Tensor = self.combine(torch.stack(values, -2), stack_masks(present), trace)
        return combined


class _Fixed(nn.Module):
    """A rule without parameters: logits ``[..., M, K]`` and presence ``[..., M]`` to ``[..., K]``."""

    def __init__(self, combine: Literal["mean", "product", "max"], decision: Decision) -> None:
        super().__init__()
        rules: dict[str, _Rule] = {"mean": masked_mean, "max": masked_max, "product": _PRODUCTS[decision]}
        self.rule = rules[combine]

    def forward(self, logits: Tensor, present: Tensor | None, trace: Trace | None) -> Tensor:
        """Combine."""
        return self.rule(logits, present)


class _Weighted(nn.Module):
    """Mean under learned weights of sum one."""

    def __init__(self, names: Mapping[str, int]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.score = nn.ParameterDict({name: torch.zeros(1) for name in names})

    def forward(self, logits: Tensor, present: Tensor | None, trace: Trace | None) -> Tensor:
        """Combine."""
        scores = torch.cat([self.score[name] for name in self.names], -1)
        weights = masked_softmax(scores.expand(logits.shape[:-1]), present)
        if trace is not None:
            trace.record("weights", weights)
        return (weights.to(logits.dtype).unsqueeze(-1) * logits).sum(-2)


def _sum(logits: Tensor, present: Tensor | None) -> Tensor:
    return logits.sum(-2) if present is None else logits.masked_fill(~present[..., None], 0).sum(-2)


def _sum_of_logs(logits: Tensor, present: Tensor | None) -> Tensor:
    return _sum(F.log_softmax(logits, -1), present)


_PRODUCTS: Mapping[str, _Rule] = {"softmax": _sum_of_logs, "sigmoid": _sum, "value": masked_mean}
