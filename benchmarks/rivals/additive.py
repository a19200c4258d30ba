"""Concatenation, and the merges that add or compare one embedding per modality."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rivals._common import Rivals, linear, named_linears, pooled

__all__ = [
    "RIVALS",
    "PlainConcat",
    "PlainMax",
    "PlainMean",
    "PlainSum",
    "PlainWeightedSum",
    "floor_concat",
    "floor_sum",
    "floor_weighted_sum",
]


class PlainConcat(nn.Module):
    """Concatenate, then one linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.linear = linear(torch.cat([state[f"weight.{name}"] for name in dims], 1), state["bias"])

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        return [self.linear(torch.cat([pooled(value) for value in streams.values()], 1))]


class PlainSum(nn.Module):
    """One linear map per modality, summed."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = named_linears(state, "embed", dims)

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        first, *rest = (self.embed[name](pooled(value)) for name, value in streams.items())
        return [sum(rest, start=first)]


class PlainMean(nn.Module):
    """One linear map per modality, averaged."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.sum = PlainSum(state, dims)

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        (total,) = self.sum(streams)
        return [total / len(streams)]


class PlainWeightedSum(nn.Module):
    """One linear map per modality, summed under the softmax of one score each."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = PlainSum(state, dims).embed
        self.scores = nn.Parameter(torch.stack([state[f"score.{name}"] for name in dims]))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = (self.embed[name](pooled(value)) for name, value in streams.items())
        shares = self.scores.softmax(0)
        first, *rest = (share * value for share, value in zip(shares, embedded, strict=True))
        return [sum(rest, start=first)]


class PlainMax(nn.Module):
    """One linear map per modality, stacked, and the largest of each feature."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = PlainSum(state, dims).embed

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = [self.embed[name](pooled(value)) for name, value in streams.items()]
        return [torch.stack(embedded, 1).amax(1)]


def floor_concat(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality."""
    return [torch.mm(pooled(value), state[f"weight.{name}"].T) for name, value in streams.items()]


def floor_sum(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality."""
    return [torch.mm(pooled(value), state[f"embed.{name}.weight"].T) for name, value in streams.items()]


def floor_weighted_sum(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality; the scores as they are."""
    return [*floor_sum(state, streams), *(state[f"score.{name}"] for name in streams)]


RIVALS: Rivals = {
    "concat": (PlainConcat, floor_concat),
    "max": (PlainMax, floor_sum),
    "mean": (PlainMean, floor_sum),
    "sum": (PlainSum, floor_sum),
    "weighted_sum": (PlainWeightedSum, floor_weighted_sum),
}
