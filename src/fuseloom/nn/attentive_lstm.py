"""An LSTM that looks at tokens before every step."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.nn.masked import masked_softmax

__all__ = ["Memory", "attentive_lstm", "attentive_step"]


class Memory(NamedTuple):
    """What is looked at, and the weights of a step, all of one dtype."""

    tokens: Tensor
    """``[B, P, D]``, zero where the mask is False."""
    keys: Tensor
    """What tokens are compared by, ``[B, P, A]``."""
    score: Tensor
    """Weight of the comparison, ``[A]``."""
    hidden_weight: Tensor
    """``[A + D + 4H, H]``: of the query, of the gate of what is seen, and of the LSTM's own gates."""
    hidden_bias: Tensor
    """``[A + D + 4H]``."""
    seen_weight: Tensor
    """``[4H, D]``, of the LSTM's gates."""
    mask: Tensor | None = None
    """``[B, P]``, True = real."""


def attentive_step(
    memory: Memory,
    inputs: Float[Tensor, "batch sequence gate"],
    hidden: Float[Tensor, "batch sequence hidden"],
    cell: Float[Tensor, "batch sequence hidden"],
) -> tuple[
    Float[Tensor, "batch sequence hidden"],
    Float[Tensor, "batch sequence hidden"],
    Float[Tensor, "batch sequence token"],
]:
    r"""One step of ``W`` sequences per sample, each with a look of its own.

    .. math::

        \alpha &= \mathrm{softmax}_p\, w^\top \mathrm{relu}(k_p + W_q h) \\
        (h', c') &= \mathrm{LSTM}(u + W_v (\sigma(W_g h) \odot \textstyle\sum_p \alpha_p x_p), h, c)

    Args:
        memory: Tokens ``x``, keys ``k`` and weights.
        inputs: What else goes to the gates of the LSTM, ``u``, ``[B, W, 4H]``.
        hidden: ``[B, W, H]``.
        cell: ``[B, W, H]``.

    Returns:
        Hidden state, cell, and attention ``[B, W, P]``; the latter two in float32 at least.
    """
    sizes = [memory.keys.shape[-1], memory.tokens.shape[-1], inputs.shape[-1]]
    joined = F.linear(hidden, memory.hidden_weight, memory.hidden_bias)
    query, gate, recurrent = joined.split_with_sizes(sizes, -1)
    compared = (memory.keys[:, None] + query[..., None, :]).relu_()  # [B, W, P, A]
    mask = None if memory.mask is None else memory.mask[:, None]
    attention = masked_softmax(_wide(compared @ memory.score), mask)
    seen = gate.sigmoid() * (attention.to(memory.tokens.dtype) @ memory.tokens)
    gates = _wide(inputs + recurrent + F.linear(seen, memory.seen_weight))
    into, keep, new, out = gates.chunk(4, -1)
    cell = keep.sigmoid() * cell + into.sigmoid() * new.tanh()
    return (out.sigmoid() * cell.tanh()).to(inputs.dtype), cell, attention


def attentive_lstm(
    memory: Memory,
    inputs: Float[Tensor, "batch step gate"],
    hidden: Float[Tensor, "batch hidden"],
    cell: Float[Tensor, "batch hidden"],
) -> tuple[Float[Tensor, "batch step hidden"], Float[Tensor, "batch step token"]]:
    """`attentive_step` for each of ``T`` inputs.

    Args:
        memory: What is looked at.
        inputs: ``[B, T, 4H]``.
        hidden: Before the first step, ``[B, H]``.
        cell: ``[B, H]``.

    Returns:
        Hidden states ``[B, T, H]`` behind the steps, and their attention ``[B, T, P]``.
    """
    hidden, cell = hidden[:, None], cell[:, None]
    states, looks = [], []
    # Measured: with the gradient written out, so that those of weights are one product over all steps, a
    # training step of a captioner takes a tenth less. That is not worth a hundred lines.
    for each in torch.split(inputs, 1, 1):
        hidden, cell, attention = attentive_step(memory, each, hidden, cell)
        states.append(hidden)
        looks.append(attention)
    return torch.cat(states, 1), torch.cat(looks, 1)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
