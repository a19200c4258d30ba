"""Which methods see how two views pair? Fusions of the set `views`, which no pooled summary of a view tells.

Every exchange stands before the merge `concat`, which pools and adds; every merge also stands alone. The
tokens come as they are, or with their place beside them, in sines and cosines. Every row is met once, so that
nothing is learnt by heart, and a run ends where it is right on 99 of 100 validation rows, or after the last
step. What is printed is the accuracy on rows of its own, with the steps that it took. The results are stored
after every run, and a run that is stored already is not repeated.

    python benchmarks/two_view.py --seeds 3
    python benchmarks/two_view.py --fusion cross_attention+concat --fusion early_transformer
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from timing import environment
from torch import Tensor, nn

from fuseloom.data.views import Views, make_views
from fuseloom.models.building import ModelConfig, build_model
from fuseloom.registry import list_names, lookup
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, make_optimizer, predict_outputs, seeded
from fuseloom.train.step import training_step
from fuseloom.types import Alignment, Batch

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results" / "two_view.json"
_KINDS = ("tokens", "placed")
_SOLVED = 0.99
_EVERY = 50
_HELD = 2000


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run."""

    fusion: str
    """``exchange+merge``, or a merge."""
    kind: str
    """``tokens`` as they are, or ``placed``: with their place."""
    seed: int
    steps: int
    """After which it ends, solved or not."""
    batch: int
    lr: float


def known_fusions() -> list[str]:
    """Every exchange before `concat`, and every merge of two modalities."""
    arities = {name: lookup(name, kind="merge").card.arity for name in list_names(kind="merge")}
    merges = [name for name, (low, high) in arities.items() if low <= 2 <= (high or 2)]
    return [*(f"{name}+concat" for name in list_names(kind="exchange")), *merges]


def run(job: Job) -> dict[str, Any]:
    """Train on fresh rows until it is solved or the steps are over."""
    torch.set_num_threads(1)
    rows = _rows(job)
    task = Classification(["shift_0", "shift_1"])
    with seeded(job.seed):
        model = _model(job, next(iter(rows["train"].inputs.values())).shape[-1], task)
        optimizer = make_optimizer(list(model.parameters()), FitConfig(lr=job.lr))
        step = 0
        for step, batch in enumerate(islice(_batches(rows["train"], job.batch), job.steps), start=1):
            training_step(model.train(), batch, task, optimizer)
            if step % _EVERY == 0 and _accuracy(model, rows["valid"]) >= _SOLVED:
                break
    return {**asdict(job), "test_accuracy": _accuracy(model, rows["test"]), "trained_steps": step}


def _rows(job: Job) -> dict[str, Batch]:
    """Rows of each split; three fifths are for training."""
    wanted = max(job.steps * job.batch * 5 // 3, 5 * _HELD)
    data = make_views(wanted, seed=job.seed)
    found = {part: _part(data, part, job.kind) for part in ("train", "valid", "test")}
    return {name: batch if name == "train" else batch.take(slice(0, _HELD)) for name, batch in found.items()}


def _part(data: Views, part: str, kind: str) -> Batch:
    rows = data.split == part
    inputs = {name: torch.from_numpy(data[name][rows]) for name in data.streams}
    if kind == "placed":
        inputs = {name: _placed(tokens) for name, tokens in inputs.items()}
    target = torch.tensor([int(name.removeprefix("shift_")) for name in data.target[rows]])
    return Batch(inputs=inputs, target=target, extras={"alignment": _same_places(*inputs["a"].shape[:2])})


def _same_places(batch: int, count: int) -> Alignment:
    """Tokens of one place belong together, for exchanges that read it."""
    place = torch.arange(count).expand(batch, -1)
    return Alignment(source_index=place, target_index=place, weight=torch.ones(()).expand(batch, count))


def _placed(tokens: Tensor) -> Tensor:
    """Beside rather than added: the mean over tokens is then that of tokens, and constants."""
    count = tokens.shape[1]
    return torch.cat([tokens, 2 * torch.eye(count).expand(len(tokens), -1, -1)], dim=-1)


def _batches(rows: Batch, size: int) -> Iterator[Batch]:
    return (rows.take(slice(start, start + size)) for start in range(0, len(rows) - size + 1, size))


def _model(job: Job, width: int, task: Classification) -> nn.Module:
    encoders = {name: {"kind": "identity", "in_dim": width} for name in "ab"}
    config = ModelConfig(encoders=encoders, fusion=job.fusion, dim=32, dropout=0.0)
    return build_model(config, task)


def _accuracy(model: nn.Module, rows: Batch) -> float:
    assert rows.target is not None
    return float((predict_outputs(model, rows).argmax(1) == rows.target.numpy()).mean())


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Accuracies of all seeds by fusion, tokens beside placed tokens; of what is solved the most steps."""
    lines = [f"{'fusion':34} {'tokens':32} {'tokens and their places':32}"]
    for fusion in dict.fromkeys(one["fusion"] for one in results):
        cells = [_cell([r for r in results if (r["fusion"], r["kind"]) == (fusion, kind)]) for kind in _KINDS]
        lines.append(f"{fusion:34} {cells[0]:32} {cells[1]:32}".rstrip())
    return "\n".join(lines)


def _cell(runs: Sequence[Mapping[str, Any]]) -> str:
    scores = " ".join(f"{one['test_accuracy']:.3f}" for one in runs)
    if not runs or min(one["test_accuracy"] for one in runs) < _SOLVED - 0.01:
        return scores
    return f"{scores}  in {max(one['trained_steps'] for one in runs)} steps"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    fusions = options.fusion or known_fusions()
    jobs = [
        Job(fusion=fusion, kind=kind, seed=seed, steps=options.steps, batch=options.batch, lr=options.lr)
        for seed, fusion, kind in product(range(options.seeds), fusions, _KINDS)
    ]
    about = environment(torch.device("cpu"), seed=0)
    known = _stored(options.json)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for found in pool.map(run, [job for job in jobs if job not in known]):
            known[Job(**{field.name: found[field.name] for field in fields(Job)})] = found
            text = json.dumps({"format_version": 1, **about, "runs": list(known.values())}, indent=1)
            options.json.write_text(text + "\n", "utf-8")
            print(*found.values(), file=sys.stderr, flush=True)
    results = [known[job] for job in sorted(jobs, key=lambda job: (fusions.index(job.fusion), job.seed))]
    print(table(results))
    print(f"at most {options.steps} steps of {options.batch} rows, learning rate {options.lr}")
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    return 0


def _stored(path: Path) -> dict[Job, dict[str, Any]]:
    """Finished runs."""
    if not path.is_file():
        return {}
    runs = json.loads(path.read_text("utf-8"))["runs"]
    return {Job(**{field.name: one[field.name] for field in fields(Job)}): one for one in runs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Which methods see how two views pair?")
    parser.add_argument("--fusion", action="append", help="exchange+merge, or a merge; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, default=_RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
