"""The shortest vector among all mixtures of some vectors: where gradients conflict, it descends on all."""

import torch
from torch import Tensor

__all__ = ["min_norm_weights"]


def min_norm_weights(gram: Tensor, *, least: float = 0.001) -> Tensor:
    r"""Shares ``[n]``, which sum to 1, of vectors in their shortest mixture.

    .. math:: \min_{w \ge 0,\, \sum w = 1} \Big\| \sum_i w_i v_i \Big\|

    Args:
        gram: Products of all pairs of vectors, ``[n, n]``.
        least: Share that each of two vectors keeps where the shorter alone would do, as in the official
            code; among more than two a share may be 0.

    Example:
        >>> vectors = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> min_norm_weights(vectors @ vectors.T)
        tensor([0.2000, 0.8000])
    """
    if len(gram) == 2:
        return _of_two(gram, least)
    exact = gram.detach().double().cpu()
    return _of_many(exact / exact.diagonal().max().clamp(min=torch.finfo(exact.dtype).tiny)).to(gram)


def _of_two(gram: Tensor, least: float) -> Tensor:
    first, both, second = gram[0, 0], gram[0, 1], gram[1, 1]
    gap = (first + second - 2 * both).clamp(min=torch.finfo(gram.dtype).tiny)
    share = torch.where(both >= second, least, (second - both) / gap)
    share = torch.where(both >= first, 1 - least, share)
    return torch.stack([share, 1 - share])


def _of_many(gram: Tensor) -> Tensor:
    """Wolfe's algorithm, for a largest square of 1: take in the vector that shortens the mixture most."""
    shares = torch.zeros_like(gram[0])
    shares[gram.diagonal().argmin()] = 1
    # It never meets a set of vectors twice; the bound is for what rounding may do.
    for _ in range(8 * len(gram) + 64):
        slopes = gram @ shares
        entering = int(slopes.argmin())
        if slopes[entering] >= shares @ slopes - 1e-14 or shares[entering] > 0:
            break
        shares = _shortest(gram, shares, [*shares.nonzero()[:, 0].tolist(), entering])
    return shares


def _shortest(gram: Tensor, shares: Tensor, active: list[int]) -> Tensor:
    """Walk to the shortest vector of the active ones' plane; those whose share falls to 0 are left behind."""
    while True:
        goal = torch.zeros_like(shares)
        goal[active] = _of_plane(gram[active][:, active])
        falling = [place for place in active if goal[place] < 0]
        if not falling:
            return goal
        steps = torch.stack([shares[place] / (shares[place] - goal[place]) for place in falling])
        shares = (shares + steps.min() * (goal - shares)).clamp(min=0)
        active.remove(falling[int(steps.argmin())])
        shares[[place for place in range(len(shares)) if place not in active]] = 0


def _of_plane(gram: Tensor) -> Tensor:
    """Shares, of any sign, in the shortest vector of the plane through some vectors."""
    ones = torch.ones_like(gram[:1])
    system = torch.cat([torch.cat([gram, ones.T], 1), torch.cat([ones, torch.zeros_like(ones[:, :1])], 1)])
    right = torch.zeros_like(system[0])
    right[-1] = 1
    shares: Tensor = (torch.linalg.pinv(system, hermitian=True) @ right)[:-1]
    return shares / shares.sum()
