"""The figures that two exchanges promise, each with what was found, and the profile where it is missed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from contest import Effort, Setting, Size, build, contender, draw, steps
from probes import Operations, busiest, saved_bytes
from rivals.cls import loop
from rivals.exchanges import PlainPixelAttention, floor_pixel_attention
from timing import measure, unsteady
from torch import Tensor

__all__ = ["CLS", "STAGES", "Bound", "Stage", "again", "cls_figures", "figure", "pixel_figures"]

_HEADS, _PRODUCTS = 8, 16
_SAVED, _BOTH = 4.0, 0.5
_OPERATIONS, _MASKED_OPERATIONS, _BACKWARD = 40, 60, 40
_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a figure must be, and what is aimed at."""

    most: float | None = None
    fewest: float | None = None
    aim: float | None = None

    def holds(self, found: float) -> bool:
        """Whether a figure is within."""
        return (self.most is None or found <= self.most) and (self.fewest is None or found >= self.fewest)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of an encoder, and what is promised there."""

    number: int
    size: Size
    forward: Bound | None = None
    both: Bound | None = None


def _stage(number: int, tokens: int, width: int, **promised: Bound) -> Stage:
    return Stage(number=number, size=Size(batch=2, width=width, tokens=tokens, modalities=2), **promised)


STAGES = (
    _stage(1, 19200, 64, forward=Bound(most=2.4, aim=1.6), both=Bound(most=_BOTH)),
    _stage(2, 4800, 128),
    _stage(3, 1200, 320, forward=Bound(most=1.3)),
    _stage(4, 300, 512, forward=Bound(most=1.3)),
)
"""Of `pixel_attention`, as its paper places it in an encoder."""
CLS = Size(batch=40, width=768, tokens=65, modalities=2)
"""Of `cls_exchange`, as published."""


def figure(what: str, size: Size, found: float, bound: Bound | None, **more: Any) -> dict[str, Any]:
    """One figure as the JSON holds it; without a bound nothing is promised."""
    limits = None if bound is None else asdict(bound)
    holds = None if bound is None else bound.holds(found)
    return {"what": what, "size": asdict(size), "found": found, "bound": limits, "holds": holds} | more


def _timed(
    what: str,
    size: Size,
    runs: Mapping[str, Callable[[], Any]],
    bound: Bound | None,
    effort: Effort,
    device: torch.device,
) -> dict[str, Any]:
    """First run's median time divided by the second's, and the profile of `ours` where that misses."""
    times = measure(runs, **asdict(effort), device=device)
    above, below = times.values()
    steady = not (unsteady(above) or unsteady(below))
    row = figure(what, size, above["median_s"] / below["median_s"], bound, times=times, steady=steady)
    return row | ({"profile": busiest(runs["ours"], device)} if row["holds"] is False else {})


def pixel_figures(stage: Stage, setting: Setting, effort: Effort) -> Iterator[dict[str, Any]]:
    """Of `pixel_attention` at one stage: forward by floor, both passes by the plain form, bytes kept."""
    part = build("pixel_attention", stage.size, num_heads=_HEADS)
    plain = PlainPixelAttention(part.state_dict(), stage.size.dims, num_heads=_HEADS).eval()
    part, plain = (module.to(setting.device, setting.dtype) for module in (part, plain))
    streams = draw(stage.size, setting)
    ours, theirs = (steps(contender(module), streams) for module in (part, plain))
    torch.testing.assert_close(
        list(ours["forward"]()), list(theirs["forward"]()), rtol=_TOLERANCE, atol=_TOLERANCE
    )
    state = {key: value.detach() for key, value in part.state_dict().items()}
    rows, width = stage.size.batch * stage.size.tokens, stage.size.width
    out = [torch.empty(rows, width, device=setting.device, dtype=setting.dtype) for _ in range(_PRODUCTS)]
    name = f"pixel_attention, stage {stage.number}"

    def floor() -> list[Tensor]:
        return floor_pixel_attention(state, streams, out)

    forward = {"ours": ours["forward"], "floor": floor}
    alone = _timed(f"{name}: forward / floor", stage.size, forward, stage.forward, effort, setting.device)
    both = {"ours": ours["forward+backward"], "plain": theirs["forward+backward"]}
    pair = _timed(f"{name}: forward + backward / plain", stage.size, both, stage.both, effort, setting.device)
    yield from (alone, pair, again(name, stage.size, alone, pair))
    held = saved_bytes(contender(part), streams) / sum(value.nbytes for value in streams.values())
    yield figure(f"{name}: bytes kept for backward / inputs", stage.size, held, Bound(most=_SAVED))


def again(name: str, size: Size, alone: Mapping[str, Any], pair: Mapping[str, Any]) -> dict[str, Any]:
    """The least that can be had without keeping anything, by the plain form's time for both passes.

    Each product is made in the forward, once more in the backward, and has two products for its gradients.
    """
    floor, plain = alone["times"]["floor"]["median_s"], pair["times"]["plain"]["median_s"]
    return figure(f"{name}: 4 floors / plain's both passes", size, 4 * floor / plain, None)


def cls_figures(size: Size, setting: Setting, effort: Effort) -> Iterator[dict[str, Any]]:
    """Of `cls_exchange` with scores given: operations, reads of values, and backward by the loop."""
    part, streams = build("cls_exchange", size).to(setting.device, setting.dtype), draw(size, setting)
    scores = {name: torch.rand(value.shape[:2], device=setting.device) for name, value in streams.items()}
    masks = {
        name: torch.rand(value.shape[:2], device=setting.device) < 0.8 for name, value in streams.items()
    }
    for given, most, how in ((None, _OPERATIONS, "without"), (masks, _MASKED_OPERATIONS, "with")):
        with torch.no_grad(), Operations() as seen:
            part(streams, given, scores=scores)
        yield figure(f"cls_exchange: operations {how} masks", size, seen.count, Bound(most=most))
        yield figure(f"cls_exchange: values read {how} masks", size, len(seen.reads), Bound(most=0))
    runs = {
        "loop": _backward(lambda given: loop(given, scores), streams),
        "ours": _backward(lambda given: list(part(given, scores=scores).values()), streams),
    }
    promised = Bound(fewest=_BACKWARD)
    yield _timed("cls_exchange: backward, loop / ours", size, runs, promised, effort, setting.device)


def _backward(
    forward: Callable[[dict[str, Tensor]], list[Tensor]], streams: Mapping[str, Tensor]
) -> Callable[[], tuple[Tensor, ...]]:
    leaves = {name: value.clone().requires_grad_() for name, value in streams.items()}
    out = forward(leaves)
    ones = [torch.ones_like(value) for value in out]
    return lambda: torch.autograd.grad(out, list(leaves.values()), ones, retain_graph=True)
