"""What does a training step of MuSE cost, and which part of it?

The whole model at its published size, randomly initialised, beside the plain formulation: attention modules
that give their weights, the exchange as a loop over samples and tokens, the captioner as a loop over words
whose keys of the image are made once, and pytorch-crf. Encoders, painter and optimiser are the same in both.
Before anything is timed the two must agree. Each part runs forward and backward; the whole step also clips
and takes a step of AdamW. What the exchange costs is told twice: alone with its scores given, and as what the
transformer takes less without it.

    python benchmarks/muse.py
    python benchmarks/muse.py --device cuda
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from probes import peak_mb
from rivals.cls import loop
from rivals.muse import PlainMuse, PlainTransformer
from tables import about
from timing import environment, measure
from torch import Tensor, nn

from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.heads import TaggingHead
from fuseloom.models import FusionModel
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.decoders import GenerativeLosses
from fuseloom.models.muse.official import OfficialImage, OfficialText, official_muse
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.models.muse.transformer import muse_transformer
from fuseloom.nn import PostNormBlock
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.nn.crf_paths import best_path
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.fit import FitConfig, make_optimizer
from fuseloom.train.step import apply_model, clip_gradients, training_loss
from fuseloom.types import Batch, Trace

__all__ = [
    "Entrants",
    "Size",
    "check",
    "draw",
    "entrants",
    "main",
    "options_parser",
    "parts",
    "shares",
    "table",
    "whole",
]

_RESULTS = Path(__file__).parent / "results" / "muse.json"
_THETA = 0.1
_FROZEN = ("conv1", "bn1", "layer1")
_SHARED = ("text encoder", "image encoder", "painter")
_LEARNT = ("transformer", "exchange", "captioner", "head and CRF")

Runs = dict[str, Callable[[], Any]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a step, and of the model; the defaults are the published ones."""

    batch: int = 40
    grid: int = 8
    """A sentence has as many word pieces as the image has patches: its square."""
    dim: int = 768
    heads: int = 12
    layers: int = 6
    bert_layers: int = 12
    hidden: int = 2048
    picture: int = 224
    body: str = "resnet152"
    words: int = 4736
    caption: int = 22
    """Words of a caption, its two marks among them."""
    width: int = 512
    """Of the captioner."""
    painted: int = 32
    blocks: int = 5
    filters: int = 80
    tags: int = 12

    @property
    def exchanging(self) -> range:
        """Layers that exchange."""
        return range(1, min(4, self.layers))


@dataclass(frozen=True, kw_only=True)
class Entrants:
    """Both models, with the same weights."""

    ours: FusionModel
    plain: PlainMuse
    task: Tagging

    def our_loss(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The sum of all losses, as a training step has it."""
        return training_loss(self.ours, self._batch(rows), self.task)

    def our_losses(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Those of tags, captions and pictures, each weighted ``[3]``."""
        batch, trace = self._batch(rows), Trace(keep_records=False)
        assert batch.target is not None
        task = self.task.loss(apply_model(self.ours, batch, trace=trace), batch.target)
        return torch.stack([task, *trace.losses.values()])

    def _batch(self, rows: Mapping[str, Tensor]) -> Batch:
        return Batch(
            inputs={"text": rows["ids"], "image": rows["images"]},
            masks={"text": rows["mask"]},
            target=rows["tags"].masked_fill(~rows["mask"], -1),
            extras={"positions": rows["mask"], "captions": rows["captions"], "pictures": rows["pictures"]},
        )

    @torch.no_grad()
    def our_paths(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The best path of each row, ``[B, N]``."""
        inputs, masks = {"text": rows["ids"], "image": rows["images"]}, {"text": rows["mask"]}
        return best_path(*unpack_chain(self.ours(inputs, masks, positions=rows["mask"])))

    def losses(self, rows: Mapping[str, Tensor]) -> dict[str, tuple[nn.Module, Callable[[], Tensor]]]:
        """Who -> the model and what gives its loss."""
        return {
            "ours": (self.ours, partial(self.our_loss, rows)),
            "plain": (self.plain, partial(self.plain.loss, rows)),
        }

    @property
    def decoders(self) -> GenerativeLosses:
        """Those of ours."""
        return next(part for part in self.ours.exchanges.values() if isinstance(part, GenerativeLosses))


def entrants(size: Size, device: torch.device) -> Entrants:
    """Ours and the plain one; the first layers of the image's body are not trained, as published."""
    import timm
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=size.dim,
        num_hidden_layers=size.bert_layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.dim,
    )
    body = timm.create_model(size.body, pretrained=False, num_classes=0, global_pool="")
    for name in _FROZEN:
        getattr(body, name).requires_grad_(False)
    ours = official_muse(
        OfficialText(BertModel(config, add_pooling_layer=False)),
        OfficialImage(body, body.num_features, dim=size.dim, grid=size.grid),
        TaggingHead(size.dim, size.tags, dropout=0.5),
        captioner=Captioner(
            size.dim,
            size.words,
            attention_dim=size.width,
            embedding_dim=size.width,
            hidden_dim=size.width,
        ),
        painter=PixelCnn(size.dim, num_resnet=size.blocks, num_filters=size.filters),
        num_layers=size.layers,
        layers=size.exchanging,
        block=partial(PostNormBlock, num_heads=size.heads, hidden=size.hidden, dropout=0.2),
        theta=_THETA,
    ).to(device)
    transformer = PlainTransformer(
        size.dim,
        num_layers=size.layers,
        num_heads=size.heads,
        hidden=size.hidden,
        layers=size.exchanging,
        theta=_THETA,
    )
    tags = ["O", *(f"{mark}-{kind}" for kind in range(size.tags) for mark in "BI")][: size.tags]
    return Entrants(ours=ours, plain=PlainMuse(ours, transformer).to(device), task=Tagging(tags))


def draw(size: Size, device: torch.device) -> dict[str, Tensor]:
    """Rows of one step; sentences and captions are of several lengths, the first of the longest."""
    generator = torch.Generator().manual_seed(1)
    tokens = size.grid**2

    def numbers(high: int, *shape: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    lengths, told = numbers(tokens + 1, size.batch, low=2), numbers(size.caption + 1, size.batch, low=3)
    lengths[0], told[0] = tokens, size.caption
    captions = numbers(size.words, size.batch, size.caption, low=4)
    captions = captions.masked_fill(torch.arange(size.caption) >= told[:, None], 0)
    captions[:, 0] = 1
    captions.scatter_(1, told[:, None] - 1, 2)
    rows = {
        "ids": numbers(30000, size.batch, tokens, low=1),
        "mask": torch.arange(tokens) < lengths[:, None],
        "images": torch.randn(size.batch, 3, size.picture, size.picture, generator=generator),
        "tags": numbers(size.tags, size.batch, tokens),
        "captions": captions,
        "pictures": torch.rand(size.batch, 3, size.painted, size.painted, generator=generator) * 2 - 1,
    }
    return {name: value.to(device) for name, value in rows.items()}


def check(both: Entrants, rows: Mapping[str, Tensor]) -> None:
    """Make sure that both compute the same of the first rows.

    Raises:
        SystemExit: they do not.
    """
    few = {name: value[:2] for name, value in rows.items()}
    for model in (both.ours, both.plain):
        model.eval()
    with torch.no_grad():
        one, other = both.our_losses(few), both.plain.losses(few)
    paths = [path[path >= 0].tolist() for path in both.our_paths(few)]
    if not torch.allclose(one, other, rtol=1e-4, atol=0) or paths != both.plain.predict(few):
        raise SystemExit(f"The two must agree, got losses {one.tolist()} and {other.tolist()}.")


def whole(both: Entrants, rows: Mapping[str, Tensor]) -> dict[str, Runs]:
    """A training step and the paths of a batch."""
    steps = {
        who: partial(_step, model, loss, _optimizer(model))
        for who, (model, loss) in both.losses(rows).items()
    }
    paths: Runs = {
        "ours": partial(_still, both.ours, partial(both.our_paths, rows)),
        "plain": partial(_still, both.plain, partial(both.plain.predict, rows)),
    }
    return {"training step": dict(steps), "inference": paths}


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return make_optimizer([value for value in model.parameters() if value.requires_grad], FitConfig())


def _step(model: nn.Module, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
    model.train()
    optimizer.zero_grad()
    _backward(loss)
    clip_gradients(optimizer)
    optimizer.step()


def _backward(loss: Callable[[], Tensor]) -> None:
    loss().backward()  # type: ignore[no-untyped-call]


def _still(model: nn.Module, run: Callable[[], Any]) -> None:
    model.eval()
    run()


def parts(size: Size, both: Entrants, rows: Mapping[str, Tensor]) -> dict[str, Runs]:
    """Forward and backward of each part in training, by who; what is the same in both is under ours."""
    device = rows["ids"].device
    shape = (size.batch, size.grid**2 + 1, size.dim)
    streams = {name: torch.randn(shape, device=device).requires_grad_() for name in ("text", "image")}
    found = dict(zip(_SHARED, _shared(both, rows, streams), strict=True))
    learnt = (_transformer(size, both, streams), _exchange(size, streams), _captioner(both, rows, streams))
    return found | dict(zip(_LEARNT, (*learnt, _head(both, rows, streams)), strict=True))


def _shared(both: Entrants, rows: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Runs]:
    text, image = both.ours.encoders["text"], both.ours.encoders["image"]
    painter, sentence = both.plain.painter, streams["text"][:, 0].detach().requires_grad_()
    runs: list[tuple[nn.Module, list[Tensor], Callable[[], Tensor]]] = [
        (text, [], lambda: text(rows["ids"], rows["mask"])[0]),
        (image, [], lambda: image(rows["images"], None)[0]),
        (painter, [sentence], lambda: painter.loss(sentence, rows["pictures"])),
    ]
    return [{"ours": partial(_learn, [part], inputs, run)} for part, inputs, run in runs]


def _transformer(size: Size, both: Entrants, streams: Mapping[str, Tensor]) -> Runs:
    ours = next(part for part in both.ours.exchanges.values() if not isinstance(part, GenerativeLosses))
    without = muse_transformer(
        dict.fromkeys(streams, size.dim),
        num_layers=size.layers,
        layers=(),
        block=partial(PostNormBlock, num_heads=size.heads, hidden=size.hidden, dropout=0.2),
    ).to(streams["text"].device)
    models = {"ours": ours, "plain": both.plain.transformer, "no exchange": without}
    inputs = list(streams.values())
    return {
        who: partial(_learn, [model], inputs, partial(_joined, model, streams))
        for who, model in models.items()
    }


def _exchange(size: Size, streams: Mapping[str, Tensor]) -> Runs:
    """As often as the model exchanges."""
    scores = {name: value[..., 0].detach().softmax(1) for name, value in streams.items()}
    part = ClsExchange(dict.fromkeys(streams, size.dim), theta=_THETA, faithful=True)
    count, inputs = len(size.exchanging), list(streams.values())

    def ours() -> None:
        for _ in range(count):
            _learn([], inputs, lambda: torch.cat(list(part(streams, scores=scores).values())))

    def plain() -> None:
        for _ in range(count):
            _learn([], inputs, lambda: torch.cat(loop(streams, scores, theta=_THETA)))

    return {"ours": ours, "plain": plain}


def _captioner(both: Entrants, rows: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> Runs:
    captions, image = rows["captions"], streams["image"][:, 1:].detach().requires_grad_()
    told = captions != 0
    ours, plain = both.decoders.captioner, both.plain.captioner
    assert ours is not None
    return {
        "ours": partial(_learn, [ours], [image], partial(ours.loss, image, captions, told)),
        "plain": partial(
            _learn, [plain], [image], partial(plain.loss, image, captions, told.sum(1), once=True)
        ),
    }


def _head(both: Entrants, rows: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> Runs:
    ours, plain, inputs = both.ours, both.plain, list(streams.values())
    masks = {
        name: torch.ones(value.shape[:2], dtype=torch.bool, device=value.device)
        for name, value in streams.items()
    }
    target = rows["tags"].masked_fill(~rows["mask"], -1)
    own = [part for part in (ours.anchor, ours.merge, ours.head) if part is not None]
    return {
        "ours": partial(
            _learn,
            own,
            inputs,
            lambda: both.task.loss(ours.fuse(dict(streams), masks, positions=rows["mask"]), target),
        ),
        "plain": partial(
            _learn,
            [plain.linear2, plain.classifier, plain.crf],
            inputs,
            lambda: -plain.crf(plain.emissions(streams), rows["tags"], rows["mask"], reduction="mean"),
        ),
    }


def _joined(model: nn.Module, streams: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(model(streams).values()))


def _learn(modules: Sequence[nn.Module], inputs: Sequence[Tensor], run: Callable[[], Tensor]) -> None:
    """Gradients of what a run gives, by its inputs and what its modules train."""
    for module in modules:
        module.train()
    wanted = [value for module in modules for value in module.parameters() if value.requires_grad]
    out = run()
    torch.autograd.grad(out, [*inputs, *wanted], torch.ones_like(out))


def shares(seconds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Of our training step: each part, and the exchange as a difference too."""
    step = seconds["training step"]["ours"]["median_s"]
    found = {part: seconds[part]["ours"]["median_s"] / step for part in (*_SHARED, *_LEARNT)}
    transformer = seconds["transformer"]
    behind = transformer["ours"]["median_s"] - transformer["no exchange"]["median_s"]
    found["exchange, as a difference"] = behind / step
    found["both decoders"] = found["captioner"] + found["painter"]
    return found


def table(found: Mapping[str, Any]) -> str:
    """Seconds with quartiles, ratios and shares."""
    lines = [f"{'seconds':28} {'ours':>24} {'plain':>24} {'ratio':>7} {'share of our step':>18}"]
    for name, taken in found["seconds"].items():
        ours = taken["ours"]
        rival, ratio = "the same", ""
        if "plain" in taken:
            rival, ratio = _cell(taken["plain"]), f"{taken['plain']['median_s'] / ours['median_s']:.2f}"
        share = f"{found['shares'][name]:.2%}" if name in found["shares"] else ""
        lines.append(f"{name:28} {_cell(ours):>24} {rival:>24} {ratio:>7} {share:>18}")
    lines += [
        f"{name:28} {found['shares'][name]:>76.2%}" for name in ("exchange, as a difference", "both decoders")
    ]
    memory = ", ".join(f"{who} {megabytes:,.0f} MB" for who, megabytes in found["peak_mb"].items())
    lines += [
        f"peak memory of forward and backward: {memory}",
        "",
        f"Medians (quartiles) of a batch of {found['size']['batch']}; ratio: plain / ours.",
        "",
        about(found),
    ]
    return "\n".join(lines) + "\n"


def _cell(taken: Mapping[str, float]) -> str:
    return f"{taken['median_s']:.4f} ({taken['low_s']:.4f} to {taken['high_s']:.4f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    about = "What does a training step of MuSE cost?"
    options = options_parser(about, _RESULTS, rounds=5, seconds=600.0).parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device(options.device)
    size = Size(**{name: getattr(options, name) for name in vars(Size())})
    both, rows = entrants(size, device), draw(size, device)
    check(both, rows)
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    timed = partial(measure, rounds=options.rounds, seconds=options.seconds, device=device, clock=clock)
    memory = {
        who: peak_mb(model, partial(_backward, loss)) for who, (model, loss) in both.losses(rows).items()
    }
    seconds = {name: timed(runs) for name, runs in (whole(both, rows) | parts(size, both, rows)).items()}
    found = {
        "format_version": 1,
        "environment": environment(device, seed=0),
        "size": vars(size),
        "seconds": seconds,
        "shares": shares(seconds),
        "peak_mb": memory,
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(table(found), end="")
    return 0


def options_parser(
    description: str, results: Path, *, rounds: int, seconds: float
) -> argparse.ArgumentParser:
    """Options of a program about MuSE: its sizes, the device, how long to time, and where to write."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in vars(Size()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each thing, after five rounds")
    parser.add_argument("--json", type=Path, default=results)
    return parser


if __name__ == "__main__":
    sys.exit(main())
