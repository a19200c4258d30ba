"""How much of a token gives way to its partner."""

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn.partners import Pairs

__all__ = ["ConstantShare", "GatedShare", "LearnedShare"]


class ConstantShare(nn.Module):
    """The same share for every token.

    Args:
        share: In [0, 1].

    Raises:
        OptionError: a share outside [0, 1].
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise OptionError(f"mix must be in [0, 1], got {share}.")
        self.share = share

    def forward(self, tokens: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, N, D]`` and what they are brought, to the mixed tokens and the share ``[1]``."""
        share = tokens.new_full((1,), self.share)
        return pairs.blend(tokens, share), share


class LearnedShare(nn.Module):
    """A learnt share, the same for every token, that starts at one half."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, N, D]`` and what they are brought, to the mixed tokens and the share ``[1]``."""
        share = self.logit.sigmoid().to(tokens.dtype)
        return pairs.blend(tokens, share), share


class GatedShare(nn.Module):
    """A share of each token's own, read from it and its partner; it starts near one half.

    Args:
        dim: Width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.own, self.partner = nn.Linear(dim, 1), nn.Linear(dim, 1, bias=False)

    def forward(self, tokens: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, N, D]`` and what they are brought, to the mixed tokens and shares ``[B, N, 1]``."""
        partner, found = pairs.partners()
        partner = partner.to(tokens.dtype)
        share = torch.sigmoid(self.own(tokens) + self.partner(partner)).to(tokens.dtype)
        return torch.lerp(tokens, partner, share * found[..., None].to(tokens.dtype)), share
