"""What do two-stream networks for dense prediction cost beside two networks of one stream each?

GeminiFusion and TokenFusion on Mix Transformers, and CEN on a ResNet, whole and randomly initialised, with
the published options. Beside each, in turns:

- plain: the same network with the same weights as its paper's code runs it, one stream after the other, and
  pixel attention sample by sample; the two must agree before anything is timed;
- encoders: the encoder of one modality without exchanges, of the same implementation, twice;
- decoders: the head on what an encoder gives, twice, and the mean;
- floor: what the fusion cannot do without, see `rivals.dense`: its products of matrices and a copy of both
  streams, or its choice of tokens or channels;
- segformers: two SegFormers of transformers of the same widths.

The whole is to take at most 1.25 times what encoders, decoders and floor take together. Where it takes more,
the operations are named that the time goes into. On a CPU CEN is timed in the forward alone, and so is
compiled code: compiling a backward takes minutes there. Memory is that of one training step, gradients
included and weights excluded; the two encoders, and the two SegFormers, take theirs one after the other.
The JSON grows with the run: one that is stopped leaves what it has measured.

    python benchmarks/dense.py                          # CPU, all backbones: twelve minutes of one core, 8 GB
    python benchmarks/dense.py --compiled b0            # two minutes more
    python benchmarks/dense.py --device cuda --compiled
    python benchmarks/dense.py --quick                  # tiny sizes, to see that it runs
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from contest import PASSES
from dense_tables import LIMIT, bound, render
from probes import busiest, peak_mb
from program import publish, say, store
from rivals.dense import (
    Part,
    PlainDense,
    channel_floor,
    pixel_floor,
    plain_geminifusion,
    plain_tokenfusion,
    token_floor,
)
from timing import environment, measure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fuseloom.models.dense import DenseModel, geminifusion_mit, tokenfusion_mit
from fuseloom.models.dense.cen import RESNET_DEPTHS, cen_refinenet
from fuseloom.models.dense.mit import MIT_SIZES, MitSize, MitStreams
from fuseloom.models.dense.resnet import ResNetStreams
from fuseloom.models.dense.stream_encoder import StreamEncoder
from fuseloom.types import Trace

__all__ = ["SYSTEMS", "Backbone", "Entrant", "Size", "System", "agree", "entrants", "flops", "main"]

_RESULTS = Path(__file__).parent / "results" / "dense.json"
_NAMES = ("rgb", "depth", "event", "lidar")
_SPARSITY = 1e-6
# Of the largest prediction; on a GPU convolutions round their inputs (TF32).
_TOLERANCE = {"cpu": 1e-4, "cuda": 1e-2}

Maps = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of what is predicted; the defaults are those of NYUDv2."""

    batch: int = 1
    height: int = 480
    width: int = 640
    labels: int = 40
    head_dim: int = 256

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    def draw(self, modalities: int, device: torch.device) -> dict[str, Tensor]:
        """Maps of so many modalities."""
        shape = (self.batch, 3, self.height, self.width)
        return {name: torch.randn(shape).to(device) for name in _NAMES[:modalities]}


class Backbone(NamedTuple):
    """Of an encoder; a Mix Transformer, or the depths of a ResNet and the width of its stem."""

    title: str
    size: MitSize | tuple[tuple[int, ...], int]

    def alone(self, name: str) -> StreamEncoder:
        """The encoder of one modality."""
        if isinstance(self.size, MitSize):
            return MitStreams({name: 3}, self.size)
        depths, dim = self.size
        return ResNetStreams({name: 3}, depths=depths, dim=dim, fixed_statistics=True)


@dataclass(frozen=True, kw_only=True)
class System:
    """A published network.

    Args:
        build: Ours, from the number of modalities.
        floor: What its fusion cannot do without, from ours and the maps after each stage.
        plain: Its rival, from ours.
    """

    build: Callable[[int, Backbone, Size], DenseModel]
    floor: Callable[[DenseModel, Sequence[Tensor]], list[Part]]
    plain: Callable[[DenseModel], PlainDense] | None = None


def _published(modalities: int, scene: Size, **options: Any) -> dict[str, Any]:
    channels = dict.fromkeys(_NAMES[:modalities], 3)
    shared = {"head_dim": scene.head_dim, "weighting": "frozen", "fixed_statistics": True}
    return {"channels": channels, "num_labels": scene.labels, **shared, **options}


def _geminifusion(modalities: int, backbone: Backbone, size: Size) -> DenseModel:
    return geminifusion_mit(**_published(modalities, size, size=backbone.size, faithful=True))


def _tokenfusion(modalities: int, backbone: Backbone, size: Size) -> DenseModel:
    loss = {"sparsity_weight": _SPARSITY, "reduction": "sum"}
    return tokenfusion_mit(**_published(modalities, size, size=backbone.size, **loss))


def _cen(modalities: int, backbone: Backbone, size: Size) -> DenseModel:
    assert isinstance(backbone.size, tuple)
    depths, dim = backbone.size
    return cen_refinenet(**_published(modalities, size, depths=depths, dim=dim))


SYSTEMS: Mapping[str, System] = {
    "GeminiFusion": System(build=_geminifusion, floor=pixel_floor, plain=plain_geminifusion),
    "TokenFusion": System(build=_tokenfusion, floor=token_floor, plain=plain_tokenfusion),
    "CEN": System(build=_cen, floor=channel_floor),
}
"""Name -> what is measured of it."""
_ON_MIT = ("GeminiFusion", "TokenFusion")

_BACKBONES: Mapping[str, Backbone] = {
    "b0": Backbone("MiT-B0", MIT_SIZES["b0"]),
    "b3": Backbone("MiT-B3", MIT_SIZES["b3"]),
    "r101": Backbone("ResNet-101", (RESNET_DEPTHS[101], 64)),
}
_TINY = MitSize(dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_heads=(1, 2, 3, 4))
_QUICK: Mapping[str, Backbone] = {
    "b0": Backbone("tiny MiT", _TINY),
    "r101": Backbone("tiny ResNet", ((1, 1, 1, 1), 4)),
}


@dataclass(frozen=True)
class Entrant:
    """Models that run one after another."""

    parts: Sequence[Part]

    @torch.no_grad()
    def forward(self) -> None:
        """Predictions."""
        for module, run in self.parts:
            module.eval()
            run()

    def both(self) -> None:
        """Predictions, and gradients of all weights; of half the sum of squares."""
        for module, run in self.parts:
            module.train().zero_grad()
            out = run()
            torch.autograd.backward(out, [value.detach() for value in out])
        self.module.zero_grad()

    @property
    def module(self) -> nn.Module:
        """All of them."""
        return nn.ModuleList(module for module, _ in self.parts)


def _ours(model: DenseModel, call: Callable[..., Tensor], maps: Maps) -> list[Tensor]:
    if not model.training:
        return [call(maps)]
    trace = Trace(keep_records=False)
    return [call(maps, trace=trace), *trace.losses.values()]


def _plain(model: nn.Module, call: Callable[..., Tensor], maps: Maps) -> list[Tensor]:
    penalties: list[Tensor] = []
    return [call(maps, penalties if model.training else None), *penalties]


def _encoded(call: Callable[..., Any], maps: Maps) -> list[Tensor]:
    return [value for stage in call(maps)[0] for value in stage.values()]


def _decoded(model: DenseModel, call: Callable[..., Tensor], stages: Sequence[Maps]) -> list[Tensor]:
    leaves = [{name: value.detach().requires_grad_() for name, value in stage.items()} for stage in stages]
    parts = {name: call([stage[name] for stage in leaves], None) for name in leaves[0]}
    return [torch.stack([*parts.values(), model.ensemble(parts, {})], 1)]


def _logits(call: Callable[..., Any], value: Tensor) -> list[Tensor]:
    return [call(pixel_values=value).logits]


Compile = Callable[[nn.Module], Callable[..., Any]]


def entrants(
    names: Sequence[str], backbone: Backbone, size: Size, device: torch.device, compiling: Compile
) -> dict[str, Entrant]:
    """Who -> what is timed, of two modalities; those of one system are called by its name first."""
    torch.manual_seed(0)
    maps, found, models = size.draw(2, device), dict[str, Entrant](), dict[str, DenseModel]()
    for name in names:
        system = SYSTEMS[name]
        model = models[name] = system.build(2, backbone, size).to(device)
        found[f"{name} ours"] = Entrant([(model, partial(_ours, model, compiling(model), maps))])
        if system.plain is not None:
            rival = system.plain(model).to(device)
            agree(model, rival, maps)
            found[f"{name} plain"] = Entrant([(rival, partial(_plain, rival, compiling(rival), maps))])
    with torch.no_grad():
        model = models[names[0]].eval()
        stages = model.encoder(maps)[0]
    firsts = [next(iter(stage.values())) for stage in stages]
    for name, each in models.items():
        found[f"{name} floor"] = Entrant(SYSTEMS[name].floor(each, firsts))
    head = partial(_decoded, model, compiling(model.head), stages)
    return found | {
        "encoders": _encoders(backbone, maps, device, compiling),
        "decoders": Entrant([(model.head, head)]),
        **_segformers(backbone, size, maps, device, compiling),
    }


def _encoders(backbone: Backbone, maps: Maps, device: torch.device, compiling: Compile) -> Entrant:
    alone = {name: backbone.alone(name).to(device) for name in maps}
    return Entrant(
        [(one, partial(_encoded, compiling(one), {name: maps[name]})) for name, one in alone.items()]
    )


def _segformers(
    backbone: Backbone, size: Size, maps: Maps, device: torch.device, compiling: Compile
) -> dict[str, Entrant]:
    if not isinstance(backbone.size, MitSize):
        return {}
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=list(backbone.size.depths),
        hidden_sizes=list(backbone.size.dims),
        num_attention_heads=list(backbone.size.num_heads),
        decoder_hidden_size=size.head_dim,
        num_labels=size.labels,
    )
    models = [SegformerForSemanticSegmentation(config).to(device) for _ in maps]
    parts = [
        (one, partial(_logits, compiling(one), value))
        for one, value in zip(models, maps.values(), strict=True)
    ]
    return {"segformers": Entrant(parts)}


@torch.no_grad()
def agree(ours: nn.Module, plain: nn.Module, maps: Maps) -> None:
    """Make sure that both predict the same.

    Raises:
        SystemExit: they do not.
    """
    one, other = ours.eval()(maps), plain.eval()(maps)
    apart, largest = (one - other).abs().max().item(), one.abs().max().item()
    if not apart <= _TOLERANCE[one.device.type] * largest:
        raise SystemExit(f"The two must agree, got predictions that lie {apart:.2g} apart, of {largest:.2g}.")


def flops(entrant: Entrant) -> int:
    """Operations of the products, convolutions and attention of a forward, two for each multiplication."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _added_product}) as counter:
        entrant.forward()
    return int(counter.get_total_flops())


def _added_product(into: Sequence[int], left: Sequence[int], right: Sequence[int], **given: object) -> int:
    """Of a product that is added in place, which torch does not count."""
    return 2 * left[0] * left[1] * right[1]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, where and how long."""

    size: Size
    backbones: Mapping[str, Backbone]
    compiled: Sequence[str]
    modalities: Sequence[int] = (1, 2, 3, 4)
    resolutions: Sequence[tuple[int, int]] = ((240, 320), (480, 640), (720, 960))
    device: torch.device
    rounds: int
    seconds: float
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def timed(self, runs: Mapping[str, Callable[[], None]]) -> dict[str, dict[str, float]]:
        """In turns, with the clock of one thread where that is what is measured."""
        clock = time.thread_time if self.device.type == "cpu" else time.perf_counter
        rounds, seconds = self.rounds, self.seconds
        return measure(runs, rounds=rounds, seconds=seconds, device=self.device, clock=clock)

    def passes(self, backbone: Backbone, *, compiled: bool) -> tuple[str, ...]:
        """Which are timed."""
        every = self.device.type == "cuda" or (isinstance(backbone.size, MitSize) and not compiled)
        return PASSES if every else PASSES[:1]

    def add(self, kind: str, **row: Any) -> None:
        """Another row of the results."""
        self.results.setdefault(kind, []).append(row)
        say(" ".join(str(value) for value in row.values() if not isinstance(value, dict)))


def _race(plan: Plan, backbone: Backbone, *, compiled: bool) -> None:
    """Times of all systems on a backbone and, eagerly, what they cost besides."""
    torch.compiler.reset()
    compiling: Compile = partial(torch.compile, dynamic=False) if compiled else lambda module: module
    names = _ON_MIT if isinstance(backbone.size, MitSize) else ("CEN",)
    found = entrants(names, backbone, plan.size, plan.device, compiling)
    about = {"backbone": backbone.title, "compiled": compiled}
    if not compiled:
        _costs(plan, names, backbone, found)
    for which in plan.passes(backbone, compiled=compiled):
        runs = {who: _run(one, which) for who, one in found.items()}
        taken = plan.timed(runs)
        for name in names:
            times = _of_system(name, names, taken)
            plan.add("races", system=name, **about, which=which, times=times)
            if bound(times) > LIMIT:
                seen = busiest(runs[f"{name} ours"], plan.device)
                plan.add("missed", system=name, **about, which=which, busiest=seen)


def _run(entrant: Entrant, which: str) -> Callable[[], None]:
    return entrant.forward if which == PASSES[0] else entrant.both


def _of_system(name: str, names: Sequence[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to one system, without its name, and what belongs to none."""
    others = tuple(f"{other} " for other in names if other != name)
    return {w.removeprefix(f"{name} "): value for w, value in found.items() if not w.startswith(others)}


def _costs(plan: Plan, names: Sequence[str], backbone: Backbone, found: Mapping[str, Entrant]) -> None:
    kept = {who: one for who, one in found.items() if not who.endswith(("floor", "decoders"))}
    counted = {who: flops(one) / 1e9 for who, one in kept.items()}
    memory = {who: peak_mb(one.module, one.both) for who, one in kept.items()}
    weights = {who: sum(value.numel() for value in one.module.parameters()) for who, one in kept.items()}
    for name in names:
        columns: dict[str, Mapping[str, float]] = {"gflop": counted, "peak_mb": memory, "parameters": weights}
        cells = {key: _of_system(name, names, value) for key, value in columns.items()}
        plan.add("costs", system=name, backbone=backbone.title, **cells)


def _grow(plan: Plan, backbone: Backbone) -> None:
    """Forward and backward of ours and of as many encoders, over modalities, and over resolutions."""
    sizes = [replace(plan.size, height=height, width=width) for height, width in plan.resolutions]
    for count in plan.modalities:
        _grown(plan, backbone, sizes[0], count, axis=f"modalities of {sizes[0]}", value=str(count))
    for size in sizes:
        _grown(plan, backbone, size, 2, axis="resolution", value=str(size))


def _grown(plan: Plan, backbone: Backbone, size: Size, count: int, *, axis: str, value: str) -> None:
    torch.manual_seed(0)
    maps, found = size.draw(count, plan.device), dict[str, Entrant]()
    for name in _ON_MIT:
        model = SYSTEMS[name].build(count, backbone, size).to(plan.device)
        found[name] = Entrant([(model, partial(_ours, model, model, maps))])
    found["encoders"] = _encoders(backbone, maps, plan.device, lambda module: module)
    times = plan.timed({who: one.both for who, one in found.items()})
    memory = {who: peak_mb(one.module, one.both) for who, one in found.items()}
    plan.add("growth", axis=axis, value=value, backbone=backbone.title, times=times, peak_mb=memory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the JSON."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    plan = _plan(options)
    about = {"format_version": 1, "environment": environment(plan.device, seed=0), "size": asdict(plan.size)}
    for key, backbone in plan.backbones.items():
        _race(plan, backbone, compiled=False)
        store(about | plan.results, options.json)
        if key in plan.compiled:
            _race(plan, backbone, compiled=True)
    smallest = next((one for one in plan.backbones.values() if isinstance(one.size, MitSize)), None)
    if smallest is not None:
        _grow(plan, smallest)
    publish(about | plan.results, options.json, render)
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    device, given = torch.device(options.device), {"rounds": options.rounds, "seconds": options.seconds}
    known = _QUICK if options.quick else _BACKBONES
    backbones = {key: one for key, one in known.items() if key in options.backbones.split(",")}
    compiled = list(backbones) if options.compiled == "all" else options.compiled.split(",")
    if not options.quick:
        size = Size(batch=options.batch, height=options.height, width=options.width)
        return Plan(size=size, backbones=backbones, compiled=compiled, device=device, **given)
    return Plan(
        size=Size(height=64, width=96, labels=5, head_dim=8),
        backbones=backbones,
        compiled=compiled,
        modalities=(1, 2),
        resolutions=((64, 96), (96, 128)),
        device=device,
        rounds=2,
        seconds=0.0,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What do two-stream networks cost beside two of one stream?")
    parser.add_argument("--backbones", default=",".join(_BACKBONES), help="with commas")
    parser.add_argument("--compiled", nargs="?", default="", const="all", help="backbones compiled too")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds, to see that it runs")
    parser.add_argument("--device", default="cpu")
    for name in ("batch", "height", "width"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Size(), name))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600.0, help="of each race, after five rounds")
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
