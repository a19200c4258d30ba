"""What does captioning cost? A training step of NIC-Att, ours against the plain formulation, and a search.

The plain formulation is the loop of the paper's code: rows sorted by length, at every word the rows that have
not ended, each word's logits at once, and the keys of the image made anew; or, a fairer rival, made once. All
have the same weights and take turns in one process on one thread.
Captions are all of the longest length, or of lengths drawn evenly from eight up to it, as tweets have.

    python benchmarks/captioner.py
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import Clock, environment, measure
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.models.muse.captioner import Captioner, official_captioner

__all__ = ["PlainCaptioner", "main"]

_RESULTS = Path(__file__).parent / "results" / "captioner.json"
_SHORTEST = 8


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a batch, and of the model."""

    batch: int = 40
    patches: int = 64
    length: int = 30
    words: int = 4736
    dim: int = 768
    width: int = 512
    """Of attention, embedding and hidden state."""


class PlainCaptioner(nn.Module):
    """The paper's loop, by the names of the official weights.

    Args:
        dim: Width of the image tokens.
        words: Size of the vocabulary.
        attention: Width in which words and image are compared.
        embedding: Width of a word.
        hidden: Width of the LSTM.
    """

    def __init__(self, dim: int, words: int, *, attention: int, embedding: int, hidden: int) -> None:
        super().__init__()
        sizes = {"encoder_att": dim, "decoder_att": hidden}
        self.attention = nn.ModuleDict({name: nn.Linear(size, attention) for name, size in sizes.items()})
        self.attention["full_att"] = nn.Linear(attention, 1)
        self.embedding = nn.Embedding(words, embedding)
        self.decode_step = nn.LSTMCell(embedding + dim, hidden)
        self.init_h, self.init_c = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.f_beta = nn.Linear(hidden, dim)
        self.fc = nn.Linear(hidden, words)
        self.dropout = nn.Dropout(0.5)

    def forward(
        self, image: Tensor, captions: Tensor, lengths: Tensor, *, once: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and attention by length, and the order; keys of the image made once or at each step."""
        lengths, order = lengths.sort(descending=True)
        image, captions = image[order], captions[order]
        embedded, steps = self.embedding(captions), (lengths - 1).tolist()
        mean = image.mean(1)
        hidden, cell = self.init_h(mean), self.init_c(mean)
        logits, looks = [], []
        keys = self.attention["encoder_att"](image) if once else None
        for step in range(steps[0]):
            rows = sum(length > step for length in steps)
            hidden, cell = hidden[:rows], cell[:rows]
            context, weights = self._look(image[:rows], hidden, None if keys is None else keys[:rows])
            context = self.f_beta(hidden).sigmoid() * context
            hidden, cell = self.decode_step(torch.cat([embedded[:rows, step], context], 1), (hidden, cell))
            # Writing into one tensor copies its whole gradient at every step.
            logits.append(F.pad(self.fc(self.dropout(hidden)), (0, 0, 0, len(image) - rows)))
            looks.append(F.pad(weights, (0, 0, 0, len(image) - rows)))
        return torch.stack(logits, 1), torch.stack(looks, 1), order

    def _look(self, image: Tensor, hidden: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        query = self.attention["decoder_att"](hidden)
        keys = self.attention["encoder_att"](image) if keys is None else keys
        scores = self.attention["full_att"](F.relu(keys + query[:, None]))[..., 0]
        weights = scores.softmax(1)
        return torch.bmm(weights[:, None], image)[:, 0], weights

    def loss(self, image: Tensor, captions: Tensor, lengths: Tensor, *, once: bool = False) -> Tensor:
        """Cross-entropy of the words, and attention that should look once everywhere."""
        logits, looks, order = self(image, captions, lengths, once=once)
        real = torch.arange(1, logits.shape[1] + 1) < lengths[order][:, None]
        targets = captions[order][:, 1 : logits.shape[1] + 1]
        return F.cross_entropy(logits[real], targets[real]) + (1 - looks.sum(1)).square().mean()


def models(size: Size) -> tuple[Captioner, PlainCaptioner]:
    """Ours and the plain one, with the same weights."""
    torch.manual_seed(0)
    ours = Captioner(
        size.dim,
        size.words,
        attention_dim=size.width,
        embedding_dim=size.width,
        hidden_dim=size.width,
    )
    plain = PlainCaptioner(
        size.dim, size.words, attention=size.width, embedding=size.width, hidden=size.width
    )
    plain.load_state_dict(official_captioner(ours.state_dict()))
    return ours, plain


def draw(size: Size, kind: str) -> dict[str, Tensor]:
    """Images and captions, ``full`` or ``ragged``, the first of the longest length."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.full((size.batch,), size.length)
    if kind == "ragged":
        shortest = min(_SHORTEST, size.length)
        lengths[1:] = torch.randint(shortest, size.length + 1, (size.batch - 1,), generator=generator)
    mask = torch.arange(size.length) < lengths[:, None]
    captions = torch.randint(4, size.words, mask.shape, generator=generator).masked_fill(~mask, 0)
    captions[:, 0] = 1
    captions.scatter_(1, lengths[:, None] - 1, 2)
    image = torch.randn(size.batch, size.patches, size.dim, generator=generator)
    return {"image": image, "captions": captions, "lengths": lengths, "mask": mask}


def training(size: Size, timed: Callable[..., dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Seconds of loss and gradients, the image's too, in training."""
    found = []
    ours, plain = models(size)
    for kind in ("full", "ragged"):
        data = draw(size, kind)
        image, captions = data["image"].requires_grad_(), data["captions"]
        runs = {
            "ours": partial(_step, ours.train(), image, captions, data["mask"]),
            "plain": partial(_step, plain.train(), image, captions, data["lengths"]),
            "keys once": partial(_step, plain.train(), image, captions, data["lengths"], once=True),
        }
        taken = timed(runs)
        found.append({"captions": kind, "words": int(data["mask"].sum()), "seconds": taken})
    return found


def _step(model: Captioner | PlainCaptioner, *given: Tensor, **options: bool) -> None:
    model.zero_grad(set_to_none=True)
    given[0].grad = None
    model.loss(*given, **options).backward()  # type: ignore[no-untyped-call]


def searching(size: Size, timed: Callable[..., dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Seconds of a search for captions of the longest length."""
    ours, _ = models(size)
    image = draw(size, "full")["image"]
    search = partial(ours.eval().search, image, max_length=size.length - 1, banned=[2])
    return timed({f"width {width}": partial(search, width=width) for width in (1, 5)})


def table(found: dict[str, Any]) -> str:
    """Milliseconds, with quartiles."""
    lines = [f"{'training step, ms':24} {'ours':>20}" + f"{'plain':>20} ratio{'keys once':>20} ratio"]
    for one in found["training"]:
        taken = one["seconds"]
        cells = f"{_cell(taken['ours']):>20}"
        for who in ("plain", "keys once"):
            ratio = taken["ours"]["median_s"] / taken[who]["median_s"]
            cells += f"{_cell(taken[who]):>20} {ratio:5.2f}"
        lines.append(f"{one['captions'] + ', ' + str(one['words']) + ' words':24} {cells}")
    lines += ["", "search, ms"]
    lines += [f"{name:24} {_cell(taken):>20}" for name, taken in found["search"].items()]
    return "\n".join(lines)


def _cell(taken: dict[str, float]) -> str:
    low, median, high = (1000 * taken[f"{name}_s"] for name in ("low", "median", "high"))
    return f"{median:.0f} ({low:.0f} to {high:.0f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    size = Size(**{name: getattr(options, name) for name in vars(Size())})
    clock: Clock = time.thread_time
    timed = partial(
        measure, rounds=options.rounds, seconds=options.seconds, device=torch.device("cpu"), clock=clock
    )
    found = {
        "format_version": 1,
        **environment(torch.device("cpu"), seed=0),
        **vars(size),
        "training": training(size, timed),
        "search": searching(size, timed),
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(table(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What does captioning cost?")
    for name, value in vars(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
