"""Perceptron over the concatenation of all modalities: nonlinear early fusion."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import Dropout, masked_mean, sum_of_linears
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Activation", "Mlp", "convert_mlp"]

Activation = Literal["gelu", "relu"]

_ACTIVATIONS: Mapping[Activation, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
_MEAN_SQUARE: Mapping[Activation, float] = {"gelu": 0.425, "relu": 0.5}
"""Of what comes out where a standard normal goes in."""


@register("mlp")
class Mlp(Merge):
    r"""Multilayer perceptron over the concatenation of all modalities.

    .. math:: z = W_{L + 1} h_L + b_{L + 1}, \quad h_l = \sigma(W_l h_{l - 1} + b_l), \quad
        h_1 = \sigma\Bigl(\sum_m W_{1, m} x_m + b_1\Bigr)

    The first layer has a parameter per modality, so adding one keeps the others' weights, and nothing is
    concatenated. An absent modality contributes zeros, as in ``concat``; a sample without any gives a
    constant. Weights start so that every layer has unit variance for standardised inputs.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        hidden: Width of each of the ``L`` hidden layers; one, twice as wide as the output, by default.
        activation: What stands behind each hidden layer.
        dropout: Probability of dropping a hidden feature in training.
        pool: Makes tokens and feature maps one vector; ``None`` fuses position by position, which needs the
            same positions in all streams.

    Raises:
        OptionError: no hidden layer, an unknown activation, or ``dropout`` that is no probability.

    Example:
        >>> merge = Mlp({"text": 6, "audio": 4}, dim=8, hidden=(32, 16), activation="gelu")
        >>> merge({"text": torch.ones(2, 6), "audio": torch.ones(2, 5, 4)}).shape
        torch.Size([2, 8])
    """

    card = Card(
        summary="Multilayer perceptron over the concatenated modalities (nonlinear early fusion).",
        interaction="nonlinear",
        cost="sum_m N_m D_m + H sum_m D_m + H K, for one hidden layer of width H",
        parameters="per modality, and shared layers behind the first",
        symmetric=True,
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        hidden: Sequence[int] | None = None,
        activation: Activation = "relu",
        dropout: float = 0.0,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        if activation not in get_args(Activation):
            raise OptionError(f"activation must be 'gelu' or 'relu', got {activation!r}.")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        widths = list(hidden) if hidden is not None else [2 * self.dim]
        if not widths or min(widths) < 1:
            raise OptionError(f"hidden must be one width of at least 1 per layer, got {widths}.")
        self.pool = pool
        scale = 1 / math.sqrt(sum(self.dims.values()))
        self.weight = nn.ParameterDict(
            {name: torch.randn(widths[0], width) * scale for name, width in self.dims.items()}
        )
        self.bias = nn.Parameter(torch.zeros(widths[0]))
        self.activate = nn.Sequential(_ACTIVATIONS[activation](), Dropout(dropout))
        self.linears = nn.ModuleList(
            _linear(inner, outer, _MEAN_SQUARE[activation]) for inner, outer in pairwise([*widths, self.dim])
        )

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        values, _ = pool_streams(streams, masks, self.pool)
        fused = sum_of_linears(values, [self.weight[name] for name in self.dims], self.bias)
        for linear in self.linears:
            fused = linear(self.activate(fused))
        return fused


def _linear(inner: int, outer: int, mean_square: float) -> nn.Linear:
    linear = nn.Linear(inner, outer)
    nn.init.normal_(linear.weight, std=1 / math.sqrt(inner * mean_square))
    nn.init.zeros_(linear.bias)
    return linear


def convert_mlp(layers: Sequence[Mapping[str, Tensor]], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `Mlp` from the layers of a perceptron over the concatenation of all modalities.

    Args:
        layers: ``weight`` and ``bias`` of each layer, as in ``nn.Linear``, the output's last.
        dims: Modality name -> width ``D_m``, in the order of the concatenation.

    Returns:
        What ``Mlp`` takes whose ``hidden`` are the widths of all layers but the last.

    Raises:
        OptionError: no hidden layer, or one whose columns are not those of ``dims``.
    """
    if len(layers) < 2:
        raise OptionError(f"layers must be one or more hidden ones and the output's, got {len(layers)}.")
    first, *others = layers
    total = sum(dims.values())
    if first["weight"].dim() != 2 or first["weight"].shape[1] != total:
        raise OptionError(
            f"The first weight must have shape [H, {total}], the sum of dims, got "
            f"{list(first['weight'].shape)}."
        )
    columns = zip(dims, first["weight"].split_with_sizes(list(dims.values()), 1), strict=True)
    state = {f"weight.{name}": part.contiguous() for name, part in columns} | {"bias": first["bias"]}
    for number, layer in enumerate(others):
        state |= {f"linears.{number}.{role}": layer[role] for role in ("weight", "bias")}
    return state
