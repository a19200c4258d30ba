"""Cross-attention: each modality attends to the tokens of all others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange._base import Exchange
from fuseloom.nn import attend, attention_weights, masked_mean
from fuseloom.nn.attention_records import record_keys, record_owners
from fuseloom.nn.tokens import as_tokens, like_stream
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["CrossAttention"]


@register("cross_attention")
class CrossAttention(Exchange):
    r"""Each modality attends to the tokens of all others, with a residual connection.

    .. math:: Y_t = \mathrm{Attention}(X_t W^Q_t,\ [X_s W^K_s]_{s \ne t},\ [X_s W^V_s]_{s \ne t}) W^O_t + X_t

    One softmax runs over the tokens of all other modalities, so a present one takes the weight that an absent
    one leaves. There is no bias: a sample whose other modalities are all absent keeps its values exactly. An
    embedding is one token, a feature map one token per pixel; lengths and widths may differ.

    Paper: the formula is Vaswani et al., 2017, arXiv:1706.03762, with queries of one modality and keys of the
    others.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Inner width of queries, keys and values; the largest input width by default, rounded up to a
            multiple of ``num_heads``.
        num_heads: Attention heads.
        targets: The modalities that attend; all by default. The others stay as they are.
        shared: Use the same four projections for every modality, which then must have the same width.
        dropout: Probability of dropping an attention weight in training.

    Raises:
        ModalityError: fewer than two modalities, ``targets`` of other ones, or shared projections for unequal
            widths.
        OptionError: ``num_heads`` does not divide ``dim``, no target, or ``dropout`` is no probability.

    Records:
        ``<target>_from_others``: attention ``[B, H, N_target, N_others]``, sources in the order of ``dims``;
        and what `record_owners` and `record_keys` file under that name.

    Example:
        >>> exchange = CrossAttention({"text": 6, "audio": 4}, num_heads=2)
        >>> out = exchange({"text": torch.ones(2, 3, 6), "audio": torch.ones(2, 5, 4)})
        >>> {name: tuple(value.shape) for name, value in out.items()}
        {'text': (2, 3, 6), 'audio': (2, 5, 4)}
    """

    card = Card(
        summary="Each modality attends to the tokens of all others.",
        interaction="nonlinear",
        cost="sum_m 4 N_m D_m D + 2 D sum_m N_m (N - N_m), with N = sum_m N_m",
        parameters="per modality, or shared",
        arity=(2, None),
        paper="Vaswani et al., 2017, arXiv:1706.03762",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        dim: int | None = None,
        num_heads: int = 1,
        targets: Sequence[str] | None = None,
        shared: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dims)
        self.targets = self._attending(targets)
        self.num_heads, self.shared, self.dropout = num_heads, shared, dropout
        self.dim = self._inner_width(dim)
        if shared and len(set(self.dims.values())) > 1:
            raise ModalityError(
                f"Widths must be equal where shared=True, got {self.dims}. Pass shared=False."
            )
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        self.sources = tuple(name for name in self.dims if {*self.targets} - {name})
        self.query = self._projections(self.targets, inward=True)
        self.key, self.value = (self._projections(self.sources, inward=True) for _ in range(2))
        self.out = self._projections(self.targets, inward=False)

    def _attending(self, targets: Sequence[str] | None) -> tuple[str, ...]:
        if targets is None:
            return tuple(self.dims)
        if unknown := [name for name in targets if name not in self.dims]:
            hint = did_you_mean(unknown[0], self.dims)
            raise ModalityError(f"targets must be of {sorted(self.dims)}, got {unknown[0]!r}.{hint}")
        if not targets:
            raise OptionError("targets must be one modality at least, got none.")
        return tuple(name for name in self.dims if name in targets)

    def _inner_width(self, dim: int | None) -> int:
        if self.num_heads < 1:
            raise OptionError(f"num_heads must be at least 1, got {self.num_heads}.")
        if dim is None:
            return -(-max(self.dims.values()) // self.num_heads) * self.num_heads
        if dim < 1 or dim % self.num_heads:
            raise OptionError(f"dim must be a positive multiple of num_heads={self.num_heads}, got {dim}.")
        return dim

    def _projections(self, names: Iterable[str], *, inward: bool) -> nn.ModuleDict:
        widths = {"shared" if self.shared else name: self.dims[name] for name in names}
        sizes = {n: (width, self.dim) if inward else (self.dim, width) for n, width in widths.items()}
        return nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        tokens = {name: as_tokens(value) for name, value in streams.items()}
        query = self._project(self.query, tokens, self.targets)
        key, value = (self._project(part, tokens, self.sources) for part in (self.key, self.value))
        mixed = {}
        for target in self.targets:
            others = [name for name in self.dims if name != target]
            keys, values = (torch.cat([part[n] for n in others], 1) for part in (key, value))
            kept = _joint_mask(others, tokens, masks)
            dropout = self.dropout if self.training else 0.0
            mixed[target] = attend(
                query[target], keys, values, num_heads=self.num_heads, mask=kept, dropout=dropout
            )
            if trace is not None and trace.keep_records:
                weights = attention_weights(query[target], keys, num_heads=self.num_heads, mask=kept)
                trace.record(f"{target}_from_others", weights)
                means = {n: masked_mean(key[n], _token_mask(n, tokens, masks)) for n in others}
                _record(target, tokens, masks, trace)
                record_keys(trace, f"{target}_from_others", query[target], means, num_heads=self.num_heads)
        updates = self._project(self.out, mixed, self.targets)
        return streams | {n: streams[n] + like_stream(v, streams[n]) for n, v in updates.items()}

    def _project(self, projections: nn.ModuleDict, tokens: Streams, names: Iterable[str]) -> Streams:
        return {name: projections["shared" if self.shared else name](tokens[name]) for name in names}


def _record(target: str, tokens: Streams, masks: Masks, trace: Trace) -> None:
    others = [name for name in tokens if name != target]
    record_owners(
        trace,
        f"{target}_from_others",
        {name: tokens[name].shape[1] for name in others},
        like=tokens[target],
        mask=_joint_mask(others, tokens, masks),
        asked=_token_mask(target, tokens, masks),
    )


def _token_mask(name: str, tokens: Streams, masks: Masks) -> Tensor | None:
    return masks[name].reshape(tokens[name].shape[:2]) if name in masks else None


def _joint_mask(names: list[str], tokens: Streams, masks: Masks) -> Tensor | None:
    if not any(name in masks for name in names):
        return None
    parts = [
        masks[n].reshape(tokens[n].shape[:2])
        if n in masks
        else tokens[n].new_ones(tokens[n].shape[:2], dtype=torch.bool)
        for n in names
    ]
    return torch.cat(parts, 1)  # [B, sum of N]
