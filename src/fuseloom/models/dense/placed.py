"""Exchanges at named places inside the blocks of a backbone, and norms per modality around them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.exchange import Exchange
from fuseloom.models.dense.stream_encoder import BuildExchange, norm_owners, over_positions
from fuseloom.types import Masks, Trace

__all__ = ["PixelNorms", "Place", "Placed", "PlacedExchanges", "Talk"]

Place = Literal["before_projection", "after_attention", "after_block"]
Talk = Callable[[Place, Tensor, Tensor], Tensor]
"""From a place, the values there ``[M, B, N, C]`` and what the block got, to those after the exchange."""

_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Exchanges of one kind, and where in the blocks of a backbone they stand.

    Args:
        build: Builds one from modality name -> width.
        at: ``before_projection`` changes what the heads of attention give, before their projection;
            ``after_attention`` the update that attention makes, before it is added; ``after_block`` the
            tokens that the next block gets. An exchange that reads ``inputs`` is given what the block got.
        first: Only in so many blocks at the beginning, of all of the backbone in a row.
        last: Only in so many blocks at the end.
        stage_ends: Only in the last block of each stage.
        per_stage: Whether the blocks of a stage share one exchange; each has its own if not.

    Raises:
        OptionError: an unknown place, or a number of blocks below zero.
    """

    build: BuildExchange
    at: Place = "after_attention"
    first: int | None = None
    last: int | None = None
    stage_ends: bool = False
    per_stage: bool = False

    def __post_init__(self) -> None:
        if self.at not in get_args(Place):
            hint = did_you_mean(self.at, get_args(Place))
            raise OptionError(f"at must be one of {list(get_args(Place))}, got {self.at!r}.{hint}")
        for name in ("first", "last"):
            if (count := getattr(self, name)) is not None and count < 0:
                raise OptionError(f"{name} must be a number of blocks of at least 0, got {count}.")

    def among(self, count: int) -> range:
        """The numbers of its blocks, of so many in all."""
        start = 0 if self.last is None else max(count - self.last, 0)
        end = count if self.first is None else min(self.first, count)
        return range(start, end)


class PlacedExchanges(nn.ModuleDict):
    """What stands in the blocks of a backbone: ``<stage>_<block>_<place>`` -> exchange.

    One that a stage shares is under its first block. Tokens are those of all modalities, ``[M, B, N, C]``.

    Args:
        names: Of the modalities, in the order of the tokens.
        dims: Width of each stage.
        depths: Blocks of each stage.
        placed: What stands where.

    Raises:
        OptionError: two exchanges at one place, or exchanges for one modality.
    """

    def __init__(
        self, names: Sequence[str], dims: Sequence[int], depths: Sequence[int], placed: Sequence[Placed]
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self._keys: dict[tuple[int, int, Place], str] = {}
        every = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
        for one in placed:
            self._place(one, every, dims)

    def _place(self, placed: Placed, every: Sequence[tuple[int, int]], dims: Sequence[int]) -> None:
        if len(self.names) < 2:
            raise OptionError("exchanges must be between two modalities at least, got one. Leave them out.")
        shared: dict[int, str] = {}
        for number in placed.among(len(every)):
            stage, block = every[number]
            if placed.stage_ends and (stage, block + 1) in every:
                continue
            if (stage, block, placed.at) in self._keys:
                raise OptionError(
                    f"exchanges must be one at each place, got two {placed.at} of block {block} in stage "
                    f"{stage}."
                )
            key = shared.get(stage) if placed.per_stage else None
            if key is None:
                key = shared[stage] = f"{stage}_{block}_{placed.at}"
                self[key] = placed.build(dict.fromkeys(self.names, dims[stage]))
            self._keys[stage, block, placed.at] = key

    def run_stage(
        self,
        stage: int,
        blocks: Iterable[nn.Module],
        tokens: Tensor,
        size: tuple[int, int],
        *,
        there: Masks,
        trace: Trace | None,
        again: bool,
    ) -> Tensor:
        """What the blocks of a stage make of tokens, with what stands in them.

        Args:
            stage: Its number.
            blocks: Each called with tokens, the size of their grid, and a `Talk`.
            tokens: ``[M, B, N, C]``.
            size: Of their grid.
            there: Modality name -> ``[B]``; one that is not in it is there in all samples.
            trace: Collects losses and records, under ``stages.<stage>.<block>.<place>``.
            again: Whether blocks are evaluated again in the backward pass, for memory.
        """
        for number, block in enumerate(blocks):
            talk = partial(self._exchanged, (stage, number), there, trace)
            if again and self.training and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, size, talk, use_reentrant=False)
            else:
                tokens = block(tokens, size, talk)
        return tokens

    def _exchanged(
        self,
        where: tuple[int, int],
        there: Masks,
        trace: Trace | None,
        place: Place,
        values: Tensor,
        inputs: Tensor,
    ) -> Tensor:
        key = self._keys.get((*where, place))
        if key is None:
            return values
        exchange = self[key]
        assert isinstance(exchange, Exchange)
        given = self._apart(values)
        reads = {"inputs": self._apart(inputs)} if "inputs" in exchange.card.reads else {}
        scope = None if trace is None else trace.scope(f"stages.{where[0]}.{where[1]}.{place}")
        changed = exchange(given, over_positions(there, given, feature=2), trace=scope, **reads)
        return torch.stack([changed[name] for name in self.names])

    def _apart(self, values: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, values.unbind(), strict=True))


class PixelNorms(nn.ModuleDict):
    """A LayerNorm over the features of each modality, for tokens of all of them ``[M, B, N, C]``.

    Args:
        names: Of the modalities.
        dim: Features.
        shared: Have one for all modalities instead, under the name ``shared``.
    """

    def __init__(self, names: Iterable[str], dim: int, *, shared: bool = False) -> None:
        owners = norm_owners(names, shared=shared)
        super().__init__({owner: nn.LayerNorm(dim, eps=_EPS) for owner in owners})

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape."""
        if len(self) == 1:
            (norm,) = self.values()
            normed: Tensor = norm(tokens)
            return normed
        return torch.stack([norm(own) for norm, own in zip(self.values(), tokens.unbind(), strict=True)])
