"""What the contract runs a part on: its case, and layouts of streams with values and masks."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fuseloom.errors import ContractError, ModalityError
from fuseloom.registry import Card, Rank
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Build", "Case", "Layout", "Reads", "isolated", "modality_names"]

Build = Callable[..., nn.Module]
"""A class or factory: ``dims`` to a part."""
Reads = Callable[[Streams, Masks], dict[str, Any]]
"""Streams and masks to what the card names under ``reads``; row by row."""

_WIDTHS = (5, 3, 7, 4)
_COMMON_WIDTH = 6
_POSITIONS: dict[Rank, tuple[tuple[int, ...], ...]] = {
    "embedding": ((),),
    "tokens": ((4,), (6,), (3,), (2,)),
    "feature_map": ((2, 3), (4, 2), (3, 3), (2, 2)),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Widths, positions and batch size of the streams of one call.

    Positions are ``()`` for an embedding, ``(N,)`` for tokens and ``(H, W)`` for a feature map.
    """

    dims: Mapping[str, int]
    positions: Mapping[str, tuple[int, ...]]
    batch: int = 5

    def shape(self, name: str, width: int | None = None) -> tuple[int, ...]:
        """Shape of a stream, or of one with its positions and another width."""
        where, width = self.positions[name], self.dims[name] if width is None else width
        return (self.batch, width, *where) if len(where) == 2 else (self.batch, *where, width)

    def resized(self, batch: int, longer: int = 0) -> "Layout":
        """The same modalities at another batch size, every axis of positions longer by ``longer``."""
        positions = {name: tuple(n + longer for n in where) for name, where in self.positions.items()}
        return replace(self, batch=batch, positions=positions)

    def draw(self, seed: int = 0) -> Streams:
        """Standard normal streams."""
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.randn(self.shape(name), generator=generator) for name in self.dims}

    def draw_masks(self, seed: int = 0) -> Masks:
        """Masks that are random, True more often than not."""
        generator = torch.Generator().manual_seed(seed)
        shapes = {name: (self.batch, *self.positions[name]) for name in self.dims}
        return {name: torch.rand(shape, generator=generator) < 0.6 for name, shape in shapes.items()}

    def gap_masks(self, seed: int = 0) -> Masks:
        """Random masks whose first sample is whole, whose second lacks a modality, whose third lacks all."""
        masks = self.draw_masks(seed)
        for index, mask in enumerate(masks.values()):
            mask[0], mask[1:2], mask[2:3] = True, index != 0, False
        return masks

    def __str__(self) -> str:
        return ", ".join(f"{name} {list(self.shape(name))}" for name in self.dims)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A part under test: how it is built, what it claims, and what a call must respect.

    Args:
        build: ``dims`` to the part.
        card: Its claims.
        kind: ``merge`` or ``exchange``.
        label: What messages call it.
        aligned: Whether its streams must share their positions.
        equal_widths: Whether its streams must share their width.
        reads: Makes what the card names under ``reads``.
    """

    build: Build
    card: Card
    kind: Literal["merge", "exchange"]
    label: str
    aligned: bool = False
    equal_widths: bool = False
    reads: Reads | None = None

    @classmethod
    def of(
        cls,
        build: Build,
        kind: Literal["merge", "exchange"],
        *,
        aligned: bool | None = None,
        equal_widths: bool = False,
        reads: Reads | None = None,
    ) -> "Case":
        """Find the claims of ``build``, a class or a factory.

        Raises:
            ContractError: it makes no part, or the part has no card.
        """
        part = build if inspect.isclass(build) else _first_part(build)
        card = getattr(part, "card", None)  # an instance's: options may change a claim
        found = build if inspect.isclass(build) else type(part)
        if not isinstance(card, Card):
            raise ContractError(
                f"{found.__name__} breaks 'claims_complete': card must be a Card, got {card!r}. Every part "
                "states its claims as a class attribute."
            )
        return cls(
            build=build,
            card=card,
            kind=kind,
            label=getattr(found, "name", "") or found.__name__,
            aligned=card.aligned if aligned is None else aligned,
            equal_widths=equal_widths or card.level == "decision",
            reads=reads,
        )

    def counts(self) -> list[int]:
        """Numbers of modalities to try: every one within the arity, up to four."""
        low, high = self.card.arity
        most = max(4, low)
        return list(range(max(low, 1), (most if high is None else min(high, most)) + 1))

    def layout(self, ranks: Sequence[Rank], *, uniform: bool = False) -> Layout:
        """One modality per rank; ``uniform`` ones share width and, within a rank, positions."""
        names = modality_names(len(ranks))
        dims = {n: _WIDTHS[i % 4] + 4 * (i // 4) for i, n in enumerate(names)}
        if uniform or self.equal_widths:
            dims = dict.fromkeys(names, _COMMON_WIDTH)
        same = uniform or self.aligned
        choices = (_POSITIONS[rank] for rank in ranks)
        positions = {
            name: choice[0 if same else i % len(choice)]
            for i, (name, choice) in enumerate(zip(names, choices, strict=True))
        }
        return Layout(dims=dims, positions=positions)

    def pure_layouts(self, counts: Sequence[int], *, uniform: bool = False) -> Iterator[Layout]:
        """Layouts of one rank each, for every rank the card accepts."""
        for rank, count in product(self.card.ranks, counts):
            yield self.layout([rank] * count, uniform=uniform)

    def all_layouts(self) -> Iterator[Layout]:
        """Every rank at every number of modalities, and all mixtures of ranks among up to three."""
        for count in self.counts():
            if self.aligned or count > 3:
                yield from self.pure_layouts([count])
            else:
                yield from map(self.layout, product(self.card.ranks, repeat=count))

    def layouts(self) -> Iterator[Layout]:
        """A few layouts that cover every rank, a mixture of them, and two and three modalities."""
        counts = self.counts()
        yield from self.pure_layouts([2 if 2 in counts else counts[-1]])
        if not self.aligned:
            yield self.main_layout()

    def main_layout(self, most: int = 3) -> Layout:
        """One layout with as many ranks and (up to ``most``) modalities as the case allows, tokens first."""
        counts, ranks = self.counts(), sorted(self.card.ranks, reverse=True)
        count = max([n for n in counts if n <= most], default=counts[0])
        return self.layout([ranks[0 if self.aligned else i % len(ranks)] for i in range(count)])

    def fresh(self, layout: Layout, seed: int = 0) -> nn.Module:
        """The part in evaluation mode, its parameters re-drawn so that no zero hides a path."""
        torch.default_generator.manual_seed(seed)
        return _redraw(self.build(dict(layout.dims)), seed).eval()

    def run(
        self,
        part: nn.Module,
        streams: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        *,
        trace: Trace | None = None,
    ) -> Streams:
        """Call the part; a merge's output is filed under ``fused``."""
        reads = self.reads(dict(streams), dict(masks or {})) if self.reads else {}
        out = part(streams, masks, trace=trace, **reads)
        if self.kind == "merge" and isinstance(out, Tensor):
            return {"fused": out}
        if self.kind == "exchange" and isinstance(out, dict) and out.keys() == streams.keys():
            return out
        expected = "one tensor" if self.kind == "merge" else f"a dict of {sorted(streams)}"
        got = sorted(out) if isinstance(out, dict) else type(out).__name__
        raise ContractError(f"output must be {expected}, got {got}.")


def _first_part(build: Build) -> nn.Module:
    """What a factory makes of the first number of modalities that it accepts."""
    refusal: ModalityError | None = None
    with isolated():
        for count in (2, 1, 3, 4):
            try:
                return build(dict.fromkeys(modality_names(count), _COMMON_WIDTH))
            except ModalityError as error:
                refusal = error
    raise ContractError(f"build must make a part of one to four modalities, got {refusal}") from refusal


def modality_names(count: int) -> list[str]:
    """Names that are neither sorted nor plain words, as users' are."""
    names = ["text", "audio", "depth-map", "imu_2"]
    return names[:count] + [f"extra{i}" for i in range(count - len(names))]


def _redraw(part: nn.Module, seed: int) -> nn.Module:
    """Draw every parameter anew, independent of how the part starts them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return part


def isolated() -> Any:
    """Context that gives torch's global generator back as it found it."""
    return torch.random.fork_rng(devices=[])
