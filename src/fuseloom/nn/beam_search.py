"""Sequences from a model that tells the next token: the likeliest, by beam search, or samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from fuseloom.errors import OptionError

__all__ = ["Next", "Sequences", "Step", "Stop", "beam_search", "sample_sequences"]


class Next(NamedTuple):
    """What a model says after a token."""

    logits: Tensor
    """Of the next token, ``[B, W, V]``; ``-inf`` where it must not follow."""
    state: tuple[Tensor, ...]
    """What the model remembers, each ``[B, W, ...]``."""
    record: Tensor
    """What is kept of the step beside its token, ``[B, W, ...]``."""


Step = Callable[[Tensor, tuple[Tensor, ...]], Next]
"""The last tokens ``[B, W]`` of ``W`` sequences per sample, and the state, to what follows."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Where sequences end: at a token, or after so many.

    Raises:
        OptionError: no token is allowed.
    """

    end: int
    """The token that ends a sequence, and counts."""
    max_length: int
    early: bool = True
    """Whether to stop once all have ended, for which every step reads one value back to Python."""

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise OptionError(f"max_length must be at least 1, got {self.max_length}.")


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """``W`` sequences for each of ``B`` samples."""

    tokens: Tensor
    """``[B, W, T]``; behind its end a sequence repeats the token that ended it."""
    mask: Tensor
    """``[B, W, T]``, True up to the end; nowhere, if there are fewer than ``W`` sequences."""
    scores: Tensor
    """``[B, W]``; ``-inf`` where there is no sequence."""
    records: Tensor
    """What was recorded at each token, ``[B, W, T, ...]``, zero where the mask is False."""


@torch.no_grad()
def beam_search(
    step: Step,
    state: Sequence[Tensor],
    start: Int[Tensor, " batch"],
    stop: Stop,
    *,
    width: int,
    length_penalty: float = 0.0,
) -> Sequences:
    r"""The likeliest sequences, best first, among those whose beginnings were always among the likeliest.

    .. math:: \mathrm{score}(y) = |y|^{-\lambda} \sum_t \log p(y_t \mid y_{<t})

    Sequences that have ended keep their place in the beam as long as their score is among the best. A width
    of one is greedy; one of at least the number of all sequences finds the best for certain.

    Args:
        step: The model.
        state: Its state before the first token, each ``[B, ...]``.
        start: The token that is given first, and is no part of the sequences.
        stop: Where sequences end.
        width: ``W``, how many sequences are followed and returned.
        length_penalty: ``lambda``. At zero sequences are ranked by their probability, which favours short
            ones; at one by the mean over their tokens.

    Raises:
        OptionError: no width.

    Example:
        >>> heads = torch.tensor([0.4, 0.6]).log()
        >>> def toss(tokens, state):
        ...     return Next(heads.expand(*tokens.shape, 2), state, tokens)
        >>> found = beam_search(toss, (), torch.tensor([0]), Stop(end=1, max_length=3), width=2)
        >>> found.tokens.tolist(), found.scores.exp()
        ([[[1, 1], [0, 1]]], tensor([[0.6000, 0.2400]]))
    """
    if width < 1:
        raise OptionError(f"width must be at least 1, got {width}.")
    tokens, memory = _spread(start, state, width)
    # All beams begin alike, so only one of them goes on: none is found twice.
    first = torch.arange(width, device=start.device) == 0
    total = torch.zeros(tokens.shape, device=start.device).masked_fill(~first, -torch.inf)
    scores, ended, length = total, torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(total)
    moves: list[_Move] = []
    for _ in range(stop.max_length):
        following = step(tokens, memory)
        gains, words = _candidates(following.logits, ended, width, stop.end)
        length = length + ~ended
        totals = total[..., None] + gains  # [B, W, candidates]
        ranks = totals / length[..., None] ** length_penalty
        scores, best = ranks.flatten(1).topk(width)
        tokens, total = words.flatten(1).gather(1, best), totals.flatten(1).gather(1, best)
        parent = best // words.shape[-1]
        ended, length = ended.gather(1, parent) | (tokens == stop.end), length.gather(1, parent)
        memory = tuple(_take(one, parent) for one in following.state)
        moves.append(_Move(tokens, parent, following.record))
        if stop.early and bool((ended | scores.isneginf()).all()):
            break
    return _trace_back(moves, scores, stop.end)


@torch.no_grad()
def sample_sequences(
    step: Step,
    state: Sequence[Tensor],
    start: Int[Tensor, " batch"],
    stop: Stop,
    *,
    count: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Sequences:
    """Sequences drawn token by token from the softmax of the logits over the temperature.

    Args:
        step: The model.
        state: Its state before the first token, each ``[B, ...]``.
        start: The token that is given first, and is no part of the sequences.
        stop: Where sequences end.
        count: ``W``, how many are drawn for each sample.
        temperature: Below one the likelier tokens come even more often.
        generator: Of the device of ``start``.

    Returns:
        The sequences in the order drawn; their scores are the log-probabilities at a temperature of one.

    Raises:
        OptionError: nothing to draw, or no temperature.
    """
    if count < 1 or not temperature > 0:
        raise OptionError(
            f"count must be at least 1 and temperature above 0, got {count} and {temperature}. "
            "The likeliest token at each step is that of beam_search with a width of 1."
        )
    tokens, memory = _spread(start, state, count)
    ended = torch.zeros_like(tokens, dtype=torch.bool)
    scores = torch.zeros(tokens.shape, device=start.device)
    same = torch.arange(count, device=start.device).expand_as(tokens)
    moves: list[_Move] = []
    for _ in range(stop.max_length):
        following = step(tokens, memory)
        log_prob = _log_softmax(following.logits)
        drawn = _draw(log_prob / temperature, generator)
        scores = scores + log_prob.gather(-1, drawn[..., None])[..., 0].masked_fill(ended, 0)
        tokens = drawn.masked_fill(ended, stop.end)
        ended, memory = tokens == stop.end, following.state
        moves.append(_Move(tokens, same, following.record))
        if stop.early and bool(ended.all()):
            break
    return _trace_back(moves, scores, stop.end)


class _Move(NamedTuple):
    """One step of all beams: the tokens it chose, the beams they extend, and what those beams recorded."""

    tokens: Tensor
    parent: Tensor
    record: Tensor


def _spread(start: Tensor, state: Sequence[Tensor], width: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The first token and the state for each of ``width`` sequences."""
    spread = [one[:, None].expand(-1, width, *one.shape[1:]) for one in (start, *state)]
    return spread[0], tuple(spread[1:])


def _candidates(logits: Tensor, ended: Tensor, width: int, end: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities and tokens that may extend each beam, as many as could be among the best of all.

    What has ended is extended by one candidate for free, by no other.
    """
    gains, words = _log_softmax(logits).topk(min(width, logits.shape[-1]))
    free = torch.full_like(gains[0, 0], -torch.inf)
    free[0] = 0
    return torch.where(ended[..., None], free, gains), words.masked_fill(ended[..., None], end)


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _draw(scores: Tensor, generator: torch.Generator | None) -> Tensor:
    drawn = torch.multinomial(scores.softmax(-1).flatten(0, 1), 1, generator=generator)
    return drawn.view(scores.shape[:-1])


def _take(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, w]]`` of ``[B, W, ...]``."""
    return values[torch.arange(values.shape[0], device=values.device)[:, None], index]


def _trace_back(moves: Sequence[_Move], scores: Tensor, end: int) -> Sequences:
    """The sequences that end in the beams, read from their last token to their first."""
    beam = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    words, records = [], []
    for move in reversed(moves):
        words.append(move.tokens.gather(1, beam))
        beam = move.parent.gather(1, beam)
        records.append(_take(move.record, beam))
    tokens, record = (torch.stack(found[::-1], 2) for found in (words, records))
    ends = (tokens == end).long()
    mask = (ends.cumsum(2) == ends) & ~scores.isneginf()[..., None]
    hidden = ~mask.view(*mask.shape, *[1] * (record.ndim - 3))
    tokens, record = tokens.masked_fill(~mask, end), record.masked_fill(hidden, 0)
    return Sequences(tokens=tokens, mask=mask, scores=scores, records=record)
