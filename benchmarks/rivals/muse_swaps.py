"""MuSE behind its encoders, with one of its parts at a time as its paper's code computes it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torchcrf
from torch import Tensor, nn

from fuseloom.exchange import Exchange
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.models import ExchangeTransformer, FusionModel
from fuseloom.models.muse.decoders import GenerativeLosses
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.nn.crf_paths import best_path
from fuseloom.tasks.tagging import Tagging
from fuseloom.types import Masks, Streams, Trace
from rivals.cls import loop
from rivals.muse import PlainMuse, PlainTransformer

__all__ = ["Behind", "swapped"]


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What stands behind the encoders, without the painter."""

    model: FusionModel
    tags: "_Tags | _PlainTags"

    def losses(self, streams: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Those of tags and of captions, of streams ``[B, N, D]`` whose first token is the cls."""
        trace = Trace(keep_records=False)
        found, _ = self.model.encode_together(dict(streams), {}, trace=trace, captions=rows["captions"])
        (captioning,) = trace.losses.values()
        return self.tags.loss(self._fused(found, rows), rows), captioning

    @torch.no_grad()
    def paths(self, streams: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> list[list[int]]:
        """The best path of each row."""
        found, _ = self.model.encode_together(dict(streams), {})
        return self.tags.paths(self._fused(found, rows))

    def _fused(self, streams: Streams, rows: Mapping[str, Tensor]) -> Tensor:
        return self.model.fuse(streams, {}, positions=rows["mask"])

    @property
    def parts(self) -> nn.ModuleList:
        """All of it that is learnt or drops anything."""
        decoders = next(part for part in self.model.exchanges.values() if isinstance(part, GenerativeLosses))
        stack = next(part for part in self.model.exchanges.values() if part is not decoders)
        rest = (self.model.anchor, self.model.merge, self.model.head, self.tags)
        own = [decoders.linear, decoders.captioner, stack, *rest]
        return nn.ModuleList(part for part in own if isinstance(part, nn.Module))


def swapped(ours: FusionModel, plain: PlainMuse, task: Tagging) -> dict[str, Behind]:
    """What is computed as the paper's code does it -> the model; first nothing, last all of it.

    What is not swapped is the same modules everywhere, and what is has the same weights.
    """
    decoders = next(part for part in ours.exchanges.values() if isinstance(part, GenerativeLosses))
    stack = next(part for part in ours.exchanges.values() if isinstance(part, ExchangeTransformer))
    assert decoders.captioner is not None
    theta = plain.transformer.theta
    loops, words = _shell(stack), _shell(decoders)
    loops.exchanges = nn.ModuleDict({key: _Loop(stack.dims, theta) for key in stack.exchanges})
    words.captioner = _Words(plain, decoders)
    whole = _shell(plain.transformer)
    whole.exchange = _Vectorised(stack.dims, theta)
    own, own_tags, plain_tags = (decoders, stack), _Tags(task), _PlainTags(plain)
    return {
        "nothing": _behind(ours, *own, own_tags),
        "the exchange": _behind(ours, decoders, loops, own_tags),
        "attention": _behind(ours, decoders, _Stack(stack.dims, whole), own_tags),
        "the captioner": _behind(ours, words, stack, own_tags),
        "the CRF": _behind(ours, *own, plain_tags),
        "all of these": _behind(ours, words, _Stack(stack.dims, plain.transformer), plain_tags),
    }


def _behind(ours: FusionModel, decoders: Exchange, stack: Exchange, tags: Any) -> Behind:
    model = _shell(ours)
    model.exchanges = nn.ModuleDict(dict(zip(ours.exchanges, (decoders, stack), strict=True)))
    return Behind(model=model, tags=tags)


def _shell(module: Any) -> Any:
    """A copy whose children are the same modules, so that one can be replaced."""
    return deepcopy(module, {id(child): child for child in module.children()})


class _Tags:
    """Ours: the task's loss, and paths from the packed chain."""

    def __init__(self, task: Tagging) -> None:
        self._task = task

    def loss(self, outputs: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        return self._task.loss(outputs, rows["tags"].masked_fill(~rows["mask"], -1))

    def paths(self, outputs: Tensor) -> list[list[int]]:
        return [path[path >= 0].tolist() for path in best_path(*unpack_chain(outputs))]


class _PlainTags(nn.Module):
    """pytorch-crf on the same emissions."""

    def __init__(self, plain: PlainMuse) -> None:
        super().__init__()
        self.crf: torchcrf.CRF = plain.crf

    def loss(self, outputs: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        _, emissions, mask = unpack_chain(outputs)
        return -self.crf(emissions, rows["tags"], mask, reduction="mean")

    def paths(self, outputs: Tensor) -> list[list[int]]:
        _, emissions, mask = unpack_chain(outputs)
        found: list[list[int]] = self.crf.decode(emissions, mask)
        return found


class _Loop(Exchange):
    """The exchange as a loop over samples and tokens."""

    card = ClsExchange.card

    def __init__(self, dims: Mapping[str, int], theta: float) -> None:
        super().__init__(dims)
        self.theta = theta

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        return dict(zip(streams, loop(streams, reads["scores"], theta=self.theta), strict=True))


class _Vectorised(nn.Module):
    """Our exchange, called as `loop` is."""

    def __init__(self, dims: Mapping[str, int], theta: float) -> None:
        super().__init__()
        self.part = ClsExchange(dims, theta=theta, faithful=True)

    def forward(self, streams: Streams, scores: Streams) -> Sequence[Tensor]:
        return list(self.part(streams, scores=scores).values())


class _Stack(Exchange):
    """A stack of attention modules in the place of ours."""

    card = ExchangeTransformer.card

    def __init__(self, dims: Mapping[str, int], stack: PlainTransformer) -> None:
        super().__init__(dims)
        self.stack = stack

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        return self.stack(streams)


class _Words(nn.Module):
    """The captioner as a loop over words, called as ours is."""

    def __init__(self, plain: PlainMuse, decoders: GenerativeLosses) -> None:
        super().__init__()
        assert decoders.captioner is not None
        self.captioner, self.marks = plain.captioner, decoders.captioner.marks

    def loss(self, image: Tensor, captions: Tensor, told: Tensor, seen: Tensor | None) -> Tensor:
        assert seen is None
        return self.captioner.loss(image, captions, told.sum(1), once=True)
