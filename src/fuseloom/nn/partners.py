"""What tokens are given by those they are paired with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fuseloom.types import Alignment

__all__ = ["PAIR_CHOICES", "PairChoice", "Pairs"]

PairChoice = Literal["first", "last", "mean"]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What each pair of an alignment brings to its target token; of several sources, side by side.

    Example:
        >>> alignment = Alignment.from_pairs([[(0, 1, 1.0), (1, 1, 3.0)]])
        >>> pairs = Pairs.take(alignment, torch.tensor([[[4.0], [8.0]]]), 3)
        >>> partners, found = pairs.partners()
        >>> partners.flatten(), found
        (tensor([0., 7., 0.]), tensor([[False,  True, False]]))
    """

    values: Tensor
    """``[B, P, D]``."""
    target: Tensor
    """``[B, P]`` int64, 0 in holes."""
    weight: Tensor
    """``[B, P]`` in float32 at least, zero in holes, which therefore bring nothing."""
    count: int
    """Target tokens."""

    @classmethod
    def take(cls, alignment: Alignment, tokens: Tensor, count: int, mask: Tensor | None = None) -> "Pairs":
        """Read the source token of each pair.

        A pair is a hole where its weight is not positive, or where it points at no token or a masked one.

        Args:
            alignment: Of these tokens to ``count`` others.
            tokens: ``[B, N, D]``.
            count: Target tokens.
            mask: ``[B, N]``, True = real.
        """
        real = alignment.real & (alignment.weight > 0)
        real = real & (alignment.source_index < tokens.shape[1]) & (alignment.target_index < count)
        source = torch.where(real, alignment.source_index, 0)
        if mask is not None:
            real = real & mask.gather(1, source)
        wide = torch.promote_types(alignment.weight.dtype, torch.float32)
        return cls(
            # Zero times infinity, in the token that a hole happens to read, would be NaN.
            values=_rows(tokens, source).masked_fill(~real[..., None], 0),
            target=torch.where(real, alignment.target_index, 0),
            weight=torch.where(real, alignment.weight, 0).to(wide),
            count=count,
        )

    @classmethod
    def join(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """Pairs of several sources with the same targets, in their order."""
        if len(parts) == 1:
            return parts[0]
        values, target, weight = (
            torch.cat([getattr(part, name) for part in parts], 1) for name in ("values", "target", "weight")
        )
        return cls(values=values, target=target, weight=weight, count=parts[0].count)

    @property
    def found(self) -> Tensor:
        """Which target tokens are brought anything, bool ``[B, T]``."""
        return self._total() > 0

    def map(self, function: Callable[[Tensor], Tensor]) -> "Pairs":
        """The same pairs with other values ``[B, P, D]``, of any width."""
        return replace(self, values=function(self.values))

    def at_targets(self, values: Tensor) -> Tensor:
        """What stands at each pair's target, ``[B, T, D]`` to ``[B, P, D]``."""
        return _rows(values, self.target)

    def partners(self) -> tuple[Tensor, Tensor]:
        """The weighted mean of what each target token is brought, ``[B, T, D]``, and who has one, ``[B, T]``.

        Zero where nothing is brought.
        """
        found, brought = self._shared()
        none = self.values.new_zeros(self.values.shape[0], self.count, self.values.shape[2])
        return self._add(none, brought), found

    def blend(self, tokens: Tensor, share: Tensor) -> Tensor:
        """Target tokens ``[B, T, D]`` of which a share, ``[1]``, is their partner's, where they have one."""
        found, brought = self._shared()
        own = 1 - share * found[..., None].to(tokens.dtype)
        return self._add(tokens * own, share * brought.to(tokens.dtype))

    def only(self, reduction: Literal["amin", "amax"]) -> "Pairs":
        """Keep of each target token's pairs the one that comes first (``amin``) or last (``amax``)."""
        places = torch.arange(self.target.shape[1], device=self.target.device).expand_as(self.target)
        # No pair that is real is at this place.
        never = self.target.shape[1] if reduction == "amin" else -1
        place = places.masked_fill(self.weight <= 0, never)
        best = place.new_full((place.shape[0], self.count), never)
        kept = best.scatter_reduce(1, self.target, place, reduction).gather(1, self.target) == place
        return replace(self, weight=(kept & (self.weight > 0)).to(self.weight.dtype))

    def _total(self) -> Tensor:
        rows = self.weight.new_zeros(self.weight.shape[0], self.count)
        return rows.scatter_add(1, self.target, self.weight)

    def _shared(self) -> tuple[Tensor, Tensor]:
        """Who is brought anything, and each pair's value times its share in the mean."""
        total = self._total()
        found = total > 0
        # Shares rather than a sum to divide: a single partner has the share 1, and arrives to the last bit.
        share = self.weight / total.masked_fill(~found, 1).gather(1, self.target)
        return found, self.values * share.to(self.values.dtype)[..., None]

    def _add(self, tokens: Tensor, brought: Tensor) -> Tensor:
        """Tokens ``[B, T, D]``, which no one else holds, with what each pair brings to its target."""
        place = _flat(self.target, self.count)
        return tokens.flatten(0, 1).index_add_(0, place, brought.flatten(0, 1)).view(tokens.shape)


def _flat(index: Tensor, count: int) -> Tensor:
    """Indices ``[B, P]`` into ``count`` tokens of each sample, into those of all samples end to end."""
    sample = torch.arange(index.shape[0], device=index.device)[:, None]
    return (index + sample * count).flatten()


def _rows(tokens: Tensor, index: Tensor) -> Tensor:
    # Measured on a CPU: whole rows of all samples end to end are read and added ten times as fast as with
    # gather and scatter_add, whose index is one number per feature.
    rows = tokens.flatten(0, 1).index_select(0, _flat(index, tokens.shape[1]))
    return rows.view(*index.shape, tokens.shape[2])


PAIR_CHOICES: Mapping[PairChoice, Callable[[Pairs], Pairs]] = {
    "first": lambda pairs: pairs.only("amin"),
    "last": lambda pairs: pairs.only("amax"),
    "mean": lambda pairs: pairs,
}
"""Which of a token's partners count."""
