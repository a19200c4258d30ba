"""What does routing save? Time of `RoutedModel` against the whole model, at known shares of cheap rows.

Two modalities: the gate reads the first, whose encoder is small; the second has a small encoder or a large
one. The bias of the gate is set so that a stated share of the rows takes the cheap expert, which needs no
second modality. Both models run in turns on the same rows, after a check that their predictions agree. A
ratio above 1 is time that routing loses, and ``~`` marks one whose quartiles are far apart.

    python benchmarks/routed.py
    python benchmarks/routed.py --device cuda --batch 1024
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timing import environment, measure, unsteady
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.heads import LinearHead
from fuseloom.merge.dynamic import Dynamic
from fuseloom.models import FusionModel, RoutedModel
from fuseloom.nn import TransformerEncoder

__all__ = ["ENCODERS", "main", "model_with"]

_HERE = Path(__file__).parent
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_DIM, _WIDTH, _TOKENS = 64, 256, 64


class _Transformer(nn.Module):
    """Four layers over tokens, as one stage."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = TransformerEncoder(_WIDTH, hidden=[4 * _WIDTH] * 4, num_heads=4)

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.layers(value, mask), mask


def _small() -> Encoder:
    return EmbeddingEncoder(_WIDTH, dim=_DIM)


def _large() -> Encoder:
    return Encoder([_Transformer()], [_WIDTH])


ENCODERS: dict[str, tuple[Callable[[], Encoder], tuple[int, ...]]] = {
    "small": (_small, (_WIDTH,)),
    "large": (_large, (_TOKENS, _WIDTH)),
}
"""Size -> what builds the second encoder, and the shape of a row of its input."""


def model_with(size: str, device: torch.device) -> FusionModel:
    """A model of two modalities in evaluation mode."""
    encoders = {"text": _small(), "image": ENCODERS[size][0]()}
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    return FusionModel(encoders, Dynamic(dims, dim=_DIM), LinearHead(_DIM, 10)).to(device).eval()


@torch.no_grad()
def set_share(model: FusionModel, inputs: dict[str, Tensor], share: float) -> None:
    """Move the bias of the gate until a share of these rows takes the cheap expert."""
    assert isinstance(model.merge, Dynamic)
    streams, masks = model.encode(inputs)
    first, second = model.merge.gate({"text": streams["text"]}).unbind(1)
    ahead = (first - second).sort(descending=True).values
    cut = round(share * len(ahead))
    padded = torch.cat([ahead[:1] + 1, ahead, ahead[-1:] - 1])
    bias = model.merge.gate.get_parameter("linears.0.bias")
    bias[0] -= (padded[cut] + padded[cut + 1]) / 2
    found = (model.merge.route(streams, masks) == 0).sum().item()
    if found != cut:
        raise RuntimeError(f"{cut} of {len(ahead)} rows should take the cheap expert, {found} do.")


def compare(size: str, share: float, options: argparse.Namespace) -> dict[str, Any]:
    """Quartiles of the seconds that a batch takes in both models."""
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    model = model_with(size, device)
    shapes = {"text": (_WIDTH,), "image": ENCODERS[size][1]}
    inputs = {name: torch.randn(options.batch, *shape, device=device) for name, shape in shapes.items()}
    set_share(model, inputs, share)
    routed = RoutedModel(model)
    with torch.no_grad():
        torch.testing.assert_close(routed(inputs), model(inputs), rtol=1e-3, atol=1e-4)
        times = measure(
            {"whole": lambda: model(inputs), "routed": lambda: routed(inputs)},
            rounds=options.rounds,
            seconds=options.seconds,
            device=device,
        )
    return {"encoder": size, "cheap_share": share} | times


def table(results: Sequence[dict[str, Any]]) -> str:
    """One line per encoder and share."""
    lines = [f"{'second encoder':<15} {'cheap rows':>10} {'whole ms':>10} {'routed ms':>10} {'ratio':>8}"]
    for result in results:
        whole, routed = result["whole"], result["routed"]
        noisy = unsteady(whole) or unsteady(routed)
        ratio = f"{'~' if noisy else ''}{routed['median_s'] / whole['median_s']:.2f}"
        times = f"{whole['median_s'] * 1e3:>10.3f} {routed['median_s'] * 1e3:>10.3f}"
        lines.append(f"{result['encoder']:<15} {result['cheap_share']:>10.0%} {times} {ratio:>8}")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What does routing save?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=25, help="at most, per encoder and share")
    parser.add_argument("--seconds", type=float, default=3.0, help="per encoder and share, after five rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=_HERE / "results" / "routed.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time both models at every share, print the table, write the JSON."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    about = environment(device, options.seed) | {"batch": options.batch}
    results = [compare(size, share, options) for size in ENCODERS for share in SHARES]
    print(table(results))
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"format_version": 1, **about, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
