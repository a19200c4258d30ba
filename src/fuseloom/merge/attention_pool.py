"""Attention pooling: a learned class token attends over the tokens of all modalities."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge
from fuseloom.nn import linear_each, masked_mean, masked_softmax
from fuseloom.nn.attention_records import record_keys, record_owners
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["AttentionPool", "convert_attention_pool"]


@register("attention_pool")
class AttentionPool(Merge):
    r"""A class token ``c`` attends over itself and the embedded tokens of all modalities.

    .. math:: z = W^O \sum_{n} a_n W^V e_n, \quad
        a = \mathrm{softmax}_n \frac{\langle W^Q c, W^K e_n \rangle}{\sqrt{d}}, \quad
        e_0 = c, \; e_n = E_m x_n + b_m \text{ for a token of modality } m

    Each head has its own ``W^Q``, ``W^K`` and ``W^V``; all maps but the keys' have a bias, that of ``E_m``
    tells modality ``m`` from the others. An embedding is one token, a feature map one token per pixel. Absent
    tokens get no weight; a sample without any gives the class token's own value.

    The query is the same for every sample, so neither keys nor values of single tokens are made: the query is
    moved to the keys' side of each map, and tokens are summed before they are mapped.

    Paper: the fusion layer of RollingQ, ICML 2025, arXiv:2506.11465, before any rotation. Differs from the
    official code: there tokens enter as they are, each head is as wide as the layer, and dropout is applied
    to the weights and the output; here each modality has a linear map of its own, and heads share the width.
    ``faithful`` restores the official heads, and the bias of the keys, which no output depends on.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        num_heads: ``H``, heads of width ``dim / H``, rounded up.
        faithful: Heads of width ``dim`` each and a bias of the keys, for official weights.

    Raises:
        OptionError: fewer than one head.

    Records:
        ``attention``: weights ``[B, H, 1 + N]``, first the class token's, then those of all tokens in the
        order of ``dims``, pixels row by row; ``mass``: their sums ``[B, H, 1 + M]``, first the class token's;
        ``attention.of.<modality>``, ``attention.query`` and ``attention.key.<modality>``: as `record_owners`
        and `record_keys` say.

    Example:
        >>> merge = AttentionPool({"text": 6, "audio": 4}, dim=8, num_heads=2)
        >>> trace = Trace()
        >>> streams = {"text": torch.ones(1, 3, 6), "audio": torch.ones(1, 4)}
        >>> fused = merge(streams, {"text": torch.tensor([[True, False, False]])}, trace=trace)
        >>> trace.records["attention"].bool()
        tensor([[[ True,  True, False, False,  True],
                 [ True,  True, False, False,  True]]])
    """

    card = Card(
        summary="A class token attends over the tokens of all modalities (attention pooling).",
        interaction="nonlinear",
        cost="2 H sum_m N_m D_m + H K sum_m D_m + 2 K^2, heads H",
        parameters="one embedding per modality, attention shared",
        paper="RollingQ, ICML 2025, arXiv:2506.11465",
        code="GeWu-Lab/RollingQ_ICML2025",
        differs="One linear map per modality; heads share the width; no dropout.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        num_heads: int = 1,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims, dim)
        if num_heads < 1:
            raise OptionError(f"num_heads must be at least 1, got {num_heads}.")
        self.num_heads = num_heads
        self.head_dim = self.dim if faithful else -(-self.dim // num_heads)
        inner = num_heads * self.head_dim
        self.embed = linear_each(self.dims, self.dim)
        # Queries of half the size of keys: weights start uneven, but none decides alone.
        self.class_token = nn.Parameter(torch.randn(self.dim) / 2)
        self.query = nn.Linear(self.dim, inner)
        self.key = nn.Linear(self.dim, inner, bias=faithful)
        self.value = nn.Linear(self.dim, inner)
        self.out = nn.Linear(inner, self.dim)
        self._start(len(self.dims))
        if faithful:
            self.card = replace(type(self).card, inert=("key.bias",))

    def _start(self, num: int) -> None:
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        with torch.no_grad():
            # As large as before a mean of so many embeddings and the class token.
            self.value.weight.mul_((num + 1) / num**0.5)

    def class_query(self) -> Tensor:
        """Query ``[H, d]`` of the class token, turned where `turn_query` lets a rotation act on its layer."""
        query: Tensor = self.query(self.class_token)
        return query.view(self.num_heads, self.head_dim)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        # An embedding is mapped at once, as one token; of tokens only the weighted sums are mapped.
        values = {n: self.embed[n](v) if v.dim() == 2 else v.flatten(1, -2) for n, v in streams.items()}
        weights = self._weights(values, masks)  # [B, H, 1 + N]
        lengths = [1, *(1 if v.dim() == 2 else v.shape[1] for v in values.values())]
        own, *shares = weights.split_with_sizes(lengths, -1)
        if trace is not None and trace.keep_records:
            trace.record("attention", weights)
            trace.record("mass", torch.stack([part.sum(-1) for part in (own, *shares)], -1))
            self._record(values, masks, trace)
        pooled = own * self.class_token.to(own.dtype)  # [B, H, dim]
        for (name, value), share in zip(values.items(), shares, strict=True):
            pooled = pooled + self._pool(name, value, share)
        heads = (pooled.transpose(0, 1) @ self._per_head(self.value.weight).mT).transpose(0, 1).flatten(1)
        fused: Tensor = self.out(heads + self.value.bias.to(heads.dtype))
        return fused

    def _record(self, values: Streams, masks: Masks, trace: Trace) -> None:
        first = next(iter(values.values()))
        lengths = {name: 1 if value.dim() == 2 else value.shape[1] for name, value in values.items()}
        joint = _joint_mask(values, masks)
        record_owners(trace, "attention", lengths, like=first, before=1, mask=joint)
        keys = {name: self._mean_key(name, value, masks.get(name)) for name, value in values.items()}
        query = self.query(self.class_token).expand(first.shape[0], -1)
        record_keys(trace, "attention", query, keys, num_heads=self.num_heads)

    def _mean_key(self, name: str, value: Tensor, mask: Tensor | None) -> Tensor:
        kept = None if mask is None else mask.flatten(1) if mask.dim() > 1 else mask[:, None]
        mean = value if value.dim() == 2 else self.embed[name](masked_mean(value, kept))
        key: Tensor = self.key(mean)
        return key if kept is None else key.masked_fill(~kept.any(1, keepdim=True), 0)

    def _weights(self, values: Streams, masks: Masks) -> Tensor:
        probe = (self.class_query()[:, None] @ self._per_head(self.key.weight)).squeeze(1)
        probe = probe * self.head_dim**-0.5  # a key's score, as a linear function of what the key is made of
        scores = [self._scores(name, value, probe) for name, value in values.items()]
        own = (probe @ self.class_token).expand(scores[0].shape[0], 1, -1)
        joined = torch.cat([own.to(scores[0].dtype), *scores], 1)  # [B, 1 + N, H]
        kept = _joint_mask(values, masks)
        return masked_softmax(joined.mT, None if kept is None else kept[:, None])

    def _scores(self, name: str, value: Tensor, probe: Tensor) -> Tensor:
        if value.dim() == 2:
            return F.linear(value, probe)[:, None]
        embed: Any = self.embed[name]
        return F.linear(value, probe @ embed.weight, probe @ embed.bias)  # [B, N, H]

    def _pool(self, name: str, value: Tensor, share: Tensor) -> Tensor:
        if value.dim() == 2:
            return share * value[:, None]
        embed: Any = self.embed[name]
        mapped = F.linear(share @ value, embed.weight)  # [B, H, dim]
        bias: Tensor = share.sum(-1, keepdim=True) * embed.bias.to(mapped.dtype)
        return mapped + bias

    def _per_head(self, weight: Tensor) -> Tensor:
        return weight.view(self.num_heads, self.head_dim, self.dim)


def _joint_mask(values: Streams, masks: Masks) -> Tensor | None:
    """Which keys are kept, ``[B, 1 + N]``, the class token's first; None where all are."""
    if not masks:
        return None
    parts = []
    for name, value in values.items():
        size = value.shape[0], 1 if value.dim() == 2 else value.shape[1]
        real = value.new_ones(size, dtype=torch.bool)
        parts.append(masks[name].reshape(size) if name in masks else real)
    return F.pad(torch.cat(parts, 1), (1, 0), value=True)


def convert_attention_pool(state: Mapping[str, Tensor], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `AttentionPool` from RollingQ's fusion layer, without its head ``FC``.

    Its ``rotate`` is multiplied into the query's map, which is exact as the class token is the only query;
    ``attn.layer_norm`` is left out, as the official code never calls it.

    Args:
        state: The official state dict of the layer.
        dims: Modality name -> width, all of them the layer's; the embeddings become identities.

    Returns:
        What ``AttentionPool(dims, num_heads=H, faithful=True)`` takes.

    Raises:
        OptionError: a width in ``dims`` that is not the layer's, or a rotation of several heads.
    """
    token, rotate = state["cls_token"].flatten(), state["rotate"]
    dim = len(token)
    if wrong := sorted(name for name, width in dims.items() if width != dim):
        raise OptionError(
            f"dims must all be {dim}, the width of the layer, got {dims[wrong[0]]} for {wrong[0]!r}."
        )
    identity = torch.eye(dim, dtype=token.dtype, device=token.device)
    query = {part: state[f"attn.w_qs.{part}"] for part in ("weight", "bias")}
    if not rotate.equal(identity):
        if len(query["bias"]) != dim:
            raise OptionError(
                f"rotate must be the identity where there are several heads, got another matrix for "
                f"{len(query['bias']) // dim} heads."
            )
        query = {part: rotate @ value for part, value in query.items()}
    linears = {
        "query": query,
        **{
            ours: {part: state[f"attn.{theirs}.{part}"] for part in ("weight", "bias")}
            for ours, theirs in (("key", "w_ks"), ("value", "w_vs"), ("out", "fc"))
        },
        **{f"embed.{name}": {"weight": identity.clone(), "bias": torch.zeros_like(token)} for name in dims},
    }
    named = {f"{name}.{part}": value for name, parts in linears.items() for part, value in parts.items()}
    return {"class_token": token} | named
