"""The best paths of a linear chain (Viterbi, 1967), one or several for each sequence."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fuseloom.nn.crf_lattice import Chain, Lattice, lowest

__all__ = ["best_path", "best_paths"]

_Scores = Float[Tensor, "batch time tag"]
_Mask = Bool[Tensor, "batch time"]


def best_path(
    chain: Chain, emissions: _Scores, mask: _Mask | None = None, *, padding: int = -1
) -> Int[Tensor, "batch time"]:
    """The path of tags with the highest score, ``[B, T]``; ``padding`` where the mask is False.

    Args:
        chain: Scores of transitions. Where every path does what they do not allow, one that does so least
            often is found.
        emissions: Scores of the tags, ``[B, T, K]``.
        mask: ``[B, T]``, True on the first positions of each sequence; all by default.
        padding: Stands for no tag.
    """
    with torch.no_grad():
        lattice = Lattice.of(chain, emissions, mask)
        # Added up once for all steps, so that a step is two operations: what it costs is calls, not numbers.
        moves = lattice.transitions + lattice.emissions[1:, :, None]  # [T - 1, K, K, B]
        states = [lattice.start + lattice.emissions[0]]
        for move in moves.unbind(0):
            states.append((states[-1] + move).amax(1))
        best = torch.stack(states)  # [T, K, B]
        pointers = _first_place_(moves.add_(best[:-1, None]), best[1:])
        final = (lattice.at_last(best) + lattice.end).argmax(0, keepdim=True)
        path = _trace_back(lattice, pointers, final)[:, 0]
        return path.masked_fill(~lattice.mask, padding).T


def best_paths(
    chain: Chain, emissions: _Scores, mask: _Mask | None = None, *, num_paths: int, padding: int = -1
) -> tuple[Int[Tensor, "batch path time"], Float[Tensor, "batch path"]]:
    """The paths of tags with the highest scores, best first, all different.

    Args:
        chain: Scores of transitions.
        emissions: Scores of the tags, ``[B, T, K]``.
        mask: ``[B, T]``, True on the first positions of each sequence; all by default.
        num_paths: ``N``.
        padding: Stands for no tag.

    Returns:
        The tags ``[B, N, T]`` and the scores ``[B, N]`` of the paths. Where a sequence has fewer paths than
        ``N``, without those that the chain does not allow, the last ones are nothing but padding, and have
        the lowest score that their type can hold.
    """
    with torch.no_grad():
        lattice = Lattice.of(chain, emissions, mask)
        states, pointers = _best_states(lattice, num_paths)
        ends = lattice.at_last(states) + lattice.end.repeat_interleave(num_paths, 0)
        scores, final = ends.topk(num_paths, 0)  # [N, B]
        tags = _trace_back(lattice, pointers, final) // num_paths  # [T, N, B]
        scores = scores.where(lattice.mask[0], _alone(scores))
        exists = scores > lowest(scores.dtype) / 2
        tags = tags.masked_fill(~(lattice.mask[:, None] & exists), padding)
        return tags.permute(2, 1, 0), scores.masked_fill(~exists, torch.finfo(scores.dtype).min).T


def _first_place_(values: Tensor, largest: Tensor) -> Tensor:
    """Where in ``[T, K, S, B]`` the largest ones along the third axis stand first, ``[T, K, B]``; in place.

    A tenth of the time of argmax, which follows that axis number by number.
    """
    size = values.shape[2]
    order = torch.arange(size, 0, -1, dtype=values.dtype, device=values.device)[:, None]
    first = size - values.ge_(largest[:, :, None]).mul_(order).amax(2)
    return first.clamp(max=size - 1).to(torch.int64)  # a place even where values are NaN


def _alone(scores: Tensor) -> Tensor:
    """Scores ``[N, 1]`` of the paths of an empty sequence, of which there is one."""
    one = torch.full_like(scores[:, :1], lowest(scores.dtype))
    return torch.cat([torch.zeros_like(one[:1]), one[1:]])


def _best_states(lattice: Lattice, num_paths: int) -> tuple[Tensor, Tensor]:
    """Scores ``[T, K * N, B]`` of the best paths up to each tag, and where each comes from."""
    first, *others = lattice.emissions.unbind(0)
    start = (lattice.start + first)[:, None]
    none = torch.full_like(start, lowest(start.dtype)).expand(-1, num_paths - 1, -1)
    states = [torch.cat([start, none], 1).flatten(0, 1)]
    pointers = [torch.zeros_like(states[0], dtype=torch.int64)]
    transitions = lattice.transitions.repeat_interleave(num_paths, 1)  # [K, K * N, 1]
    for scores in others:
        values, places = (states[-1] + transitions).topk(num_paths, 1)  # [K, N, B]
        states.append((values + scores[:, None]).flatten(0, 1))
        pointers.append(places.flatten(0, 1))
    return torch.stack(states), torch.stack(pointers)[1:]


def _trace_back(lattice: Lattice, pointers: Tensor, final: Tensor) -> Tensor:
    """States ``[T, N, B]`` on the ways back from the last ones ``[N, B]``."""
    stay = torch.arange(pointers.shape[1], device=pointers.device)[:, None]
    steps = pointers.where(lattice.mask[1:, None], stay)  # so that the way begins behind the padding
    states = [final]
    for step in reversed(steps.unbind(0)):
        states.append(step.gather(0, states[-1]))
    return torch.stack(states[::-1])
