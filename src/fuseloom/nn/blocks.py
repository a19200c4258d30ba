"""Transformer encoder blocks in steps, so that something may happen between them."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn.attention import attend
from fuseloom.nn.dropout import Dropout
from fuseloom.nn.transformer import divisible_width

__all__ = ["Attended", "EncoderBlock", "PostNormBlock", "PreNormBlock"]


class Attended(NamedTuple):
    """What attention gives, and the queries and keys that it compared."""

    update: Tensor
    """``[B, N, D]``, to be added to the tokens."""
    query: Tensor
    """``[B, N, D]``."""
    key: Tensor
    """``[B, N, D]``."""


class EncoderBlock(nn.Module, ABC):
    """Self-attention and a feedforward map, as three steps over tokens ``[B, N, D]``.

    ``attend`` gives an update, which the caller adds; ``normalise`` gives what stands between the two halves;
    ``feed`` ends the block::

        attended = block.attend(tokens, mask)
        tokens = tokens + attended.update
        tokens = block.feed(tokens, block.normalise(tokens))

    Args:
        dim: Width of the tokens.
        num_heads: Attention heads; must divide ``dim``.
        hidden: Width of the feedforward map; four times ``dim`` by default.
        dropout: Probability of dropping an attention weight, a hidden feature or a feature of an update.

    Raises:
        OptionError: heads that do not divide ``dim``, ``hidden`` below one, or ``dropout`` outside [0, 1).
    """

    closing: ClassVar[type[nn.Module]]
    """The norm that belongs behind a stack of such blocks, built from their width."""

    def __init__(
        self, dim: int, *, num_heads: int = 1, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        width = 4 * dim if hidden is None else hidden
        if divisible_width(dim, num_heads) != dim:
            raise OptionError(f"dim must be a multiple of num_heads={num_heads}, got {dim}.")
        if width < 1:
            raise OptionError(f"hidden must be at least 1, got {width}.")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        self.num_heads, self.weight_dropout = num_heads, dropout
        self.qkv, self.out = _linear(dim, 3 * dim), _linear(dim, dim)
        # Half of a ReLU's inputs come out as zero, so twice the variance keeps the size.
        self.up, self.down = _linear(dim, width), _linear(width, dim, gain=math.sqrt(2))
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    @abstractmethod
    def attend(self, tokens: Tensor, mask: Tensor | None) -> Attended:
        """The update that attention makes, over the keys that a mask ``[B, N]`` keeps."""

    @abstractmethod
    def normalise(self, tokens: Tensor) -> Tensor:
        """Tokens with their update to what the feedforward map reads."""

    @abstractmethod
    def feed(self, tokens: Tensor, normal: Tensor) -> Tensor:
        """What `normalise` was given and what it gave, to the tokens behind the block."""

    def _attend(self, tokens: Tensor, mask: Tensor | None) -> Attended:
        query, key, value = self.qkv(tokens).chunk(3, -1)
        dropout = self.weight_dropout if self.training else 0.0
        mixed = attend(query, key, value, num_heads=self.num_heads, mask=mask, dropout=dropout)
        return Attended(self.dropout(self.out(mixed)), query, key)

    def _feedforward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.down(self.dropout(self.up(tokens).relu())))
        return out


class PreNormBlock(EncoderBlock):
    r"""Each half reads normalised tokens and adds to the tokens as they are; a stack of it ends with a norm.

    .. math:: h = x + \mathrm{Attention}(\mathrm{norm}_1(x)), \quad y = h + \mathrm{MLP}(\mathrm{norm}_2(h))

    Arguments and errors are those of `EncoderBlock`.

    Example:
        >>> import torch
        >>> block, x = PreNormBlock(8, num_heads=2), torch.ones(2, 5, 8)
        >>> x = x + block.attend(x, None).update
        >>> block.feed(x, block.normalise(x)).shape
        torch.Size([2, 5, 8])
    """

    closing = nn.LayerNorm

    def attend(self, tokens: Tensor, mask: Tensor | None) -> Attended:
        """Self-attention of the normalised tokens."""
        return self._attend(self.attention_norm(tokens), mask)

    def normalise(self, tokens: Tensor) -> Tensor:
        """A normalised copy of the tokens."""
        out: Tensor = self.feedforward_norm(tokens)
        return out

    def feed(self, tokens: Tensor, normal: Tensor) -> Tensor:
        """The tokens plus the feedforward map of their normalised copy."""
        return tokens + self._feedforward(normal)


class PostNormBlock(EncoderBlock):
    r"""Each half is normalised once it has been added, as in the first transformer and in BERT.

    .. math:: h = \mathrm{norm}_1(x + \mathrm{Attention}(x)), \quad y = \mathrm{norm}_2(h + \mathrm{MLP}(h))

    Arguments and errors are those of `EncoderBlock`.

    Example:
        >>> import torch
        >>> block, x = PostNormBlock(8, num_heads=2), torch.ones(2, 5, 8)
        >>> x = x + block.attend(x, None).update
        >>> block.feed(x, block.normalise(x)).shape
        torch.Size([2, 5, 8])
    """

    closing = nn.Identity

    def attend(self, tokens: Tensor, mask: Tensor | None) -> Attended:
        """Self-attention of the tokens as they are."""
        return self._attend(tokens, mask)

    def normalise(self, tokens: Tensor) -> Tensor:
        """The tokens themselves, normalised."""
        out: Tensor = self.attention_norm(tokens)
        return out

    def feed(self, tokens: Tensor, normal: Tensor) -> Tensor:
        """The normalised tokens plus their feedforward map, normalised again."""
        out: Tensor = self.feedforward_norm(normal + self._feedforward(normal))
        return out


def _linear(inner: int, outer: int, *, gain: float = 1.0) -> nn.Linear:
    linear = nn.Linear(inner, outer)
    nn.init.normal_(linear.weight, std=gain / math.sqrt(inner))
    nn.init.zeros_(linear.bias)
    return linear
