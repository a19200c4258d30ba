"""One part against its plain formulation and its floor: same weights, same streams, agreement first.

The plain formulation uses the best torch call for each step of the paper; the floor does the matrix products
that cannot be avoided and nothing else. Both stand in `rivals`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rivals import READS, RIVALS
from timing import Clock, measure
from torch import Tensor, nn

import fuseloom
from fuseloom.comparison.measure import PeakMemory
from fuseloom.errors import FuseloomError

__all__ = [
    "PASSES",
    "Contender",
    "Effort",
    "Setting",
    "Size",
    "about",
    "agree",
    "build",
    "compete",
    "compiled",
    "contender",
    "contenders",
    "draw",
    "peaks",
    "race",
    "steps",
    "too_large",
    "without_rival",
]

PASSES = ("forward", "forward+backward")
_MOST_WEIGHTS = 2**26
_TOLERANCE = 1e-6

Step = Callable[[], Sequence[Tensor | None]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """What streams are like; a single token is an embedding ``[B, D]``."""

    batch: int
    width: int
    tokens: int = 1
    modalities: int

    def __str__(self) -> str:
        return f"B={self.batch} D={self.width} N={self.tokens} M={self.modalities}"

    @property
    def dims(self) -> dict[str, int]:
        """Modality name -> width."""
        return {f"m{index}": self.width for index in range(self.modalities)}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How it runs: weights and streams cast to a type, eager or compiled, on a device."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long is measured: as many rounds, or seconds after the first five, for each pass."""

    rounds: int
    seconds: float
    clock: Clock = time.perf_counter


@dataclass(frozen=True)
class Contender:
    """Something to time: a forward, and the parameters that its backward reaches."""

    forward: Callable[[dict[str, Tensor]], Sequence[Tensor]]
    parameters: list[Tensor]


def build(name: str, size: Size, **options: Any) -> nn.Module:
    """One of our parts, ready to predict."""
    return fuseloom.create(name, size.dims, **options).eval()


def contenders(name: str, size: Size, setting: Setting, **options: Any) -> dict[str, Contender]:
    """Ours, the plain formulation and the floor of a part, with the same weights."""
    plain_class, floor = RIVALS[name]
    part = build(name, size, **options)
    plain = plain_class(part.state_dict(), size.dims).eval()
    for module in (part, plain):
        module.to(setting.device, setting.dtype)
    weights = {key: value.clone() for key, value in part.state_dict().items()}
    reached = [value.requires_grad_() for value in weights.values() if value.is_floating_point()]
    entrants = {
        "ours": contender(part, READS.get(name)),
        "plain": contender(plain, READS.get(name)),
        "floor": Contender(lambda streams: floor(weights, streams), reached),
    }
    return {who: compiled(one) for who, one in entrants.items()} if setting.compiled else entrants


def contender(
    module: nn.Module, reads: Callable[[dict[str, Tensor]], dict[str, Any]] | None = None
) -> Contender:
    """A merge, an exchange or a plain formulation, and what it reads besides streams."""

    def forward(streams: dict[str, Tensor]) -> list[Tensor]:
        out = module(streams) if reads is None else module(streams, **reads(streams))
        if isinstance(out, Tensor):
            return [out]
        return list(out.values()) if isinstance(out, dict) else list(out)

    return Contender(forward, list(module.parameters()))


def compiled(eager: Contender) -> Contender:
    """The same, compiled for one size."""
    return Contender(torch.compile(eager.forward, dynamic=False), eager.parameters)


def draw(size: Size, setting: Setting) -> dict[str, Tensor]:
    """Standard normal streams."""
    shape = (size.batch, size.width) if size.tokens == 1 else (size.batch, size.tokens, size.width)
    return {name: torch.randn(shape).to(setting.device, setting.dtype) for name in size.dims}


def steps(entrant: Contender, streams: Mapping[str, Tensor]) -> dict[str, Step]:
    """What is timed: a forward without gradients, and a forward with all of its gradients."""
    leaves = {name: value.clone().requires_grad_() for name, value in streams.items()}
    sources = [*leaves.values(), *entrant.parameters]

    @torch.no_grad()
    def forward() -> Sequence[Tensor]:
        return entrant.forward(dict(streams))

    def both() -> Sequence[Tensor | None]:
        out = entrant.forward(dict(leaves))
        ones = [torch.ones_like(value) for value in out]
        # A floor does not reach biases, nor weights that enter no product.
        return torch.autograd.grad(out, sources, grad_outputs=ones, allow_unused=True)

    return dict(zip(PASSES, (forward, both), strict=True))


def agree(name: str, size: Size, device: torch.device, **options: Any) -> None:
    """Stop unless ours and the plain formulation give the same outputs and the same input gradients.

    Raises:
        AssertionError: they do not.
    """
    # In less precision a difference of rounding may open a ReLU, and change a gradient by a whole weight.
    setting = Setting(device=device, dtype=torch.float64)
    entrants, streams = contenders(name, size, setting, **options), draw(size, setting)
    ours, plain = (steps(entrants[who], streams) for who in ("ours", "plain"))
    for which in PASSES:
        count = None if which == "forward" else len(streams)
        found, expected = list(ours[which]())[:count], list(plain[which]())[:count]
        torch.testing.assert_close(
            found, expected, rtol=_TOLERANCE, atol=_TOLERANCE, msg=lambda text: f"{name}: {text}"
        )


def compete(name: str, size: Size, setting: Setting, effort: Effort, **options: Any) -> dict[str, Any]:
    """Times of both passes, and peak memory where it runs eagerly."""
    agree(name, size, setting.device, **options)
    if setting.compiled:
        torch.compiler.reset()
    entrants = contenders(name, size, setting, **options)
    return about(name, size, setting) | race(entrants, draw(size, setting), setting, effort)


def race(
    entrants: Mapping[str, Contender], streams: Mapping[str, Tensor], setting: Setting, effort: Effort
) -> dict[str, Any]:
    """Times of both passes of all that take part, in turns, and peak memory where they run eagerly."""
    runs = {who: steps(entrant, streams) for who, entrant in entrants.items()}
    result: dict[str, Any] = {}
    for which in PASSES:
        timed = {who: step[which] for who, step in runs.items()}
        result[which] = measure(timed, **asdict(effort), device=setting.device)
    # Compiled code allocates where the counter does not see it.
    result["peak_bytes"] = None if setting.compiled else peaks(runs)
    return result


def about(name: str, size: Size, setting: Setting) -> dict[str, Any]:
    """What was measured, as the JSON says it."""
    return {
        "part": name,
        "size": asdict(size),
        "dtype": str(setting.dtype).removeprefix("torch."),
        "compiled": setting.compiled,
    }


def peaks(runs: Mapping[str, Mapping[str, Step]]) -> dict[str, int]:
    """Most bytes alive at once of what a forward and backward makes, the gradients of all weights too."""
    found = {}
    for who, step in runs.items():
        with PeakMemory() as memory:
            step["forward+backward"]()
        found[who] = memory.peak
    return found


def too_large(name: str, size: Size, **options: Any) -> bool:
    """Whether the part refuses the size, or would have more weights than a small machine holds thrice."""
    try:
        with torch.device("meta"):
            part = build(name, size, **options)
    except FuseloomError:
        return True
    return sum(weight.numel() for weight in part.parameters()) > _MOST_WEIGHTS


def without_rival(names: Iterable[str]) -> list[str]:
    """Parts that nothing can be measured against."""
    return sorted(set(names) - RIVALS.keys())
