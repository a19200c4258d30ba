"""MuSE whole: encoders, class tokens, the transformer that exchanges, and a head for words or for rows."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.exchange import Exchange
from fuseloom.heads import PositionHead
from fuseloom.merge.concat import Concat
from fuseloom.models.anchor import Anchor, Context
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse.decoders import GenerativeLosses
from fuseloom.models.muse.transformer import muse_transformer
from fuseloom.nn.class_token import ClassToken

__all__ = ["first_token", "muse", "without_decoders"]

_SPREAD = math.sqrt(2)
_PREFIX = 1


def muse(
    encoders: Mapping[str, Encoder],
    head: nn.Module,
    *,
    dim: int | None = None,
    anchor: str = "text",
    context: Context = "attention",
    context_heads: int = 1,
    decoders: Exchange | None = None,
    **options: Any,
) -> FusionModel:
    """The whole of MuSE around encoders that end in tokens of one width.

    Each stream gets a class token before it and runs through one transformer, which exchanges in some of its
    layers. A head of positions, such as `TaggingHead`, reads each token of the ``anchor`` beside what it
    attends to in the others; any other head the class tokens. Both through one linear map.

    Paper: Zhu et al., 2023, arXiv:2309.02190. Differs from the official code: masks reach the transformer,
    the means and the quantiles, and words need not be as many as patches; there ``context`` is ``index``,
    and padding is as real as all else.

    Args:
        encoders: Modality name -> encoder; each is extended by a class token.
        head: For fused values ``dim`` wide.
        dim: Width of the fused value; by default that of the streams.
        anchor: Whose positions a head of positions reads.
        context: How others come to them, see `Anchor`.
        context_heads: Of the attention by which they do.
        decoders: `GenerativeLosses` with ``prefix=1``, for training.
        options: Those of `muse_transformer`, such as ``theta`` and ``layers``.

    Raises:
        ModalityError: streams of other widths.

    Example:
        >>> import torch
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> from fuseloom.heads import LinearHead, TaggingHead
        >>> from functools import partial
        >>> from fuseloom.nn import PostNormBlock
        >>> encoders = {"text": IdentityEncoder(8), "image": IdentityEncoder(8)}
        >>> model = muse(encoders, TaggingHead(8, 3), block=partial(PostNormBlock, num_heads=2))
        >>> model({"text": torch.ones(2, 5, 8), "image": torch.ones(2, 9, 8)}).shape
        torch.Size([2, 10, 4])
    """
    for encoder in encoders.values():
        encoder.extend(ClassToken(encoder.dims[-1], std=_SPREAD), encoder.dims[-1])
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    behind = [muse_transformer(dims, **options)]
    tags = isinstance(head, PositionHead)
    return FusionModel(
        encoders,
        Concat(dims, dim, pool=None if tags else first_token),
        head,
        exchanges={-1: behind if decoders is None else [decoders, *behind]},
        anchor=Anchor(dims, anchor, context=context, num_heads=context_heads, prefix=_PREFIX)
        if tags
        else None,
    )


def without_decoders(model: FusionModel) -> FusionModel:
    """The same model, of the same weights, without the decoders that only training needs.

    Args:
        model: What `muse` or `official_muse` built.
    """
    kept = [part for part in model.exchanges.values() if not isinstance(part, GenerativeLosses)]
    behind = [part for part in kept if isinstance(part, Exchange)]
    encoders = {name: part for name, part in model.encoders.items() if isinstance(part, Encoder)}
    return FusionModel(encoders, model.merge, model.head, exchanges={-1: behind}, anchor=model.anchor)


def first_token(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The first of the tokens ``[B, N, D]``, which is zero where it is masked."""
    return tokens[:, 0]
