"""What RollingQ needs of an attention with a class token: to read its query and keys, and to turn the query.

`ClassAttention` is the protocol; an attention of your own needs no more than its members.
`fuseloom.train.class_adapters.adapt` makes one of those of several libraries; `ProjectedAttention` fits
others that project tokens to queries and keys and compare these.

Where all tokens ask, as in self-attention, a rotation turns the queries of all of them: one projection makes
them all. That is the paper's rule only where nothing but the class token is read behind the layer, as behind
the last layer of a transformer whose head reads the class token. Of an earlier layer the other tokens change
as well.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.nn.masked import masked_mean
from fuseloom.nn.rotation import MatrixRotation, Rotation
from fuseloom.nn.turned_query import turn_query, turned_by
from fuseloom.types import Trace

__all__ = [
    "Attending",
    "ClassAttention",
    "ClassReading",
    "PooledAttention",
    "ProjectedAttention",
    "Projection",
]

Turn = Rotation | MatrixRotation


@dataclass(frozen=True, kw_only=True)
class ClassReading:
    """What one forward pass showed of some rows."""

    query: Tensor
    """Of the class token, as it is turned now, ``[B, H, d]``."""
    keys: Mapping[str, Tensor]
    """Modality -> mean of its real keys, its own class token among them, ``[B, H, d]``; NaN in rows that lack
    it."""


@runtime_checkable
class ClassAttention(Protocol):
    """An attention whose class token's query can be turned, and read."""

    num_heads: int
    """``H``."""
    head_dim: int
    """``d``."""

    @property
    def rotation(self) -> Turn | None:
        """What turns its queries; None before `turn`."""
        ...

    def turn(self, rotation: Turn) -> None:
        """Let a rotation act on its queries, by `turn_query`: ``[H, d]``, or all heads as one of ``H d``."""
        ...

    def reading(self) -> AbstractContextManager[list[ClassReading]]:
        """Inside, each forward pass adds one to the list; on exit, error or not, no hook is left."""
        ...


class PooledAttention:
    """A part of ours that files queries and mean keys, such as `AttentionPool`.

    It is read by running it once more, alone and without gradients, with a trace.

    Args:
        part: Files them under ``attention``, as `record_keys` and `record_owners` do.
        query: Its layer that makes the queries.
        num_heads: ``H``.

    Example:
        >>> from fuseloom import create
        >>> part = create("attention_pool", {"text": 3, "audio": 2}, dim=4, num_heads=2)
        >>> with PooledAttention(part, part.query, num_heads=2).reading() as readings:
        ...     _ = part({"text": torch.ones(5, 3), "audio": torch.ones(5, 2)})
        >>> readings[0].query.shape, sorted(readings[0].keys)
        (torch.Size([5, 2, 2]), ['audio', 'text'])
    """

    def __init__(self, part: nn.Module, query: nn.Linear, *, num_heads: int) -> None:
        self.part, self.query, self.num_heads = part, query, num_heads
        self.head_dim = query.out_features // num_heads

    @property
    def rotation(self) -> Turn | None:
        """What turns its queries; None before `turn`."""
        return turned_by(self.query)

    def turn(self, rotation: Turn) -> None:
        """Let a rotation act on its queries."""
        turn_query(self.query, rotation)

    def reading(self) -> AbstractContextManager[list[ClassReading]]:
        """A reading for each forward pass inside."""
        return _read_after(self.part, self._read)

    def _read(self, args: tuple[Any, ...], options: dict[str, Any]) -> ClassReading:
        trace = Trace()
        self.part.forward(*args, **options | {"trace": trace})
        keys = {}
        for name, key in _below(trace, "attention.key.").items():
            has = trace.records[f"attention.of.{name}"].any(-1)
            keys[name] = key.masked_fill(~has[:, None, None], torch.nan)
        return ClassReading(query=trace.records["attention.query"], keys=keys)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Rows of a weight and a bias by which a layer makes queries or keys."""

    layer: nn.Module
    """That has them."""
    start: int = 0
    """First row of the weight."""
    bias_start: int = 0
    """First row of the bias, which may be one of several weights."""
    weight: str = "weight"
    """Name of the weight."""
    bias: str = "bias"
    """Name of the bias, which may be None or missing."""

    def project(self, tokens: Tensor, rows: int) -> Tensor:
        """Tokens ``[..., D]`` to ``[..., R]``."""
        weight: Tensor = getattr(self.layer, self.weight)
        bias: Tensor | None = getattr(self.layer, self.bias, None)
        own = None if bias is None else bias[self.bias_start : self.bias_start + rows]
        return F.linear(tokens.to(weight.dtype), weight[self.start : self.start + rows], own)


@dataclass(frozen=True, kw_only=True)
class Attending:
    """What an attention was given."""

    asking: Tensor
    """Tokens that queries are made of, ``[B, Nq, D]``."""
    asked: Tensor
    """Tokens that keys are made of, ``[B, N, D]``."""
    mask: Tensor | None
    """Which of them may be attended to, ``[B, N]``; None where all may."""


class ProjectedAttention:
    """An attention that projects tokens to queries and keys, and compares these as they are.

    Args:
        layer: The attention; it is watched while it is read.
        tokens: Modality -> where its tokens stand among those that are attended to.
        query: Makes the queries; those of all tokens that ask are turned, see above.
        key: Makes the keys.
        num_heads: ``H``.
        head_dim: ``d``.
        given: From the layer's arguments by name to what it was given, the class token being the first that
            asks.

    Example:
        >>> class Asked(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)
        ...
        ...     def forward(self, x):
        ...         return (self.query(x[:, :1]) @ self.key(x).mT).softmax(-1) @ x
        >>> layer = Asked()
        >>> attention = ProjectedAttention(
        ...     layer,
        ...     {"text": slice(1, 3), "image": slice(3, None)},
        ...     query=Projection(layer=layer.query),
        ...     key=Projection(layer=layer.key),
        ...     num_heads=1,
        ...     head_dim=4,
        ...     given=lambda options: Attending(asking=options["x"], asked=options["x"], mask=None),
        ... )
        >>> with attention.reading() as readings:
        ...     _ = layer(torch.ones(2, 7, 4))
        >>> readings[0].keys["image"].equal(layer.key(torch.ones(2, 4))[:, None])
        True
    """

    def __init__(
        self,
        layer: nn.Module,
        tokens: Mapping[str, slice],
        *,
        query: Projection,
        key: Projection,
        num_heads: int,
        head_dim: int,
        given: Callable[[Mapping[str, Any]], Attending],
    ) -> None:
        self.layer, self.tokens, self.query, self.key = layer, dict(tokens), query, key
        self.num_heads, self.head_dim, self.given = num_heads, head_dim, given

    @property
    def rotation(self) -> Turn | None:
        """What turns its queries; None before `turn`."""
        return turned_by(self.query.layer)

    def turn(self, rotation: Turn) -> None:
        """Let a rotation act on its queries."""
        turn_query(self.query.layer, rotation, names=(self.query.weight, self.query.bias))

    def reading(self) -> AbstractContextManager[list[ClassReading]]:
        """A reading for each forward pass inside."""
        return _read_after(self.layer, self._read)

    def _read(self, args: tuple[Any, ...], options: dict[str, Any]) -> ClassReading:
        bound = inspect.signature(self.layer.forward).bind(*args, **options)
        bound.apply_defaults()
        given = self.given(bound.arguments)
        query = self._project(self.query, given.asking[:, 0])
        return ClassReading(query=query, keys={name: self._mean_key(given, name) for name in self.tokens})

    def _mean_key(self, given: Attending, name: str) -> Tensor:
        tokens = given.asked[:, self.tokens[name]]
        tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        mask = None if given.mask is None else given.mask[:, self.tokens[name]]
        # A projection of the mean is the mean of projections.
        key = self._project(self.key, masked_mean(tokens, mask))
        return key if mask is None else key.masked_fill(~mask.any(-1)[:, None, None], torch.nan)

    def _project(self, projection: Projection, tokens: Tensor) -> Tensor:
        rows = projection.project(tokens, self.num_heads * self.head_dim)
        return rows.reshape(len(rows), self.num_heads, self.head_dim)


@contextmanager
def _read_after(
    module: nn.Module, read: Callable[[tuple[Any, ...], dict[str, Any]], ClassReading]
) -> Iterator[list[ClassReading]]:
    readings: list[ClassReading] = []

    def hook(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: object) -> None:
        # A reading does not depend on the precision that a step is computed in.
        device = next(module.parameters()).device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            readings.append(read(args, options))

    handle = module.register_forward_hook(hook, with_kwargs=True)
    fast = torch.backends.mha.get_fastpath_enabled()
    # In evaluation, torch's own encoders would hand its layers nested tensors without their mask.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # What is compiled already would not see the hook.
        with torch.compiler.set_stance("force_eager"):
            yield readings
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        handle.remove()


def _below(trace: Trace, prefix: str) -> dict[str, Tensor]:
    found = {name: value for name, value in trace.records.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in found.items()}
