"""All paths of tags through sequences: the scores of a linear chain, laid out with time first."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fuseloom.nn.tag_scheme import TagConstraints

__all__ = ["Chain", "Lattice", "lowest"]


def lowest(dtype: torch.dtype) -> float:
    """Score of what a path must not do: below all others, and finite though added a million times.

    Example:
        >>> lowest(torch.float32) < -1e31
        True
    """
    limits = torch.finfo(dtype)
    return limits.min * limits.eps


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Scores of a linear chain of tags, beside those of the tags themselves."""

    start: Float[Tensor, " tag"]
    """Of the first tag."""
    transitions: Float[Tensor, "tag tag"]
    """``[K, K]``: from the tag of the row to that of the column."""
    end: Float[Tensor, " tag"]
    """Of the last tag."""

    def restrict(self, allowed: TagConstraints) -> "Chain":
        """The same chain, where all that is not allowed has the lowest score."""
        return Chain(
            start=_restrict(self.start, allowed.start),
            transitions=_restrict(self.transitions, allowed.transitions),
            end=_restrict(self.end, allowed.end),
        )


def _restrict(scores: Tensor, allowed: Tensor) -> Tensor:
    # float16 has no number that is lower than all sums of others.
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return wide.masked_fill(~allowed, lowest(wide.dtype))


@dataclass(frozen=True)
class Lattice:
    """Scores of a batch of sequences and of a chain, in float32 at least.

    Time comes first, so that a step is contiguous, and the batch last, so that what is done to few tags is
    one loop over many numbers. An axis of directions may stand between.
    """

    start: Tensor
    """``[K, ..., 1]``."""
    transitions: Tensor
    """``[K, K, ..., 1]``: to the tag of the row, which a step keeps, from that of the column."""
    end: Tensor
    """``[K, ..., 1]``."""
    emissions: Tensor
    """``[T, K, ..., B]``, zero where the mask is False."""
    mask: Tensor
    """``[T, B]``."""

    @classmethod
    def of(
        cls,
        chain: Chain,
        emissions: Float[Tensor, "batch time tag"],
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> "Lattice":
        """Lay out emissions; what stands under False is not read, and no score is below the lowest."""
        wide = torch.promote_types(emissions.dtype, chain.transitions.dtype)
        dtype = torch.promote_types(wide, torch.float32)
        # Differences of what scores -inf, or sums to it, would be NaN.
        start, moves, end, scores = (
            value.to(dtype).clamp(min=lowest(dtype))
            for value in (chain.start, chain.transitions, chain.end, emissions)
        )
        if mask is None:
            mask = torch.ones(emissions.shape[:2], dtype=torch.bool, device=emissions.device)
        else:
            scores = scores.masked_fill(~mask[..., None], 0)
        placed = scores.permute(1, 2, 0).contiguous()
        return cls(start[:, None], moves.T[..., None], end[:, None], placed, mask.T)

    @property
    def last(self) -> Tensor:
        """``[B]``: the place of each last tag; zero for a sequence without one."""
        return (self.mask.sum(0) - 1).clamp(min=0)

    def at_last(self, values: Tensor) -> Tensor:
        """Of ``[T, S, B]`` what stands at the last tags, ``[S, B]``."""
        place = self.last.expand(1, values.shape[1], -1)
        return values.gather(0, place)[0]

    def turn(self, values: Tensor) -> Tensor:
        """``[T, K, B]`` with each sequence back to front; behind its end stands its first value again."""
        steps = torch.arange(len(values), device=values.device)
        place = (self.last - steps[:, None]).clamp(min=0)
        return values.gather(0, place[:, None].expand_as(values))

    def both_ways(self) -> "Lattice":
        """Beside the sequences, on an axis of their own, the same ones back to front."""
        ends = torch.stack([self.start, self.end], -2)
        return Lattice(
            ends,
            torch.stack([self.transitions, self.transitions.transpose(0, 1)], -2),
            ends.flip(-2),
            torch.stack([self.emissions, self.turn(self.emissions)], -2),
            self.mask,
        )
