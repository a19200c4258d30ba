"""The cls-guided exchange."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rivals._common import Rivals

__all__ = ["RIVALS", "PlainClsExchange", "floor_cls_exchange", "loop"]

_THETA = 0.1


class PlainClsExchange(nn.Module):
    """As the official code: attention of token 0, a quantile per sample, a loop over samples and tokens."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        assert not state, "widths must be equal"

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N_m, D]`` each to the same."""
        return loop(streams, {name: _attention_of_the_first(value) for name, value in streams.items()})


def loop(
    streams: Mapping[str, Tensor], scores: Mapping[str, Tensor], *, theta: float = _THETA
) -> list[Tensor]:
    """One comparison and one write in place per sample and token, with scores ``[B, N]`` given."""
    means = {name: value.mean(1) for name, value in streams.items()}
    out = []
    for name, value in streams.items():
        mean = sum(means[other] for other in streams if other != name) / (len(streams) - 1)
        changed = value.clone()
        for sample in range(value.shape[0]):
            bound = _quantile(scores[name][sample, 1:], theta)
            for token in range(1, value.shape[1]):
                if scores[name][sample, token] < bound:
                    changed[sample, token] = changed[sample, token] + mean[sample]
        out.append(changed)
    return out


def _attention_of_the_first(tokens: Tensor) -> Tensor:
    products = torch.bmm(tokens, tokens[:, 0, :, None]).squeeze(2)
    return (products / tokens.shape[2] ** 0.5).softmax(1).detach()


def _quantile(scores: Tensor, theta: float) -> Tensor:
    # torch.quantile ranks in the precision of its input, which takes one token too many at whole ranks.
    ordered, rank = scores.sort().values, round(theta * (len(scores) - 1), 9)
    low, high = ordered[int(rank)], ordered[min(int(rank) + 1, len(scores) - 1)]
    return low + (high - low) * (rank - int(rank))


def floor_cls_exchange(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """The products of token 0 with all others, the mean, and one sum over all values; nothing is chosen."""
    assert not state, "widths must be equal"
    scores = [torch.bmm(value, value[:, 0, :, None]).squeeze(2) for value in streams.values()]
    means = [value.mean(1, keepdim=True) for value in streams.values()]
    sums = [value + mean for value, mean in zip(streams.values(), reversed(means), strict=True)]
    return [*sums, *scores]


RIVALS: Rivals = {"cls_exchange": (PlainClsExchange, floor_cls_exchange)}
