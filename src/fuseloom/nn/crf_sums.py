"""Sums over all paths of a linear chain: likelihoods, marginals, probabilities of parts of a path."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fuseloom.nn.crf_lattice import Chain, Lattice, lowest

__all__ = ["log_likelihood", "log_partition", "log_probability", "path_score", "tag_marginals"]

_Scores = Float[Tensor, "batch time tag"]
_Tags = Int[Tensor, "batch time"]
_Mask = Bool[Tensor, "batch time"]
_PerSequence = Float[Tensor, " batch"]


def log_likelihood(chain: Chain, emissions: _Scores, tags: _Tags, mask: _Mask | None = None) -> _PerSequence:
    """Logarithm of the probability of each path of tags; zero for an empty sequence.

    Args:
        chain: Scores of transitions.
        emissions: Scores of the tags, ``[B, T, K]``.
        tags: ``[B, T]``; what stands under False is not read.
        mask: ``[B, T]``, True on the first positions of each sequence; all by default.

    Returns:
        ``[B]``, in float32 at least. Its mean is pytorch-crf's ``mean``, its sum divided by that of the mask
        its ``token_mean``.
    """
    lattice = Lattice.of(chain, _centred(emissions), mask)
    return _path_score(lattice, tags) - _log_partition(lattice)


def path_score(chain: Chain, emissions: _Scores, tags: _Tags, mask: _Mask | None = None) -> _PerSequence:
    """Sum of all scores along each path of tags; zero for an empty sequence."""
    return _path_score(Lattice.of(chain, emissions, mask), tags)


def log_partition(chain: Chain, emissions: _Scores, mask: _Mask | None = None) -> _PerSequence:
    """Logarithm of the summed exponentials of the scores of all paths; zero for an empty sequence."""
    return _log_partition(Lattice.of(chain, emissions, mask))


def tag_marginals(chain: Chain, emissions: _Scores, mask: _Mask | None = None) -> _Scores:
    """Probability of each tag at each position, over all paths; zero where the mask is False."""
    lattice = Lattice.of(chain, _centred(emissions), mask)
    return _marginals(lattice, *_tables(lattice)).permute(2, 0, 1)


def log_probability(
    chain: Chain, emissions: _Scores, allowed: Bool[Tensor, "batch time tag"], mask: _Mask | None = None
) -> _PerSequence:
    """Logarithm of the probability that the tag at every position is one of those allowed there.

    With one tag allowed at each position of a segment, and all elsewhere, this is how sure the model is of
    that segment, whatever surrounds it; with all but the inside tag of its type behind it, how sure it is
    that it ends there.

    Args:
        chain: Scores of transitions.
        emissions: Scores of the tags, ``[B, T, K]``; repeat a sequence to ask several questions of it.
        allowed: ``[B, T, K]``.
        mask: ``[B, T]``; what is allowed under False is not read.

    Returns:
        ``[B]``, at most zero; near `lowest` where no path is left.
    """
    centred = _centred(emissions)
    left = centred.masked_fill(~allowed, lowest(centred.dtype))
    masks = None if mask is None else torch.cat([mask, mask])
    sums = log_partition(chain, torch.cat([left, centred]), masks).view(2, -1)
    return (sums[0] - sums[1]).clamp(max=0)  # rounding must not make more than certainty of what is certain


def _centred(emissions: Tensor) -> Tensor:
    """Scores beside the best tag's: probabilities are the same, and long sums keep their last digits."""
    wide = emissions.to(torch.promote_types(emissions.dtype, torch.float32))
    return wide - wide.detach().amax(-1, keepdim=True)


def _path_score(lattice: Lattice, tags: Tensor) -> Tensor:
    path = tags.T.masked_fill(~lattice.mask, 0)  # [T, B]
    emitted = lattice.emissions.gather(1, path[:, None]).sum((0, 1))
    moves = path[1:] * len(lattice.transitions) + path[:-1]
    moved = lattice.transitions.flatten().gather(0, moves.flatten()).view_as(moves)
    final = lattice.at_last(path[:, None])[0]
    ends = lattice.start[:, 0].gather(0, path[0]) + lattice.end[:, 0].gather(0, final)
    inner = moved.masked_fill(~lattice.mask[1:], 0).sum(0)
    return (ends + emitted + inner).masked_fill(~lattice.mask[0], 0)


def _log_partition(lattice: Lattice) -> Tensor:
    fields = lattice.start, lattice.transitions, lattice.end, lattice.emissions, lattice.mask
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        total: Tensor = _LogPartition.apply(*fields)
    else:
        total = _total(lattice, _prefix_sums(lattice))
    return total.masked_fill(~lattice.mask[0], 0)


def _prefix_sums(lattice: Lattice) -> Tensor:
    """Of all paths up to each step, by the tag that they have there, ``[T, K, ..., B]``.

    Behind the end of a sequence they go on, and mean nothing.
    """
    # Products of matrices joined two by two would take log2 T rounds, but K times the work: at 9 to 12 tags
    # and 64 to 128 steps, five to twelve times as long on a CPU.
    first, *others = lattice.emissions.unbind(0)
    states = [lattice.start + first]
    for scores in others:
        states.append(torch.logsumexp(states[-1] + lattice.transitions, 1) + scores)
    return torch.stack(states)


def _total(lattice: Lattice, prefixes: Tensor) -> Tensor:
    return torch.logsumexp(lattice.at_last(prefixes) + lattice.end, 0)


def _tables(lattice: Lattice) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the paths up to each tag and from it on, both with its own score, and of all paths."""
    # One recursion over both directions takes the steps, and little more than the time, of one direction.
    prefixes, suffixes = _prefix_sums(lattice.both_ways()).unbind(-2)
    return prefixes, lattice.turn(suffixes), _total(lattice, prefixes)


def _marginals(lattice: Lattice, prefixes: Tensor, suffixes: Tensor, total: Tensor) -> Tensor:
    """Of each tag, ``[T, K, B]``; zero under False."""
    logs = prefixes + (suffixes - lattice.emissions - total)
    return _probability_(logs.masked_fill(~lattice.mask[:, None], lowest(logs.dtype)))


def _moves(lattice: Lattice, prefixes: Tensor, suffixes: Tensor, total: Tensor) -> Tensor:
    """Expected number of each transition in a sequence, ``[K, K, B]``."""
    ends = (suffixes - total).masked_fill(~lattice.mask[:, None], lowest(total.dtype))
    logs = prefixes[:-1, None] + lattice.transitions
    return _probability_(logs.add_(ends[1:, :, None])).sum(0)


def _probability_(logs: Tensor) -> Tensor:
    """Of its logarithm, in place: over all pairs of tags, memory for each result is half the work."""
    # Where no path is allowed at all, scores are so low that their differences are nothing but rounding.
    return logs.clamp_(max=0).exp_()


class _LogPartition(torch.autograd.Function):
    """The logarithmic partition function, whose gradient is what the model expects: no step back in time."""

    @staticmethod
    def forward(ctx: Any, *fields: Tensor) -> Tensor:
        prefixes, suffixes, total = _tables(Lattice(*fields))
        ctx.save_for_backward(*fields, prefixes, suffixes, total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *fields, prefixes, suffixes, total = ctx.saved_tensors
        lattice = Lattice(*fields)
        if torch.is_grad_enabled():  # a second derivative is one of these sums, made of plain steps
            prefixes, suffixes, total = _tables(lattice)
        tags = _marginals(lattice, prefixes, suffixes, total) * gradient
        moves = None
        if ctx.needs_input_grad[1]:
            moves = (_moves(lattice, prefixes, suffixes, total) * gradient).sum(-1, keepdim=True)
        ends = lattice.at_last(tags).sum(-1, keepdim=True)
        return tags[0].sum(-1, keepdim=True), moves, ends, tags, None
