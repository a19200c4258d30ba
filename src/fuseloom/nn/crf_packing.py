"""Emissions, their mask and the chain behind them as one tensor, as a head hands them over."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.crf_lattice import Chain

__all__ = ["pack_chain", "unpack_chain"]

_Scores = Float[Tensor, "batch time tag"]
_Mask = Bool[Tensor, "batch time"]
_Packed = Float[Tensor, "batch row column"]


def pack_chain(chain: Chain, emissions: _Scores, mask: _Mask | None = None) -> _Packed:
    """One row per sample, ``[B, K + 2 + T, K + 1]``: transitions, start, end, then emissions.

    The last column of an emission says whether it is real. Rows can be sliced and joined as any outputs are,
    and those of any samples be scored and decoded.

    Args:
        chain: Scores of transitions.
        emissions: Scores of the tags, ``[B, T, K]``.
        mask: ``[B, T]``; all by default.

    Example:
        >>> chain = Chain(start=torch.zeros(3), transitions=torch.eye(3), end=torch.ones(3))
        >>> packed = pack_chain(chain, torch.zeros(2, 4, 3))
        >>> packed.shape, unpack_chain(packed)[0].transitions.equal(chain.transitions)
        (torch.Size([2, 9, 4]), True)
    """
    real = torch.ones_like(emissions[..., :1]) if mask is None else mask[..., None].to(emissions.dtype)
    fixed = F.pad(torch.cat([chain.transitions, chain.start[None], chain.end[None]]), (0, 1))
    scored = torch.cat([emissions, real], -1)
    return torch.cat([fixed.expand(emissions.shape[0], -1, -1), scored], 1)


def unpack_chain(packed: _Packed) -> tuple[Chain, _Scores, _Mask]:
    """What `pack_chain` was given, with a mask; the chain is that of the first sample, as all have one."""
    tags = packed.shape[-1] - 1
    first = packed[:1, : tags + 2, :tags].sum(0)  # not an index, so that it may be of no sample
    chain = Chain(start=first[tags], transitions=first[:tags], end=first[tags + 1])
    return chain, packed[:, tags + 2 :, :tags], packed[:, tags + 2 :, tags] > 0.5
