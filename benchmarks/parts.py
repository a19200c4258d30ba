"""How far is each part from its floor?

For every registered fusion part and a few sizes, in one run: ours, the plain formulation of its paper (the
best torch call for each of its steps, with the same weights and the same result), and the floor, which does
the matrix products that cannot be avoided and nothing else (the mean over tokens counts as one). Prints one
table of ratios; a ratio above 1 is time that ours loses, and ``~`` marks one whose quartiles are far apart.

One thread by default: more make small parts slower, and all of them unsteady on a shared machine.

    python benchmarks/parts.py                       # CPU, all parts
    python benchmarks/parts.py --device cuda --parts concat,low_rank
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import mul
from pathlib import Path
from typing import Any

import torch
from rivals_products import (
    PlainBilinear,
    PlainFilm,
    PlainMultiplicativeInteractions,
    PlainTensorProduct,
    floor_bilinear,
    floor_film,
    floor_multiplicative_interactions,
    floor_tensor,
)
from torch import Tensor, nn
from torch.nn import functional as F

import fuseloom
from fuseloom.errors import OptionError

__all__ = ["RIVALS", "SIZES", "Contender", "Size", "main"]

_HERE = Path(__file__).parent
_WARM_UP = 3
_FEWEST_ROUNDS = 5
# Shorter than this, the clock and the scheduler are part of what is measured.
_SHORTEST_S = 2e-3
_STEADY = 0.2
_MOST_WEIGHTS = 2**28


@dataclass(frozen=True)
class Size:
    """One setting; a single token is an embedding ``[B, D]``."""

    batch: int
    width: int
    tokens: int
    modalities: int

    def __str__(self) -> str:
        return f"B={self.batch} D={self.width} N={self.tokens} M={self.modalities}"


SIZES = (
    Size(32, 64, 1, 2),
    Size(256, 64, 1, 3),
    Size(32, 768, 1, 2),
    Size(256, 768, 1, 3),
    Size(32, 64, 64, 2),
    Size(256, 64, 64, 3),
    Size(32, 768, 64, 2),
)


@dataclass(frozen=True)
class Contender:
    """Something to time: a forward and the parameters its backward reaches."""

    forward: Callable[[dict[str, Tensor]], Sequence[Tensor]]
    parameters: list[Tensor]


class PlainConcat(nn.Module):
    """Concatenate, then one linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.linear = _linear(torch.cat([state[f"weight.{name}"] for name in dims], 1), state["bias"])

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        return [self.linear(torch.cat([_pooled(value) for value in streams.values()], 1))]


class PlainSum(nn.Module):
    """One linear map per modality, summed."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = nn.ModuleDict(
            {name: _linear(state[f"embed.{name}.weight"], state[f"embed.{name}.bias"]) for name in dims}
        )

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        first, *rest = (self.embed[name](_pooled(value)) for name, value in streams.items())
        return [sum(rest, start=first)]


class PlainMean(nn.Module):
    """One linear map per modality, averaged."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.sum = PlainSum(state, dims)

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        (total,) = self.sum(streams)
        return [total / len(streams)]


class PlainWeightedSum(nn.Module):
    """One linear map per modality, summed under the softmax of one score each."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = PlainSum(state, dims).embed
        self.scores = nn.Parameter(torch.stack([state[f"score.{name}"] for name in dims]))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = (self.embed[name](_pooled(value)) for name, value in streams.items())
        shares = self.scores.softmax(0)
        first, *rest = (share * value for share, value in zip(shares, embedded, strict=True))
        return [sum(rest, start=first)]


class PlainMax(nn.Module):
    """One linear map per modality, stacked, and the largest of each feature."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = PlainSum(state, dims).embed

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = [self.embed[name](_pooled(value)) for name, value in streams.items()]
        return [torch.stack(embedded, 1).amax(1)]


class PlainProduct(nn.Module):
    """One linear map per modality, multiplied, then a linear map."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = PlainSum(state, dims).embed
        self.out = _linear(state["out.weight"], state["out.bias"])

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        embedded = (self.embed[name](_pooled(value)) for name, value in streams.items())
        return [self.out(reduce(mul, embedded))]


class PlainLowRank(nn.Module):
    """The formula of LMF as its paper and code write it: a constant in front, one product per rank."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        official = {name: state[f"factor.{name}"].transpose(0, 1).roll(1, 1) for name in dims}
        self.factor = nn.ParameterDict({name: factor.contiguous() for name, factor in official.items()})
        self.fusion_weights = nn.Parameter(state["rank_weight"][None].clone())
        self.fusion_bias = nn.Parameter(state["bias"][None].clone())

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        applied = []
        for name, value in streams.items():
            vector = _pooled(value)
            with_constant = torch.cat([vector.new_ones(len(vector), 1), vector], 1)
            applied.append(torch.matmul(with_constant, self.factor[name]))  # [R, B, dim]
        product = reduce(mul, applied).permute(1, 0, 2)
        return [torch.matmul(self.fusion_weights, product).squeeze(1) + self.fusion_bias]


class PlainCrossAttention(nn.Module):
    """For each target: project its queries and the others' keys and values, attend, project, add."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        for role in ("query", "key", "value", "out"):
            named = {name: _linear(state[f"{role}.{name}.weight"]) for name in dims}
            self.add_module(role, nn.ModuleDict(named))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N_m, D_m]`` each to the same."""
        tokens = {name: value.unsqueeze(1) if value.dim() == 2 else value for name, value in streams.items()}
        return [self._attend(name, tokens).view_as(streams[name]) for name in streams]

    def _attend(self, target: str, tokens: Mapping[str, Tensor]) -> Tensor:
        others = [name for name in tokens if name != target]
        query = self.query[target](tokens[target])
        key = torch.cat([self.key[name](tokens[name]) for name in others], 1)
        value = torch.cat([self.value[name](tokens[name]) for name in others], 1)
        mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return tokens[target] + self.out[target](mixed)


def floor_concat(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality."""
    return [torch.mm(_pooled(value), state[f"weight.{name}"].T) for name, value in streams.items()]


def floor_sum(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality."""
    return [torch.mm(_pooled(value), state[f"embed.{name}.weight"].T) for name, value in streams.items()]


def floor_weighted_sum(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality; the scores as they are."""
    return [*floor_sum(state, streams), *(state[f"score.{name}"] for name in streams)]


def floor_product(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one after them."""
    first, *rest = floor_sum(state, streams)
    return [torch.mm(first, state["out.weight"].T), *rest]


def floor_low_rank(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one over the ranks."""
    rank_weight = state["rank_weight"]
    applied = [
        torch.mm(_pooled(value), state[f"factor.{name}"].flatten(1)[:-1]) for name, value in streams.items()
    ]
    per_rank = applied[0].view(len(applied[0]), len(rank_weight), -1)
    return [torch.matmul(rank_weight, per_rank), *applied[1:]]


def floor_cross_attention(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Four projections per modality, and two products per ordered pair; no softmax, no sum."""
    tokens = {name: value[:, None] if value.dim() == 2 else value for name, value in streams.items()}
    query, key, value = (
        {name: x @ state[f"{role}.{name}.weight"].T for name, x in tokens.items()}
        for role in ("query", "key", "value")
    )
    out = []
    for target in tokens:
        first, *rest = (
            torch.bmm(torch.bmm(query[target], key[source].transpose(1, 2)), value[source])
            for source in tokens
            if source != target
        )
        out += [first @ state[f"out.{target}.weight"].T, *rest]
    return out


Floor = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], list[Tensor]]
RIVALS: Mapping[str, tuple[type[nn.Module], Floor]] = {
    "bilinear": (PlainBilinear, floor_bilinear),
    "concat": (PlainConcat, floor_concat),
    "cross_attention": (PlainCrossAttention, floor_cross_attention),
    "film": (PlainFilm, floor_film),
    "low_rank": (PlainLowRank, floor_low_rank),
    "max": (PlainMax, floor_sum),
    "mean": (PlainMean, floor_sum),
    "multiplicative_interactions": (PlainMultiplicativeInteractions, floor_multiplicative_interactions),
    "product": (PlainProduct, floor_product),
    "sum": (PlainSum, floor_sum),
    "tensor": (PlainTensorProduct, floor_tensor),
    "weighted_sum": (PlainWeightedSum, floor_weighted_sum),
}
"""Part -> its plain formulation and its floor."""


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device)
    linear.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return linear


def _pooled(value: Tensor) -> Tensor:
    return value.mean(1) if value.dim() == 3 else value


def contenders(name: str, size: Size, device: torch.device) -> dict[str, Contender]:
    """Ours, the plain formulation and the floor of one part, with the same weights."""
    dims = {f"m{i}": size.width for i in range(size.modalities)}
    part = fuseloom.create(name, dims).to(device).eval()
    plain_class, floor = RIVALS[name]
    plain = plain_class(part.state_dict(), dims).to(device).eval()
    weights = {key: value.clone().requires_grad_() for key, value in part.state_dict().items()}
    reached = [value for key, value in weights.items() if "bias" not in key]
    return {
        "ours": Contender(lambda streams: _as_list(part(streams)), list(part.parameters())),
        "plain": Contender(plain, list(plain.parameters())),
        "floor": Contender(lambda streams: floor(weights, streams), reached),
    }


def _as_list(out: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out.values())


def draw(size: Size, device: torch.device) -> dict[str, Tensor]:
    """Standard normal streams."""
    shape = (size.batch, size.width) if size.tokens == 1 else (size.batch, size.tokens, size.width)
    return {f"m{i}": torch.randn(shape, device=device) for i in range(size.modalities)}


def steps(contender: Contender, streams: Mapping[str, Tensor]) -> dict[str, Callable[[], Sequence[Tensor]]]:
    """What is timed: a forward without gradients, and a forward with all of its gradients."""
    leaves = {name: value.clone().requires_grad_() for name, value in streams.items()}
    sources = [*leaves.values(), *contender.parameters]

    @torch.no_grad()
    def forward() -> Sequence[Tensor]:
        return contender.forward(dict(streams))

    def both() -> Sequence[Tensor]:
        out = contender.forward(leaves)
        return torch.autograd.grad(out, sources, grad_outputs=[torch.ones_like(o) for o in out])

    return {"forward": forward, "forward+backward": both}


def agree(name: str, entrants: Mapping[str, Contender], streams: Mapping[str, Tensor]) -> None:
    """Stop unless ours and the plain formulation give the same outputs and the same input gradients."""
    ours, plain = (steps(entrants[who], streams) for who in ("ours", "plain"))
    for what in ours:
        count = None if what == "forward" else len(streams)
        found, expected = list(ours[what]())[:count], list(plain[what]())[:count]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=lambda m: f"{name}: {m}")


def measure(
    runs: Mapping[str, Callable[[], Any]], *, rounds: int, seconds: float, device: torch.device
) -> dict[str, dict[str, float]]:
    """Median and quartiles of the seconds of each run, taking turns, for ``rounds`` or ``seconds``."""
    loops = {who: _loops(run, device) for who, run in runs.items()}
    taken: dict[str, list[float]] = {who: [] for who in runs}
    end = time.perf_counter() + seconds
    for turn in range(rounds):
        for who, run in runs.items():
            taken[who].append(_timed(run, loops[who], device))
        if turn + 1 >= _FEWEST_ROUNDS and time.perf_counter() > end:
            break
    return {who: _quartiles(values) for who, values in taken.items()}


def _loops(run: Callable[[], Any], device: torch.device) -> int:
    for _ in range(_WARM_UP):
        once = _timed(run, 1, device)
    return max(1, round(_SHORTEST_S / once))


def _timed(run: Callable[[], Any], loops: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(loops):
        run()
    _wait(device)
    return (time.perf_counter() - start) / loops


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _quartiles(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median_s": median, "low_s": low, "high_s": high, "rounds": len(values)}


def metadata(device: torch.device, seed: int) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "fuseloom": fuseloom.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "seed": seed,
        "dtype": str(torch.get_default_dtype()),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Ratios of medians, one line per part and size."""
    head = f"{'part':<27} {'size':<26} {'forward':^32} {'forward+backward':^32}"
    columns = f"{'ours us':>10} {'/ plain':>10} {'/ floor':>10}"
    lines = [head, f"{'':<54} {columns} {columns}"]
    for result in results:
        cells = " ".join(_cells(result[what]) for what in ("forward", "forward+backward"))
        lines.append(f"{result['part']:<27} {Size(**result['size'])!s:<26} {cells}")
    return "\n".join(lines)


def _cells(times: Mapping[str, Mapping[str, float]]) -> str:
    ours, plain, floor = (times[who]["median_s"] for who in ("ours", "plain", "floor"))
    noisy = {who: _unsteady(times["ours"]) or _unsteady(times[who]) for who in ("plain", "floor")}
    ratios = {"plain": ours / plain, "floor": ours / floor}
    cells = [f"{'~' if noisy[who] else ''}{ratio:.2f}" for who, ratio in ratios.items()]
    return f"{ours * 1e6:>10.1f} {cells[0]:>10} {cells[1]:>10}"


def _unsteady(times: Mapping[str, float]) -> bool:
    return times["high_s"] - times["low_s"] > _STEADY * times["median_s"]


def run_part(name: str, size: Size, options: argparse.Namespace) -> dict[str, Any]:
    """All timings of one part at one size."""
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    entrants, streams = contenders(name, size, device), draw(size, device)
    agree(name, entrants, streams)
    runs = {who: steps(contender, streams) for who, contender in entrants.items()}
    result: dict[str, Any] = {"part": name, "size": asdict(size)}
    for what in ("forward", "forward+backward"):
        timed = {who: step[what] for who, step in runs.items()}
        result[what] = measure(timed, rounds=options.rounds, seconds=options.seconds, device=device)
    return result


def too_large(name: str, size: Size) -> bool:
    """Whether the part refuses the size, or would have more weights than a small machine holds thrice."""
    try:
        with torch.device("meta"):
            part = fuseloom.create(name, {f"m{i}": size.width for i in range(size.modalities)})
    except OptionError:
        return True
    return sum(weight.numel() for weight in part.parameters()) > _MOST_WEIGHTS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="How far is each part from its floor?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", default=",".join(fuseloom.list_fusions()), help="names, with commas")
    parser.add_argument("--rounds", type=int, default=25, help="at most, per part and size")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="at most, per part and size, after five rounds"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=_HERE / "results" / "parts.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time the parts, print the table, write the JSON; 1 where a part has no plain formulation here."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    names = options.parts.split(",")
    if absent := sorted(set(names) - RIVALS.keys()):
        print(f"No plain formulation in RIVALS: {', '.join(absent)}.", file=sys.stderr)
        return 1
    about = metadata(torch.device(options.device), options.seed)
    results = []
    for name in names:
        for size in SIZES:
            if too_large(name, size):
                print(f"{name} {size}: too large", file=sys.stderr)
                continue
            results.append(run_part(name, size, options))
            print(f"{name} {size}", file=sys.stderr)
    print(table(results))
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"format_version": 1, **about, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
