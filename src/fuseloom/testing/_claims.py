"""Clauses on the door: claims that are complete, and wrong dims, options and inputs that are refused."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch

from fuseloom.errors import ContractError, MaskError, ModalityError, OptionError
from fuseloom.registry import Interaction, Rank
from fuseloom.testing._case import Case, Layout
from fuseloom.testing._expect import expect
from fuseloom.types import Masks, Streams

__all__ = [
    "arity_respected",
    "claims_complete",
    "unknown_options_refused",
    "wrong_dims_refused",
    "wrong_input_refused",
]

_BAD_NAMES = ("", "1st", "a b", "a.b", "keys", "text_from_audio", 3)


def claims_complete(case: Case) -> None:
    """The card says what the docs print, within its vocabulary; the part has the base class of its kind."""
    card = case.card
    for field in ("summary", "cost", "parameters"):
        text = getattr(card, field)
        expect(isinstance(text, str) and bool(text.strip()), f"card.{field}", "a sentence", repr(text))
    orders = get_args(Interaction)
    expect(card.interaction in orders, "card.interaction", f"one of {orders}", repr(card.interaction))
    ranks = get_args(Rank)
    fits = bool(card.ranks) and set(card.ranks) <= set(ranks) and len(set(card.ranks)) == len(card.ranks)
    expect(fits, "card.ranks", f"some of {ranks}", card.ranks)
    low, high = card.arity
    expect(low >= 1 and (high is None or low <= high), "card.arity", "1 <= fewest <= most", card.arity)
    part = case.build(dict(case.main_layout().dims))
    kind = getattr(part, "kind", None)
    expect(kind == case.kind, "kind", repr(case.kind), repr(kind))
    dims = getattr(part, "dims", None)
    expect(dims == case.main_layout().dims, "dims of the part", "those it was built from", dims)


def arity_respected(case: Case) -> None:
    """Fewer or more modalities than claimed are refused; every number between is accepted."""
    low, high = case.card.arity
    rank = case.card.ranks[0]
    for count in case.counts():
        case.build(dict(case.layout([rank] * count).dims))
    outside = list(range(low)) + ([] if high is None else [high + 1])
    for count in outside:
        dims = dict(case.layout([rank] * count).dims)
        _expect_refused(f"{count} modalities", ModalityError, partial(case.build, dims))


def wrong_dims_refused(case: Case) -> None:
    """Names unfit for a state dict, impossible widths, and dims that are no mapping are refused."""
    good = dict(case.main_layout().dims)
    first, *others = good
    rest = {name: good[name] for name in others}
    for name in _BAD_NAMES:
        dims = {name: good[first]} | rest
        _expect_refused(f"modality {name!r}", ModalityError, partial(case.build, dims))
    widths = [0, -1, 2.0, True, *([good[first] + 1] if case.equal_widths and rest else [])]
    for width in widths:
        _expect_refused(f"width {width!r}", ModalityError, partial(case.build, {first: width} | rest))
    _expect_refused("a list as dims", OptionError, partial(case.build, list(good)))


def unknown_options_refused(case: Case) -> None:
    """Every option has a default, a merge has ``dim``, and an option or read nobody knows is refused."""
    layout = case.main_layout()
    part = case.build(dict(layout.dims))
    first, *options = inspect.signature(type(part)).parameters.values()
    expect(first.name == "dims", "first argument", "'dims'", repr(first.name))
    bare = [
        o.name for o in options if o.default is o.empty and o.kind not in (o.VAR_KEYWORD, o.VAR_POSITIONAL)
    ]
    expect(not bare, "options", "given a default", f"none for {bare}")
    names = [o.name for o in options]
    expect(case.kind == "exchange" or "dim" in names, "options of a merge", "among others 'dim'", names)
    wrong: dict[str, Any] = {"no_such_option": 1}
    call = partial(type(part), dict(layout.dims), **wrong)
    _expect_refused("an unknown option", (TypeError, OptionError), call)
    _expect_refused("an unknown read", OptionError, partial(part, layout.draw(), no_such_read=1))


def wrong_input_refused(case: Case) -> None:
    """Streams and masks that do not fit are refused with errors that a caller can tell apart."""
    for layout in case.layouts():
        part, streams, masks = case.fresh(layout), layout.draw(), layout.draw_masks()
        for what, bad in _bad_streams(case, layout, streams):
            _expect_refused(f"{what}, for {layout},", ModalityError, partial(part, bad))
        for what, bad in _bad_masks(streams, masks):
            _expect_refused(f"{what}, for {layout},", MaskError, partial(part, streams, bad))


def _bad_streams(case: Case, layout: Layout, streams: Streams) -> Iterator[tuple[str, Streams]]:
    name, value = next(iter(streams.items()))
    yield "a missing modality", {n: v for n, v in streams.items() if n != name}
    yield "an unknown modality", streams | {"smell": value}
    yield "a misspelt modality", {f"{n}s" if n == name else n: v for n, v in streams.items()}
    yield "a wrong width", streams | {name: value.new_ones(layout.shape(name, layout.dims[name] + 1))}
    yield "a stream of integers", streams | {name: value.long()}
    yield "a stream of one axis", streams | {name: value.flatten()}
    yield "a stream of five axes", streams | {name: value.reshape(*value.shape, *[1] * (5 - value.dim()))}
    for axes, rank in enumerate(get_args(Rank)):
        if rank not in case.card.ranks:
            shape = replace(layout, positions={name: (2,) * axes}).shape(name)
            yield f"a stream of rank {rank}", streams | {name: value.new_ones(shape)}
    if len(streams) > 1:
        yield "unequal batches", streams | {name: value[1:]}
    if len(streams) > 1 and case.aligned and layout.positions[name]:
        yield "streams of unequal positions", streams | {name: layout.resized(layout.batch, 1).draw()[name]}


def _bad_masks(streams: Streams, masks: Masks) -> Iterator[tuple[str, Masks]]:
    name, mask = next(iter(masks.items()))
    yield "a mask of an unknown modality", masks | {"smell": mask}
    yield "a mask of floats", masks | {name: mask.float()}
    yield "a mask of integers", masks | {name: mask.long()}
    yield "a mask with a feature axis", masks | {name: torch.ones_like(streams[name], dtype=torch.bool)}
    yield "a mask of another batch", masks | {name: mask[1:]}


def _expect_refused(
    what: str, errors: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object]
) -> None:
    names = " or ".join(error.__name__ for error in (errors if isinstance(errors, tuple) else (errors,)))
    try:
        call()
    except errors:
        return
    except Exception as error:
        raise ContractError(
            f"{what} must be refused with {names}, got {type(error).__name__}: {error}"
        ) from error
    raise ContractError(f"{what} must be refused with {names}, got no error.")
