"""A joint linear model's logits added to those of a nonlinear model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge
from fuseloom.registry import Card, create, lookup, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["LinearLogits"]


@register("linear_logits")
class LinearLogits(Merge):
    r"""A linear model of all modalities plus a nonlinear one, which need not learn what is linear.

    .. math:: \hat y = \sum_{m=1}^{M} W_m x_m + b + f(x_1, \dots, x_M)

    Both are merges: ``linear`` is a ``concat``, ``nonlinear`` is chosen by name. They are fitted together, or
    one after the other (``FitConfig(sequential=True)``, by `focus`), or the linear one is fitted elsewhere,
    loaded, and stays as it is (``frozen=True``). What absent modalities do is as in the two merges. The trace
    records both predictions as ``linear`` and ``nonlinear``, ``[B, dim]``.

    Paper: Hessel and Lee, EMNLP 2020, whose "+ linear logits" adds those of a linear model fitted first.

    Args:
        dims: Modality name -> width.
        dim: Number of outputs of the prediction.
        nonlinear: Name of the merge that gives ``f``.
        options: Keyword options of that merge.
        frozen: Keep the linear model out of training.

    Raises:
        OptionError: ``nonlinear`` names a merge of decisions, or ``options`` does not fit it.
        UnknownNameError: ``nonlinear`` names no merge.

    Example:
        >>> import torch
        >>> from fuseloom.merge.concat import convert_concat
        >>> dims = {"text": 2, "audio": 1}
        >>> merge = LinearLogits(dims, dim=1, frozen=True)
        >>> fitted = convert_concat(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1), dims)
        >>> _ = merge.linear.load_state_dict(fitted)
        >>> trace = Trace()
        >>> out = merge({"text": torch.ones(1, 2), "audio": torch.ones(1, 1)}, trace=trace)
        >>> trace.records["linear"]
        tensor([[6.]])
    """

    card = Card(
        summary="Logits of a linear model of all modalities added to those of a nonlinear one.",
        interaction="nonlinear",
        cost="K sum_m D_m, and that of the nonlinear merge",
        parameters="per modality, and those of the nonlinear merge",
        level="output",
        paper="Hessel and Lee, 2020, EMNLP",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        nonlinear: str = "mlp",
        options: Mapping[str, Any] | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__(dims, dim)
        other: Card = lookup(nonlinear, kind="merge").card
        if other.level == "decision":
            raise OptionError(f"nonlinear must name a merge of streams, got {nonlinear!r}, one of decisions.")
        self.frozen = frozen
        self.linear: Merge = create("concat", self.dims, dim=self.dim)
        self.nonlinear: Merge = create(nonlinear, self.dims, dim=self.dim, **(options or {}))
        claims = self.nonlinear.card
        self.card = replace(
            self.card, interaction=claims.interaction, arity=claims.arity, aligned=claims.aligned
        )
        self.focus(None)

    @property
    def num_stages(self) -> int:
        """Stages that `focus` can fit one after the other: the linear model, then the nonlinear one."""
        return 2

    def focus(self, stage: int | None) -> None:
        """Train the linear model and predict with it alone (0), or train the other (1); None: both."""
        self._alone = stage == 0
        self.linear.requires_grad_(stage != 1 and not self.frozen)
        self.nonlinear.requires_grad_(stage != 0)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        linear = self.linear.merge(streams, masks, trace=None)
        if self._alone:
            return linear
        scope = None if trace is None else trace.scope("nonlinear")
        nonlinear = self.nonlinear.merge(streams, masks, trace=scope)
        if trace is not None:
            trace.record("linear", linear)
            trace.record("nonlinear", nonlinear)
        return linear + nonlinear
