"""Who gives a token where one is to be replaced: moved along an alignment, chosen among several."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import torch
from torch import Tensor

from fuseloom.types import Alignment

__all__ = ["Donor", "donor_by_position", "donor_by_score"]

# Square numbers times this over 2^31 (the golden ratio) are spread over [0, 1) without a period.
_GOLDEN, _WORD = 1327217885, 2**31


@dataclass(frozen=True, kw_only=True)
class Donor:
    """What can be taken at each of ``N`` places.

    Example:
        >>> donor = Donor(tokens=torch.tensor([[[3.0], [5.0]]]), real=None, score=torch.tensor([[0.1, 0.9]]))
        >>> donor.move(Alignment.from_pairs([[(0, 1), (1, 1)]]), 3).tokens.flatten()
        tensor([0., 4., 0.])
    """

    tokens: Tensor
    """``[B, N, D]``, zero where there is none."""
    real: Tensor | None
    """``[B, N]`` bool, where there is a token to take; None: everywhere."""
    score: Tensor
    """``[B, N]``, carries no gradient."""

    def move(self, alignment: Alignment | None, count: int) -> "Donor":
        """The same at the ``count`` places of another stream: the weighted mean of what is aligned to each.

        Args:
            alignment: Of these tokens (source) to those of the other stream; None where places are the same.
            count: Places of the other stream.
        """
        if alignment is None:
            return self
        kept = torch.ones_like(self.score) if self.real is None else self.real.to(self.score.dtype)
        share, score = alignment.gather(torch.stack([kept, kept * self.score], -1), count).unbind(-1)
        found = share > 0
        share = share.masked_fill(~found, 1)
        tokens = alignment.gather(self.tokens, count) / share.to(self.tokens.dtype)[..., None]
        return type(self)(tokens=tokens, real=found, score=score / share)


def donor_by_position(donors: Sequence[Donor]) -> Donor:
    """Let the donors take turns over the places, in even shares; where one is not real, the next that is.

    Whose turn it is depends on the place alone, so it is the same for every sample and at any length.

    Args:
        donors: One or more, over the same places.

    Example:
        >>> score, values = torch.ones(1, 4), (torch.full((1, 4, 1), x) for x in (1, 2))
        >>> donor_by_position([Donor(tokens=x, real=None, score=score) for x in values]).tokens.flatten()
        tensor([1, 2, 2, 1])
    """
    count, first = len(donors), donors[0].score
    place = torch.arange(first.shape[1], device=first.device)
    block = place // count
    # In every block each donor has one place; where a block starts is scattered, or columns of a grid would
    # have one donor each.
    turn = place + (block * block % _WORD * _GOLDEN % _WORD) * count // _WORD
    waits = [((number - turn) % count).expand_as(first) for number in range(count)]
    return _cheapest(donors, waits, never=count)


def donor_by_score(donors: Sequence[Donor]) -> Donor:
    """Take the donor of the highest score at each place, among the real ones.

    Args:
        donors: One or more, over the same places.
    """
    return _cheapest(donors, [-donor.score for donor in donors], never=torch.inf)


def _cheapest(donors: Sequence[Donor], costs: Sequence[Tensor], *, never: float) -> Donor:
    pairs = zip(donors, costs, strict=True)
    paid = [cost if donor.real is None else cost.masked_fill(~donor.real, never) for donor, cost in pairs]
    best = torch.stack(paid).argmin(0)  # [B, N]
    tokens, score = donors[0].tokens, donors[0].score
    for number, donor in enumerate(donors[1:], 1):
        tokens = torch.where((best == number)[..., None], donor.tokens, tokens)
        score = torch.where(best == number, donor.score, score)
    reals = [donor.real for donor in donors if donor.real is not None]
    real = reduce(or_, reals) if len(reals) == len(donors) else None
    return Donor(tokens=tokens, real=real, score=score)
