"""Feature swapping (FSMR): tokens of two modalities that mean the same thing take each other's features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuseloom.alignment.named import named_alignments
from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange._base import Exchange
from fuseloom.nn.mixing import ConstantShare, GatedShare, LearnedShare
from fuseloom.nn.partners import PAIR_CHOICES, PairChoice, Pairs
from fuseloom.nn.tokens import as_tokens, like_stream
from fuseloom.nn.transformer import SinusoidalPositions
from fuseloom.registry import Card, register
from fuseloom.types import Alignment, Masks, Streams, Trace

__all__ = ["FeatureSwap", "Level"]

Level = Literal["content", "hidden"]
_Mix = float | Literal["gated", "learned"]

_MOVED = (
    "level='hidden' must be no full two-way swap, got mix=1 into every modality. Behind the positions it "
    "moves whole tokens, which changes nothing for what attends to or pools all tokens of both streams. Pass "
    "readd='position', a mix below 1, or targets=[...] for one way; many_to_many=True where tokens have "
    "several partners; level='content' in front of the positions."
)
_LEARNT: Mapping[str, Callable[[int], nn.Module]] = {
    "gated": GatedShare,
    "learned": lambda dim: LearnedShare(),
}


@register("feature_swap")
class FeatureSwap(Exchange):
    r"""Tokens that an alignment pairs take each other's features: swapped, mixed or replaced.

    .. math:: y_{t,i} = (1 - \alpha_t)\, x_{t,i} + \alpha_t \tilde{x}_{t,i}, \quad
        \tilde{x}_{t,i} = \frac{\sum_s \sum_j a^{ts}_{ij}\, f_{ts}(x_{s,j})}{\sum_s \sum_j a^{ts}_{ij}}

    where ``a`` are the weights of the pairs of token ``i`` with real tokens of the other modalities; a token
    without a pair stays as it is. All read what was there before, so with ``mix=1`` and pairs that are one to
    one tokens swap, and a second swap undoes the first. Gradients cross over with the features. ``f`` is a
    linear map where widths differ, else nothing. An embedding is one token, a feature map one per pixel.

    Self-attention and pooling do not notice the order of tokens. Behind the point where positions (or types)
    were added, a full two-way swap of whole tokens moves them with everything they carry, and what attends to
    or pools all tokens of both streams gives what it gave before. So at ``level="hidden"`` that is refused:
    add each token's own position again (``readd``), ``mix`` less than 1, or let only some modalities receive
    (``targets``).

    Paper: Li et al., 2024, arXiv:2403.20026 (FSMR), which swaps the word embeddings of objects that a text
    mentions with the features of their regions, before positions are added: the default.
    Differs from the official code, which was published without the swap itself: the formula is the paper's
    idea as its published inputs fix it, for any pairs, weights and number of modalities.

    Args:
        dims: Modality name -> width.
        mix: ``alpha``, the share of the partner: a number in [0, 1], a ``learned`` number, or ``gated`` by
            the token and its partner; one for all, or one per modality.
        targets: The modalities that receive; all by default. With one of two, its tokens are replaced.
        choose: Which of several partners count: their weighted ``mean``, the ``first`` or the ``last`` pair.
        level: Whether the streams are ``content``, to which positions are added afterwards, or ``hidden``,
            behind them. It decides what is refused; the formula is the same.
        readd: ``position`` adds the position of the receiving token to what it receives.
        many_to_many: Promise that tokens have several partners, so that a full two-way swap at
            ``level="hidden"`` is none of whole tokens and is not refused.

    Raises:
        ModalityError: fewer than two modalities, or ``mix`` or ``targets`` of other ones.
        OptionError: an option out of its range, or a swap that would change nothing.

    Reads:
        ``alignment``: ``<target>_from_<source>`` -> `Alignment` of the source's tokens to the target's, read
        both ways; a pair without one exchanges nothing. For two modalities also one alone, of the first
        modality's tokens (source) to the second's. `fuseloom.alignment` builds them.
        ``positions`` (with ``readd``): modality name -> what was added to its tokens, ``[N, D]`` or
        ``[B, N, D]``; sines and cosines of the place by default.

    Records:
        ``<modality>.swapped``: bool ``[B, N]``, which tokens have a partner; ``<modality>.share``: ``alpha``,
        ``[1]``, or ``[B, N, 1]`` where it is gated.

    Example:
        >>> exchange = FeatureSwap({"text": 1, "image": 1})
        >>> pairs = Alignment.from_pairs([[(2, 0)]])  # the third word names the first region
        >>> streams = {"text": torch.tensor([[[1.0], [2], [3]]]), "image": torch.tensor([[[7.0], [8]]])}
        >>> {name: value.flatten().tolist() for name, value in exchange(streams, alignment=pairs).items()}
        {'text': [1.0, 2.0, 7.0], 'image': [3.0, 8.0]}
    """

    card = Card(
        summary="Tokens that an alignment pairs take each other's features.",
        interaction="additive",
        cost="D_t per pair; between unequal widths D_s D_t",
        parameters="none; per ordered pair of unequal widths",
        arity=(2, None),
        reads=("alignment",),
        paper="Li et al., 2024, arXiv:2403.20026",
        code="https://github.com/THU-BPM/FSMR",
        differs="the official swap was never published; any pairs, weights and number of modalities",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        mix: _Mix | Mapping[str, _Mix] = 1.0,
        targets: Sequence[str] | None = None,
        choose: PairChoice = "mean",
        level: Level = "content",
        readd: Literal["position"] | None = None,
        many_to_many: bool = False,
    ) -> None:
        super().__init__(dims)
        _check_choice("choose", choose, tuple(PAIR_CHOICES))
        _check_choice("level", level, get_args(Level))
        _check_choice("readd", readd, (None, "position"))
        self.targets = self._receivers(targets)
        shares = self._per_modality(mix)
        self._choose = PAIR_CHOICES[choose]
        self.mix = nn.ModuleDict({name: _share(shares[name], self.dims[name]) for name in self.targets})
        pairs = [(t, s) for t in self.targets for s in self.dims if t != s]
        mapped = {
            f"{t}_from_{s}": nn.Linear(self.dims[s], self.dims[t])
            for t, s in pairs
            if self.dims[t] != self.dims[s]
        }
        self.bring = nn.ModuleDict(mapped)
        whole = not mapped and all(shares.get(name) == 1 for name in self.dims)
        if level == "hidden" and readd is None and whole and not many_to_many:
            raise OptionError(_MOVED)
        self._arrive = _with_position if readd else _as_given
        gated = "gated" in shares.values()
        self.card = replace(
            self.card,
            interaction="nonlinear" if gated else "additive",
            reads=("alignment", "positions") if readd else ("alignment",),
        )

    def _receivers(self, targets: Sequence[str] | None) -> tuple[str, ...]:
        if targets is None:
            return tuple(self.dims)
        if unknown := [name for name in targets if name not in self.dims]:
            hint = did_you_mean(unknown[0], self.dims)
            raise ModalityError(f"targets must be modalities, got {unknown[0]!r}.{hint}")
        if not targets:
            raise OptionError("targets must be one modality at least, got none.")
        return tuple(name for name in self.dims if name in targets)

    def _per_modality(self, mix: _Mix | Mapping[str, _Mix]) -> dict[str, _Mix]:
        """The share of each modality that receives."""
        if not isinstance(mix, Mapping):
            return dict.fromkeys(self.targets, mix)
        if mix.keys() != set(self.targets):
            raise ModalityError(f"mix must name {sorted(self.targets)}, got {sorted(mix)}.")
        return {name: mix[name] for name in self.targets}

    def exchange(
        self,
        streams: Streams,
        masks: Masks,
        *,
        trace: Trace | None,
        alignment: Alignment | Mapping[str, Alignment] | None = None,
        positions: Mapping[str, Tensor] | None = None,
        **reads: Any,
    ) -> Streams:
        if alignment is None:
            raise _nothing_aligned(*self.dims)
        if unknown := sorted((positions or {}).keys() - set(self.targets)):
            raise ModalityError(
                f"positions must be of {list(self.targets)}, got {unknown[0]!r}, which receives nothing."
            )
        pairs = named_alignments(alignment, self.dims, batch=next(iter(streams.values())).shape[0])
        tokens = {name: as_tokens(value).contiguous() for name, value in streams.items()}
        kept = {name: mask.reshape(mask.shape[0], -1) for name, mask in masks.items()}  # [B, N]
        out = dict(streams)
        for target in self.targets:
            given = self._given(target, tokens, kept, pairs)
            if given is None:
                continue
            given = self._arrive(given, streams[target], (positions or {}).get(target))
            mixed, share = self.mix[target](tokens[target], given)
            out[target] = like_stream(mixed, streams[target])
            if trace is not None:
                trace.record(f"{target}.swapped", given.found)
                trace.record(f"{target}.share", share)
        return out

    def _given(
        self, target: str, tokens: Streams, kept: Masks, pairs: Mapping[str, Alignment]
    ) -> Pairs | None:
        """What the pairs of all sources bring to a modality; None where none is aligned with it."""
        parts = []
        for source in self.dims:
            key = f"{target}_from_{source}"
            if key in pairs:
                part = Pairs.take(pairs[key], tokens[source], tokens[target].shape[1], kept.get(source))
                parts.append(part.map(self.bring[key]) if key in self.bring else part)
        return self._choose(Pairs.join(parts)) if parts else None


def _as_given(given: Pairs, stream: Tensor, position: Tensor | None) -> Pairs:
    return given


def _with_position(given: Pairs, stream: Tensor, position: Tensor | None) -> Pairs:
    """Each value with the position of the token that it is brought to."""
    if position is None:
        places = torch.zeros_like(stream)
        grid = places.movedim(1, -1) if stream.dim() == 4 else places  # features last
        position = SinusoidalPositions()(grid).reshape(as_tokens(stream).shape)
    shape = as_tokens(stream).shape
    if tuple(position.shape) not in (tuple(shape), tuple(shape[1:])):
        raise OptionError(
            f"positions must have shape {tuple(shape[1:])} or {tuple(shape)}, got {tuple(position.shape)}."
        )
    here = given.at_targets(position.expand(shape)).to(given.values.dtype)
    return given.map(lambda values: values + here)


def _nothing_aligned(first: str, second: str, *others: str) -> OptionError:
    return OptionError(
        "alignment must say which tokens belong together, got none. Pass "
        f"alignment={{'{second}_from_{first}': ...}}; fuseloom.alignment builds it from character spans, "
        "boxes, labels or similarity."
    )


def _share(mix: _Mix, dim: int) -> nn.Module:
    if not isinstance(mix, str):
        return ConstantShare(mix)
    if mix not in _LEARNT:
        raise OptionError(f"mix must be a number or one of {sorted(_LEARNT)}, got {mix!r}.")
    return _LEARNT[mix](dim)


def _check_choice(option: str, value: object, known: Sequence[object]) -> None:
    if value not in known:
        raise OptionError(f"{option} must be one of {list(known)}, got {value!r}.")
