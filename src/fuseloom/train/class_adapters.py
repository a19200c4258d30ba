"""Attention with a class token of several libraries, as RollingQ reads and turns it."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fuseloom.errors import OptionError
from fuseloom.merge.attention_pool import AttentionPool
from fuseloom.train.class_attention import (
    Attending,
    ClassAttention,
    PooledAttention,
    ProjectedAttention,
    Projection,
)

__all__ = ["adapt", "find_class_attention"]


def adapt(layer: nn.Module, tokens: Mapping[str, slice] | None = None) -> ClassAttention:
    """Adapt an attention with a class token.

    Args:
        layer: `AttentionPool`, ``torch.nn.MultiheadAttention``, timm's ``Attention`` without a norm of
            queries, or the attention of Hugging Face's ViT or BERT. The class token is the first that asks.
        tokens: Modality -> where its tokens stand, its own class token among them; needed of all but
            `AttentionPool`, which knows. Padding is what the layer's own mask hides.

    Raises:
        OptionError: another layer, or ``tokens`` are missing or not wanted.

    Example:
        >>> layer = nn.MultiheadAttention(4, 2, batch_first=True)
        >>> attention = adapt(layer, {"text": slice(1, 4), "image": slice(4, None)})
        >>> x = torch.ones(5, 9, 4)
        >>> with attention.reading() as readings:
        ...     _ = layer(x, x, x)
        >>> readings[0].keys["image"].shape
        torch.Size([5, 2, 2])
    """
    if isinstance(layer, AttentionPool):
        if tokens is not None:
            raise OptionError("tokens must be None for an AttentionPool, which knows them, got some.")
        return PooledAttention(layer, layer.query, num_heads=layer.num_heads)
    # torch makes a class of its own for a layer that is parametrised, such as one whose query is turned.
    own = type(layer).__mro__[1] if is_parametrized(layer) else type(layer)
    kind = f"{own.__module__}.{own.__qualname__}"
    if kind not in _ADAPTERS:
        raise OptionError(
            f"layer must be an AttentionPool or one of {sorted(_ADAPTERS)}, got {kind}. Write a "
            "ProjectedAttention for it, or a ClassAttention of your own."
        )
    if not tokens:
        raise OptionError(f"tokens must say where those of each modality stand, got {tokens!r}.")
    return _ADAPTERS[kind](layer, tokens)


def find_class_attention(model: nn.Module) -> ClassAttention:
    """The `AttentionPool` of a model, adapted.

    Raises:
        OptionError: there is none, or several.
    """
    found = [part for part in model.modules() if isinstance(part, AttentionPool)]
    if len(found) != 1:
        raise OptionError(
            f"model must have one AttentionPool, got {len(found)}. Say which attention is meant: "
            "find=lambda model: adapt(...)."
        )
    return adapt(found[0])


def _torch(layer: nn.Module, tokens: Mapping[str, slice]) -> ProjectedAttention:
    attention = cast(nn.MultiheadAttention, layer)
    width, joint = attention.embed_dim, attention.in_proj_weight is not None
    weights = ("in_proj_weight", "in_proj_weight") if joint else ("q_proj_weight", "k_proj_weight")
    query, key = (
        Projection(
            layer=layer,
            start=place * width if joint else 0,
            bias_start=place * width,
            weight=name,
            bias="in_proj_bias",
        )
        for place, name in enumerate(weights)
    )
    return ProjectedAttention(
        layer,
        tokens,
        query=query,
        key=key,
        num_heads=attention.num_heads,
        head_dim=attention.head_dim,
        given=lambda options: _given_to_torch(options, batch_first=attention.batch_first),
    )


def _given_to_torch(options: Mapping[str, Any], *, batch_first: bool) -> Attending:
    given = (options[name] for name in ("query", "key"))
    asking, asked = (tokens if batch_first else tokens.transpose(0, 1) for tokens in given)
    padded = options["key_padding_mask"]
    return Attending(asking=asking, asked=asked, mask=None if padded is None else ~_hidden(padded))


def _hidden(mask: Tensor) -> Tensor:
    """True where a mask of torch's attention, a bool or what is added to scores, hides a token."""
    return mask if mask.dtype == torch.bool else mask <= torch.finfo(mask.dtype).min / 2


def _timm(layer: nn.Module, tokens: Mapping[str, slice]) -> ProjectedAttention:
    attention = cast(Any, layer)
    if not isinstance(attention.q_norm, nn.Identity):
        raise OptionError(
            "layer must compare queries as they are projected, got a timm Attention with qk_norm, which "
            "normalises them behind a rotation."
        )
    query, key = (
        Projection(layer=attention.qkv, start=start, bias_start=start) for start in (0, attention.attn_dim)
    )
    return ProjectedAttention(
        layer,
        tokens,
        query=query,
        key=key,
        num_heads=attention.num_heads,
        head_dim=attention.head_dim,
        given=lambda options: _given_to_self(options["x"], options["attn_mask"]),
    )


def _hugging_face(query: str, key: str) -> Callable[[nn.Module, Mapping[str, slice]], ProjectedAttention]:
    def adapted(layer: nn.Module, tokens: Mapping[str, slice]) -> ProjectedAttention:
        makes = layer.get_submodule(query)
        heads = cast(int, layer.num_attention_heads)
        return ProjectedAttention(
            layer,
            tokens,
            query=Projection(layer=makes),
            key=Projection(layer=layer.get_submodule(key)),
            num_heads=heads,
            head_dim=cast(nn.Linear, makes).out_features // heads,
            given=lambda options: _given_to_self(options["hidden_states"], options["attention_mask"]),
        )

    return adapted


def _given_to_self(tokens: Tensor, mask: Tensor | None) -> Attending:
    """What self-attention is given; its mask ``[.., Nq, N]`` keeps where True, or is added to scores."""
    if mask is None:
        return Attending(asking=tokens, asked=tokens, mask=None)
    kept = mask if mask.dtype == torch.bool else ~_hidden(mask)
    rows = kept.reshape(-1, *kept.shape[-2:])  # of all heads, which are alike
    return Attending(asking=tokens, asked=tokens, mask=_of_class_token(rows, len(tokens)))


def _of_class_token(kept: Tensor, rows: int) -> Tensor:
    """``[B H, Nq, N]``, or of one for all, to ``[B, N]``."""
    return kept[:: max(1, len(kept) // rows), 0].expand(rows, -1)


_ADAPTERS: Mapping[str, Callable[[nn.Module, Mapping[str, slice]], ProjectedAttention]] = {
    "torch.nn.modules.activation.MultiheadAttention": _torch,
    "timm.layers.attention.Attention": _timm,
    "transformers.models.vit.modeling_vit.ViTAttention": _hugging_face("q_proj", "k_proj"),
    "transformers.models.bert.modeling_bert.BertSelfAttention": _hugging_face("query", "key"),
}
"""Class -> its adapter; by name, so that no library is imported for it."""
