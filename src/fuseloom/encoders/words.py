"""Text as words: a token each, of the word's own embedding and its letters, among its neighbours."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.encoders._base import Encoder
from fuseloom.encoders._ends import check_choice, make_end
from fuseloom.encoders._shapes import check_shape
from fuseloom.encoders.text import hash_ngrams
from fuseloom.errors import OptionError
from fuseloom.nn import BidirectionalLstm, Dropout
from fuseloom.registry import register

__all__ = ["WordEncoder"]


@register("words")
class WordEncoder(Encoder):
    """A token for each word, small enough to be trained from nothing.

    A word is the embedding of its number and the sum of those of the n-grams of its letters (after Bojanowski
    et al., 2017, arXiv:1607.04606), so that a word that training did not know is still spelt. An LSTM reads
    the sentence from both ends (after Lample et al., 2016, arXiv:1603.01360), so that a word is what it is
    among the others.

    Args:
        num_words: Words that are known.
        dim: Width of the stream.
        output: ``tokens``, one per word, or ``pooled``, their mean and maximum in one vector.
        max_n: Longest n-gram, in bytes.
        num_buckets: Rows of the table of n-grams; two of them may share one.
        dropout: Probability of dropping a feature, and in training of not knowing a word.

    Shapes: words ``[B, W, 1 + L]`` (integers: the number, then letters, 0 behind the last) and their mask
    ``[B, W]`` to tokens ``[B, W, dim]`` and the same mask, or to ``[B, dim]``.

    Raises:
        OptionError: an unknown ``output``, or ``max_n`` or ``num_buckets`` below one.

    Example:
        >>> encoder = WordEncoder(9, dim=4)
        >>> encoder(torch.tensor([[[3, 2, 97, 3], [0, 2, 98, 3]]]))[0].shape
        torch.Size([1, 2, 4])
    """

    def __init__(
        self,
        num_words: int,
        *,
        dim: int = 64,
        output: Literal["pooled", "tokens"] = "tokens",
        max_n: int = 4,
        num_buckets: int = 16384,
        dropout: float = 0.2,
    ) -> None:
        check_choice("output", output, ("pooled", "tokens"))
        if min(max_n, num_buckets) < 1:
            raise OptionError(f"max_n and num_buckets must be at least 1, got {max_n} and {num_buckets}.")
        words = _Words(num_words, dim, max_n=max_n, num_buckets=num_buckets, dropout=dropout)
        half = -(-dim // 2)
        end = make_end(output, 2 * half, dim, dropout=dropout)
        super().__init__([words, _Sentence(dim, half), end], [dim, 2 * half, dim])


class _Words(nn.Module):
    def __init__(self, num_words: int, dim: int, *, max_n: int, num_buckets: int, dropout: float) -> None:
        super().__init__()
        self.max_n, self.p = max_n, dropout
        self.known = nn.Embedding(1 + num_words, dim)
        self.spelt = nn.Embedding(num_buckets, dim)
        nn.init.normal_(self.spelt.weight, std=max_n**-0.5)
        self.rest = nn.Sequential(nn.LayerNorm(dim), Dropout(dropout))

    def forward(self, words: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_shape(words, "B", "W", "1 + L")
        words = words if mask is None else words.masked_fill(~mask[..., None], 0)
        numbers, letters = words[..., 0].long(), words[..., 1:].flatten(0, 1)  # [B, W], [B * W, L]
        if self.training:
            numbers = numbers.masked_fill(torch.rand(numbers.shape, device=numbers.device) < self.p, 0)
        buckets, real = hash_ngrams(letters, letters > 0, self.max_n, self.spelt.num_embeddings)
        weights = real.flatten(1).to(self.spelt.weight.dtype)
        summed = F.embedding_bag(
            buckets.flatten(1), self.spelt.weight, per_sample_weights=weights, mode="sum"
        )
        count = (letters > 0).sum(1, keepdim=True).clamp(min=1)
        spelt = (summed / count.to(summed.dtype).sqrt()).view(*numbers.shape, -1)
        return self.rest(self.known(numbers) + spelt), mask


class _Sentence(nn.Module):
    def __init__(self, dim: int, half: int) -> None:
        super().__init__()
        self.lstm = BidirectionalLstm(dim, half)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.lstm(tokens, mask), mask
