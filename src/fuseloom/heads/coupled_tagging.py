"""A tagger that is coupled with one of spans, which reads the text alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.heads._base import PositionHead
from fuseloom.nn import Dropout
from fuseloom.nn.crf import LinearChainCrf
from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_packing import pack_chain
from fuseloom.types import Trace

__all__ = ["CoupledTaggingHead"]


class CoupledTaggingHead(PositionHead):
    r"""A linear layer and a CRF over fused positions, and beside them a linear layer and a CRF for spans.

    Spans are tags without their types, such as ``B``, ``I`` and ``O``. They are told from the text alone, and
    what they score passes into the scores of the tags:

    .. math:: x_n = (1 - s)\,(W h_n + b) + s\, C^\top (V r_n + c)

    ``h`` is the fused value and ``r`` the part of it that is text. ``C`` is learnt, and starts as the scheme
    says: ``B`` goes to every ``B-`` tag in equal shares, ``I`` to every ``I-`` tag, ``O`` to ``O``. The best
    path is that of the tags' CRF.

    In training the spans are a prediction of their own in the trace, spread evenly over the types. Its loss
    is that of the spans' CRF and a constant, the logarithm of how many tags each span tag stands for.

    Paper: after Yu et al., 2020, Improving Multimodal Named Entity Recognition via Entity Span Detection with
    Unified Multimodal Transformer. Not compared with the authors' code.

    Args:
        dim: Width of the fused value.
        tags: Names of the tags, in the order of the outputs.
        text_dim: How many of the first features of a fused value are those of the text alone.
        share: ``s``, of the spans in the scores of the tags.
        weight: How much the loss of the spans counts beside that of the tags.
        dropout: Probability of dropping a feature of the fused value.

    Shapes: ``[B, N, dim]`` and mask ``[B, N]`` to packed chains ``[B, K + 2 + N, K + 1]``, see
    `fuseloom.nn.crf_packing.pack_chain`.

    Raises:
        OptionError: no tag, ``text_dim`` that is no part of ``dim``, or a share or weight out of its range.

    Example:
        >>> head = CoupledTaggingHead(6, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], text_dim=4)
        >>> head.spans, head.conversion.tolist()[1]
        (('O', 'B', 'I'), [0.0, 0.5, 0.0, 0.5, 0.0])
        >>> head(torch.ones(2, 3, 6)).shape
        torch.Size([2, 10, 6])
    """

    span_of: Tensor
    spread: Tensor

    def __init__(
        self,
        dim: int,
        tags: Sequence[str],
        *,
        text_dim: int,
        share: float = 0.5,
        weight: float = 0.5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not tags:
            raise OptionError("tags must be one at least, got none.")
        if not 1 <= text_dim <= dim:
            raise OptionError(f"text_dim must be in [1, {dim}], got {text_dim}.")
        if not 0 <= share <= 1:
            raise OptionError(f"share must be in [0, 1], got {share}.")
        if weight < 0:
            raise OptionError(f"weight must be at least 0, got {weight}.")
        self.text_dim, self.share, self.weight = text_dim, share, weight
        letters = [tag.partition("-")[0] for tag in tags]
        self.spans = tuple(dict.fromkeys(letters))
        """Span tags, in the order in which they are met."""
        span_of = torch.tensor([self.spans.index(letter) for letter in letters])
        self.register_buffer("span_of", span_of, persistent=False)
        self.dropout = Dropout(dropout)
        self.linear, self.crf = nn.Linear(dim, len(tags)), LinearChainCrf(len(tags))
        self.span_linear, self.span_crf = (
            nn.Linear(text_dim, len(self.spans)),
            LinearChainCrf(len(self.spans)),
        )
        stands_for = F.one_hot(span_of, len(self.spans)).float().T  # [spans, K]
        shares = stands_for / stands_for.sum(1, keepdim=True)
        self.conversion = nn.Parameter(shares)
        self.register_buffer("spread", shares.sum(0).log(), persistent=False)

    def forward(self, fused: Tensor, mask: Tensor | None = None, *, trace: Trace | None = None) -> Tensor:
        """Packed chains of fused values and their mask; a prediction ``spans`` in the trace."""
        fused = self.dropout(fused)
        spans = self.span_linear(fused[..., : self.text_dim])
        if trace is not None:
            trace.prediction("spans", self._spread(spans, mask), weight=self.weight)
        scores = (1 - self.share) * self.linear(fused) + self.share * (spans @ self.conversion)
        return pack_chain(self.crf.chain(), scores, mask)

    def _spread(self, spans: Tensor, mask: Tensor | None) -> Tensor:
        """Chains of tags as probable as their span tags say, whatever their types."""
        chain, at = self.span_crf.chain(), self.span_of
        of_tags = Chain(start=chain.start[at], transitions=chain.transitions[at][:, at], end=chain.end[at])
        return pack_chain(of_tags, spans[..., at] + self.spread, mask)
