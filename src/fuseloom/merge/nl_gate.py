"""Non-local gate: one modality attends to each of the others, and what it finds is added to it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.merge._base import Merge, Pool
from fuseloom.nn import attend, attention_weights, masked_mean
from fuseloom.nn.attention_records import record_owners
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["NonLocalGate", "convert_nl_gate"]


@register("nl_gate")
class NonLocalGate(Merge):
    r"""One modality's queries attend to the tokens of each other modality; the results are added to them.

    .. math:: y = q + \sum_{s \ne t} \mathrm{softmax}(q K_s^\top / \sqrt{c}) V_s, \quad q = W^Q_t x_t + b^Q_t

    Every position of another modality, an embedding too, gives ``num_keys`` keys and values: the softmax over
    the single key of an embedding would be constant, and the merge a sum. The results are pooled over the
    positions of the target. An absent modality adds nothing; without the target every query is ``b^Q``, so
    the others remain, and what is pooled is all of its positions.

    Paper: Wang et al. 2019, F4. Differs from the official code: there are two modalities, scores are not
    divided by the root of the width, and keys are reshaped where they ought to be transposed. With a linear
    map for the keys both are a choice of its weights, which `convert_nl_gate` makes.

    Args:
        dims: Modality name -> width ``D_m``.
        dim: Width of the fused value.
        target: The modality that asks; the first of ``dims`` by default.
        num_keys: Keys and values that a position of another modality gives; for tokens one will do.
        num_queries: Queries that a position of the target is cut into, each of width ``c = dim /
            num_queries``.
        pool: Makes the target's positions one vector; ``None`` keeps them.

    Raises:
        ModalityError: fewer than two modalities.
        OptionError: a target that is no modality, less than one key or query, or a ``dim`` that cannot be cut
            into ``num_queries``.

    Records:
        ``<target>_from_<other>.attention``: ``[B, 1, num_queries N_target, num_keys N_other]``, and what
        `record_owners` files under that name.

    Example:
        >>> merge = NonLocalGate({"video": 6, "audio": 4})
        >>> merge({"video": torch.ones(2, 3, 6), "audio": torch.ones(2, 5, 4)}).shape
        torch.Size([2, 6])
    """

    card = Card(
        summary="One modality attends to each of the others, the results are added (NL gate).",
        interaction="nonlinear",
        cost="N_1 D_1 K + 2 T sum_{m > 1} (N_m D_m K + N_1 N_m K), with T keys per position",
        parameters="per modality",
        arity=(2, None),
        paper="Wang et al. 2019, F4",
        code="pliang279/MultiBench",
        differs="Scores are divided by the root of the width; any number of others; all maps are linear.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        target: str | None = None,
        num_keys: int = 4,
        num_queries: int = 1,
        pool: Pool | None = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        self.target = target if target is not None else next(iter(self.dims))
        if self.target not in self.dims:
            hint = did_you_mean(self.target, self.dims)
            raise OptionError(f"target must be one of {sorted(self.dims)}, got {target!r}.{hint}")
        _check_numbers(self.dim, num_keys, num_queries)
        self.num_keys, self.num_queries, self.pool = num_keys, num_queries, pool
        self.width = self.dim // num_queries
        self.query = nn.ModuleDict({self.target: _linear(self.dims[self.target], self.dim)})
        self.others = {name: width for name, width in self.dims.items() if name != self.target}
        size, share = num_keys * self.width, len(self.others) ** -0.5
        # One key's bias adds the same to all scores, which the softmax takes away.
        keys = {name: _linear(width, size, bias=num_keys > 1) for name, width in self.others.items()}
        values = {name: _linear(width, size, gain=share) for name, width in self.others.items()}
        self.key, self.value = nn.ModuleDict(keys), nn.ModuleDict(values)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        value = streams[self.target]
        query = self._tokens(self.query[self.target](value))
        kept = {name: self._repeated(masks[name]) for name in self.others if name in masks}
        keys = {name: self._tokens(self.key[name](streams[name])) for name in self.others}
        if trace is not None and trace.keep_records:
            self._record(trace, query, keys, kept, asked=self._asking(masks))
        gated = query
        for name, key in keys.items():
            values = self._tokens(self.value[name](streams[name]))
            gated = gated + attend(query, key, values, mask=kept.get(name))
        fused = gated.reshape(*value.shape[:-1], self.dim)
        return fused if self.pool is None or fused.dim() == 2 else self._pooled(fused, masks)

    def _record(
        self,
        trace: Trace,
        query: Tensor,
        keys: Mapping[str, Tensor],
        kept: Masks,
        *,
        asked: Tensor | None,
    ) -> None:
        queries = None if asked is None else asked.repeat_interleave(self.num_queries, 1)
        for name, key in keys.items():
            scope, mask = trace.scope(f"{self.target}_from_{name}"), kept.get(name)
            scope.record("attention", attention_weights(query, key, mask=mask))
            record_owners(scope, "attention", {name: key.shape[1]}, like=key, mask=mask, asked=queries)

    def _tokens(self, value: Tensor) -> Tensor:
        return value.reshape(value.shape[0], -1, self.width)  # [B, N, c]

    def _repeated(self, mask: Tensor) -> Tensor:
        # Not by len(), which would fix the batch size under export.
        return mask.reshape(mask.shape[0], -1, 1).expand(-1, -1, self.num_keys).flatten(1)  # [B, N]

    def _asking(self, masks: Masks) -> Tensor | None:
        """Positions of the target that ask, ``[B, N]``: all, where it is absent."""
        if self.target not in masks:
            return None
        kept = masks[self.target].unsqueeze(1).flatten(1)
        return kept | ~kept.any(-1, keepdim=True)  # or what an absent target found would be lost

    def _pooled(self, fused: Tensor, masks: Masks) -> Tensor:
        assert self.pool is not None
        return self.pool(fused.flatten(1, -2), self._asking(masks))


def _linear(width: int, dim: int, *, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(width, dim, bias=bias)
    nn.init.normal_(linear.weight, std=gain * width**-0.5)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def _check_numbers(dim: int, num_keys: int, num_queries: int) -> None:
    if num_keys < 1:
        raise OptionError(f"num_keys must be at least 1, got {num_keys}.")
    if num_queries < 1:
        raise OptionError(f"num_queries must be at least 1, got {num_queries}.")
    if dim % num_queries:
        raise OptionError(f"dim must be a multiple of num_queries={num_queries}, got {dim}.")


def convert_nl_gate(
    state: Mapping[str, Tensor], dims: Mapping[str, int], *, width: int, num_keys: int
) -> dict[str, Tensor]:
    """State dict of `NonLocalGate` from the official layout, MultiBench's ``NLgate``.

    Args:
        state: ``weight`` and ``bias`` of ``qli``, ``kli`` and ``vli``; one that is missing is the identity.
        dims: Names and widths of the two modalities, the one that asks first.
        width: Width of a query, the official ``c_dim``.
        num_keys: The official ``tf_dim``.

    Returns:
        What ``NonLocalGate(dims, thw_dim * width, num_queries=thw_dim, num_keys=num_keys)`` takes.

    Raises:
        OptionError: other than two modalities, or keys and values of other sizes.
    """
    if len(dims) != 2:
        raise OptionError(f"dims must have two modalities, got {sorted(dims)}.")
    (target, asked), (source, told) = dims.items()
    (query, query_bias), (key, key_bias), (value, value_bias) = (
        _official(state, name, size) for name, size in (("qli", asked), ("kli", told), ("vli", told))
    )
    for name, weight in (("kli", key), ("vli", value)):
        if len(weight) != num_keys * width:
            raise OptionError(
                f"{name} must give num_keys * width = {num_keys * width} features, got {len(weight)}."
            )
    # There the flat keys are read as [c_dim, tf_dim], and the scores are not divided by the root of c_dim.
    key, key_bias = (_keys_first(part, width) * width**0.5 for part in (key, key_bias))
    converted = {
        f"query.{target}.weight": query,
        f"query.{target}.bias": query_bias,
        f"key.{source}.weight": key,
        f"key.{source}.bias": key_bias,
        f"value.{source}.weight": value,
        f"value.{source}.bias": value_bias,
    }
    if num_keys == 1:
        del converted[f"key.{source}.bias"]
    return converted


def _official(state: Mapping[str, Tensor], name: str, size: int) -> tuple[Tensor, Tensor]:
    if f"{name}.weight" in state:
        return state[f"{name}.weight"], state[f"{name}.bias"]
    return torch.eye(size), torch.zeros(size)


def _keys_first(part: Tensor, width: int) -> Tensor:
    return part.view(width, -1, *part.shape[1:]).transpose(0, 1).flatten(0, 1)
