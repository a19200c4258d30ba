"""A stack of encoder blocks per modality, with exchanges at named places inside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange import Exchange
from fuseloom.nn import Attended, EncoderBlock, PreNormBlock, attention_weights, first_token_attention
from fuseloom.nn.attention_records import record_owners
from fuseloom.nn.tokens import by_length
from fuseloom.registry import Card
from fuseloom.types import Masks, Streams, Trace

__all__ = ["ExchangeTransformer", "Place"]

Place = Literal["after_attention", "after_residual", "after_norm", "after_block"]
_SHARED = "shared"


class ExchangeTransformer(Exchange):
    r"""Each modality runs through its encoder blocks, and exchanges stand at places inside any of them.

    Of a block that gives ``x`` for ``x``, an exchange may change, for all modalities at once:

    ``after_attention``
        the update :math:`u = \mathrm{Attention}(x)` before it is added;
    ``after_residual``
        the tokens :math:`x + u`;
    ``after_norm``
        what the feedforward map reads: in a post-norm block the normalised tokens themselves, in a pre-norm
        block their normalised copy;
    ``after_block``
        the tokens that the next block gets.

    An exchange that reads ``scores`` is given the attention of token 0 in the same block, averaged over heads
    and without dropout; one that reads ``inputs``, the tokens that the block got. With shared weights,
    modalities of equal length run as one batch. Being an exchange itself, the stack can stand between the
    stages of a `FusionModel`.

    Args:
        dims: Modality name -> width ``D_m``.
        num_layers: Blocks in a row.
        block: Builds a block from its width: a class such as `PreNormBlock`, or a ``partial`` of one with its
            heads, hidden width and dropout.
        exchanges: ``(layer, place)`` -> exchange; negative layers count from the end. One that stands at
            several places shares its weights among them.
        shared: Use the same blocks for all modalities, which then have the same width.
        norm: Builds the norm behind the last block; by default what belongs behind the blocks: a LayerNorm
            if they are pre-norm, nothing if post-norm.

    Raises:
        ModalityError: unequal widths for shared blocks, or an exchange that was built for other modalities.
        OptionError: no layer, or an exchange at a layer or place that is not there.

    Reads:
        ``attended``: modality name -> bool ``[B, N]``, True where a token may be attended to. By default that
        is where it is real. The streams' masks zero what stands under False in the end; this does not.
        What its exchanges read, other than scores and inputs, is passed on to them.

    Records:
        ``layer.<number>.<modality>.attention``: ``[B, H, N, N]``, and what `record_owners` files under that
        name; and the records of the exchanges under ``layer.<number>.<place>``.

    Example:
        >>> from functools import partial
        >>> from fuseloom.exchange.cls_exchange import ClsExchange
        >>> dims = {"text": 8, "image": 8}
        >>> model = ExchangeTransformer(
        ...     dims,
        ...     num_layers=4,
        ...     block=partial(PreNormBlock, num_heads=2),
        ...     exchanges={(layer, "after_block"): ClsExchange(dims) for layer in range(1, 3)},
        ...     shared=True,
        ... )
        >>> out = model({"text": torch.ones(2, 5, 8), "image": torch.ones(2, 9, 8)})
        >>> {name: tuple(value.shape) for name, value in out.items()}
        {'text': (2, 5, 8), 'image': (2, 9, 8)}
    """

    card = Card(
        summary="Encoder blocks with exchanges at named places inside them.",
        interaction="nonlinear",
        cost="sum_m N_m D_m (12 D_m + 2 N_m) per layer, and its exchanges",
        parameters="per modality, or shared",
        ranks=("tokens",),
        arity=(2, None),
        reads=("attended",),
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        num_layers: int = 2,
        block: Callable[[int], EncoderBlock] = PreNormBlock,
        exchanges: Mapping[tuple[int, Place], Exchange] | None = None,
        shared: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__(dims)
        if num_layers < 1:
            raise OptionError(f"num_layers must be at least 1, got {num_layers}.")
        self.shared = shared
        widths = self._widths()
        layers = [{name: block(width) for name, width in widths.items()} for _ in range(num_layers)]
        self.layers = nn.ModuleList(nn.ModuleDict(layer) for layer in layers)
        closing = norm or next(iter(layers[0].values())).closing
        self.norms = nn.ModuleDict({name: closing(width) for name, width in widths.items()})
        placed = self._checked(exchanges or {})
        first: dict[Exchange, str] = {}
        for where, exchange in placed.items():
            first.setdefault(exchange, where)
        self.exchanges = nn.ModuleDict({where: exchange for exchange, where in first.items()})
        """``<layer>_<place>`` -> exchange; one that stands at several places is under its first."""
        self._placed = {where: first[exchange] for where, exchange in placed.items()}
        self._scored = {int(w.partition("_")[0]) for w, e in placed.items() if "scores" in e.card.reads}
        passed = {name for exchange in first for name in exchange.card.reads} - {"scores", "inputs"}
        self.card = replace(
            self.card,
            discrete=any(exchange.card.discrete for exchange in first),
            reads=(*self.card.reads, *sorted(passed)),
        )

    def _widths(self) -> dict[str, int]:
        if not self.shared:
            return self.dims
        if len(set(self.dims.values())) > 1:
            raise ModalityError(
                f"Widths must be equal where shared=True, got {self.dims}. Pass shared=False."
            )
        return {_SHARED: next(iter(self.dims.values()))}

    def _checked(self, exchanges: Mapping[tuple[int, Place], Exchange]) -> dict[str, Exchange]:
        placed: dict[str, Exchange] = {}
        for (layer, place), exchange in exchanges.items():
            where = self._key(layer, place)
            if where in placed:
                raise OptionError(f"exchanges must name each place once, got {where!r} twice.")
            if exchange.dims != self.dims:
                raise ModalityError(
                    f"The exchange at {where!r} must be built for {self.dims}, got one for {exchange.dims}."
                )
            placed[where] = exchange
        return placed

    def _key(self, layer: int, place: str) -> str:
        if place not in get_args(Place):
            raise OptionError(
                f"place must be inside a block, got {place!r}.{did_you_mean(place, get_args(Place))}"
            )
        count = len(self.layers)
        if not -count <= layer < count:
            raise OptionError(f"layer of an exchange must be in [{-count}, {count}), got {layer}.")
        return f"{layer % count}_{place}"

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        attended = self._checked_masks(streams, reads.pop("attended", None) or {})
        groups = self._groups(streams)
        keys = _fold_masks(masks | attended, streams, groups)
        call = _Call(groups=groups, masks=masks, keys=keys, reads=reads)
        tokens = call.fold(streams)
        for number in range(len(self.layers)):
            scope = None if trace is None else trace.scope(f"layer.{number}")
            tokens = self._run_layer(number, tokens, call, scope)
        norms = self._of(self.norms, call)
        return call.unfold([norm(x) for norm, x in zip(norms, tokens, strict=True)])

    def _groups(self, streams: Streams) -> list[list[str]]:
        """Modalities that run as one batch: those of equal length, where weights are shared."""
        lengths = {name: value.shape[1] for name, value in streams.items()}
        return by_length(lengths) if self.shared else [[name] for name in lengths]

    def _of(self, modules: nn.Module, call: "_Call") -> list[Any]:
        """The module of every group."""
        return [modules.get_submodule(_SHARED if self.shared else group[0]) for group in call.groups]

    def _run_layer(
        self, number: int, tokens: list[Tensor], call: "_Call", trace: Trace | None
    ) -> list[Tensor]:
        blocks: list[EncoderBlock] = self._of(self.layers[number], call)
        attended = [b.attend(x, k) for b, x, k in zip(blocks, tokens, call.keys, strict=True)]
        if trace is not None and trace.keep_records:
            _record_attention(attended, blocks, call, trace)
        given = {"inputs": call.unfold(tokens)}
        if number in self._scored:
            given["scores"] = _scores(attended, blocks, call)

        def at(place: Place, values: list[Tensor]) -> list[Tensor]:
            return self._exchanged(number, place, values, call=call, given=given, trace=trace)

        updates = at("after_attention", [one.update for one in attended])
        tokens = at("after_residual", [x + u for x, u in zip(tokens, updates, strict=True)])
        normal = at("after_norm", [b.normalise(x) for b, x in zip(blocks, tokens, strict=True)])
        return at("after_block", [b.feed(x, n) for b, x, n in zip(blocks, tokens, normal, strict=True)])

    def _exchanged(
        self,
        number: int,
        place: Place,
        values: list[Tensor],
        *,
        call: "_Call",
        given: Mapping[str, Streams],
        trace: Trace | None,
    ) -> list[Tensor]:
        where = f"{number}_{place}"
        if where not in self._placed:
            return values
        exchange = self.exchanges[self._placed[where]]
        assert isinstance(exchange, Exchange)
        known = {**call.reads, **given}
        reads = {name: known[name] for name in exchange.card.reads if name in known}
        scope = None if trace is None else trace.scope(place)
        return call.fold(exchange(call.unfold(values), call.masks, trace=scope, **reads))


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What stays the same through all layers of one call."""

    groups: Sequence[Sequence[str]]
    """Modalities that run as one batch; values inside the stack are one tensor per group."""
    masks: Masks
    keys: Sequence[Tensor | None]
    """Per group, which tokens are attended to."""
    reads: Mapping[str, Any]

    def fold(self, streams: Streams) -> list[Tensor]:
        """``[B, N, D]`` per modality to ``[B of all its modalities, N, D]`` per group."""
        return [_stacked([streams[name] for name in group]) for group in self.groups]

    def unfold(self, values: Sequence[Tensor]) -> Streams:
        """One tensor per group to one per modality."""
        found: Streams = {}
        for group, value in zip(self.groups, values, strict=True):
            found |= zip(group, value.view(len(group), -1, *value.shape[1:]).unbind(0), strict=True)
        return found


def _stacked(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.cat(list(values))


def _fold_masks(masks: Masks, streams: Streams, groups: Sequence[Sequence[str]]) -> list[Tensor | None]:
    def mask_of(name: str) -> Tensor:
        value = streams[name]
        return masks[name] if name in masks else value.new_ones(value.shape[:2], dtype=torch.bool)

    return [
        _stacked([mask_of(name) for name in group]) if masks.keys() & set(group) else None for group in groups
    ]


def _scores(attended: Sequence[Attended], blocks: Sequence[EncoderBlock], call: _Call) -> Streams:
    """Attention of token 0, ``[B, N]`` per modality; a choice made by it carries no gradient."""
    values = [
        first_token_attention(one.query.detach(), one.key.detach(), num_heads=block.num_heads, mask=keys)
        for one, block, keys in zip(attended, blocks, call.keys, strict=True)
    ]
    return call.unfold(values)


def _record_attention(
    attended: Sequence[Attended], blocks: Sequence[EncoderBlock], call: _Call, trace: Trace
) -> None:
    weights = [
        attention_weights(one.query, one.key, num_heads=block.num_heads, mask=keys)
        for one, block, keys in zip(attended, blocks, call.keys, strict=True)
    ]
    real = {
        name: part
        for group, mask in zip(call.groups, call.keys, strict=True)
        if mask is not None
        for name, part in zip(group, mask.chunk(len(group)), strict=True)
    }
    for name, value in call.unfold(weights).items():
        scope, kept = trace.scope(name), real.get(name)
        scope.record("attention", value)
        record_owners(scope, "attention", {name: value.shape[-1]}, like=value, mask=kept, asked=kept)
