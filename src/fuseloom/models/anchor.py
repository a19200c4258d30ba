"""One modality's positions, and what every other modality has to say at each of them."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.nn import attend, attention_weights, masked_mean
from fuseloom.nn.attention_records import record_keys, record_owners
from fuseloom.part import check_dims, zero_masked
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Anchor", "Context"]

Context = Literal["attention", "mean", "index"]
_Masked = tuple[Tensor, Tensor | None]
"""Tokens ``[B, N, D]``, and which are real ``[B, N]``."""


class Anchor(nn.Module):
    r"""Brings all modalities to the positions of one, so that a merge can fuse them position by position.

    At a position ``n`` of the anchor, ``attention`` gives of a modality what that position attends to in it,

    .. math:: c_n = \sum_k a_{nk} W^V y_k, \quad
        a_n = \mathrm{softmax}_k \frac{\langle W^Q x_n, W^K y_k \rangle}{\sqrt{d}},

    ``mean`` the mean of its tokens, and ``index`` its own token at ``n``, for modalities as long as the
    anchor.
    A vector is one token, a feature map a token per pixel. The anchor itself stays as it is.

    Args:
        dims: Modality name -> width ``D_m``.
        anchor: The modality whose positions are kept.
        context: How others come there.
        num_heads: Of the attention; must divide the anchor's width.
        prefix: How many tokens at the front of every stream are no positions, such as a class token.

    Shapes: streams ``[B, D]``, ``[B, N_m, D_m]`` or ``[B, D_m, H, W]`` to ``[B, N, D_m]``, ``N`` being the
    anchor's length without the prefix; masks likewise to ``[B, N]``. A modality that a sample lacks is masked
    at all of its positions.

    Records:
        ``<modality>.attention``: ``[B, H, N, N_m]``, where each position looks in a modality, and what
        `record_owners` and `record_keys` file under that name.

    Raises:
        OptionError: the anchor is no modality, or the heads do not divide its width.
        ModalityError: in a call, an anchor that has no positions, or with ``index`` another length.

    Example:
        >>> import torch
        >>> anchor = Anchor({"text": 6, "image": 4}, "text", context="mean")
        >>> streams, _ = anchor({"text": torch.ones(2, 5, 6), "image": torch.ones(2, 4, 3, 3)}, {})
        >>> {name: tuple(value.shape) for name, value in streams.items()}
        {'text': (2, 5, 6), 'image': (2, 5, 4)}
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        anchor: str,
        *,
        context: Context = "attention",
        num_heads: int = 1,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        self.dims = check_dims(dims, (1, None), owner="Anchor")
        if anchor not in self.dims:
            hint = did_you_mean(anchor, self.dims)
            raise OptionError(f"anchor must be one of {sorted(self.dims)}, got {anchor!r}.{hint}")
        if num_heads < 1 or self.dims[anchor] % num_heads:
            raise OptionError(
                f"num_heads must divide the anchor's width {self.dims[anchor]}, got {num_heads}."
            )
        if prefix < 0:
            raise OptionError(f"prefix must be at least 0, got {prefix}.")
        self.anchor, self.prefix = anchor, prefix
        others = {name: width for name, width in self.dims.items() if name != anchor}
        build: Mapping[str, Callable[[int], nn.Module]] = {
            "attention": lambda width: _Attended(self.dims[anchor], width, num_heads),
            "mean": lambda width: _Mean(),
            "index": lambda width: _Same(),
        }
        if context not in build:
            raise OptionError(
                f"context must be one of {sorted(build)}, got {context!r}.{did_you_mean(context, build)}"
            )
        self.context = nn.ModuleDict({name: build[context](width) for name, width in others.items()})

    def forward(
        self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, trace: Trace | None = None
    ) -> tuple[Streams, Masks]:
        """Streams that share the anchor's positions, zero under False, and their masks."""
        own, real = _tokens(streams[self.anchor], masks.get(self.anchor), self.prefix)
        if streams[self.anchor].dim() != 3:
            raise ModalityError(
                f"{self.anchor!r} must be tokens [B, N, D] to have positions, got shape "
                f"{tuple(streams[self.anchor].shape)}. Let its encoder end in tokens."
            )
        values: Streams = {self.anchor: own}
        kept: Masks = {} if real is None else {self.anchor: real}
        for name, bring in self.context.items():
            tokens, mask = _tokens(streams[name], masks.get(name), self.prefix)
            values[name], there = bring(own, tokens, mask)
            if trace is not None and isinstance(bring, _Attended):
                bring.record(trace.scope(name), name, (own, real), (tokens, mask))
            there = _both(there, real)
            if there is not None:
                kept[name], values[name] = there, zero_masked(values[name], there)
        return {name: values[name] for name in self.dims}, kept


class _Attended(nn.Module):
    def __init__(self, width: int, other: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(other, width, bias=False)  # a bias of keys changes no weight
        self.value = nn.Linear(other, num_heads * -(-other // num_heads))
        self.out = nn.Linear(self.value.out_features, other)

    def forward(self, own: Tensor, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        query, key, value = self.query(own), self.key(tokens), self.value(tokens)
        found = self.out(attend(query, key, value, num_heads=self.num_heads, mask=mask))
        return found, _anywhere(mask, own)

    def record(self, trace: Trace, name: str, asking: _Masked, asked: _Masked) -> None:
        """File where positions look among the tokens of a modality, each with their mask."""
        if not trace.keep_records:
            return
        (own, real), (tokens, mask) = asking, asked
        query, key = self.query(own), self.key(tokens)
        trace.record("attention", attention_weights(query, key, num_heads=self.num_heads, mask=mask))
        record_owners(trace, "attention", {name: key.shape[1]}, like=key, mask=mask, asked=real)
        record_keys(trace, "attention", query, {name: masked_mean(key, mask)}, num_heads=self.num_heads)


class _Mean(nn.Module):
    def forward(self, own: Tensor, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mean = masked_mean(tokens, mask)
        return mean[:, None].expand(-1, own.shape[1], -1), _anywhere(mask, own)


class _Same(nn.Module):
    def forward(self, own: Tensor, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if tokens.shape[1] != own.shape[1]:
            raise ModalityError(
                f"Streams must be of the anchor's length {own.shape[1]} with context='index', got "
                f"{tokens.shape[1]}. Use context='attention'."
            )
        return tokens, mask


def _tokens(value: Tensor, mask: Tensor | None, prefix: int) -> tuple[Tensor, Tensor | None]:
    """Tokens ``[B, N, D]`` of any stream without its prefix, and their mask ``[B, N]``."""
    if value.dim() == 2:
        return value[:, None], None if mask is None else mask[:, None]
    if value.dim() == 4:
        return value.flatten(2).mT, None if mask is None else mask.flatten(1)
    return value[:, prefix:], None if mask is None else mask[:, prefix:]


def _anywhere(mask: Tensor | None, own: Tensor) -> Tensor | None:
    """At which of the anchor's positions a modality is there: at all, or at none."""
    return None if mask is None else mask.any(1, keepdim=True).expand(-1, own.shape[1])


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one & other
