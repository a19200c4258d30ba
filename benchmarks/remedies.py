"""Do remedies make attention follow quality, and do they beat training without one?

An attention fusion on data of which it is known how good each modality is in each row: the generated set
`imbalanced` over a grid of its settings, or digits seen and heard under noise of varying level. Every draw of
rows is trained on without a remedy and with each, all with the same learning rate and stopping rule. Printed
are, over the draws, accuracy and its difference to training without a remedy (Student's interval, in pairs),
the imbalance rate of attention (AIR), the share of attention that is on the easy modality, and the Spearman
correlation of that share with how much better that modality is than the other, row by row, and how much more
that is than without a remedy. Helps and harms are after Holm's correction for all remedies of a setting. A
remedy that predicts by parts of its own has no attention to look at. Results are stored after every draw, and
a draw that is stored is not repeated.

    python benchmarks/remedies.py imbalanced
    python benchmarks/remedies.py av-digits --folder DATA_FOLDER
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from noisy_digits import LEVELS, noisy_digits
from numpy.typing import NDArray
from remedy_tables import PLAIN, render
from timing import environment
from torch import nn

from fuseloom.data.imbalanced import make_imbalanced
from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.metrics.rank_correlation import spearman
from fuseloom.models import ModelConfig, build_model
from fuseloom.registry import create_remedy, list_remedies, lookup
from fuseloom.tasks.classification import Classification
from fuseloom.train.class_adapters import find_class_attention
from fuseloom.train.fit import FitConfig, fit, predict_outputs
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Trace

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results"
_GRID = tuple(product((0.0, 0.5, 1.0), (0.5, 1.0)))
"""Imbalance and noise."""
_FIRST_SEED = 100
"""So that no draw is the embedded one."""
_USED = {"train": 1200, "valid": 400, "test": 1200}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One draw of rows."""

    data: str
    setting: tuple[float, ...]
    seed: int
    folder: str
    epochs: int
    remedies: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one draw."""

    splits: Mapping[str, Batch]
    better: NDArray[np.float64]
    """How much better the first modality is than the second in each test row."""
    encoders: Mapping[str, Mapping[str, Any]]
    classes: tuple[str, ...]
    best: Mapping[str, float]
    """What is known of the accuracy that nothing can exceed, of each modality and of both."""


def imbalanced_rows(job: Job) -> Rows:
    """A draw of `imbalanced`, of which as many rows are learnt from as the embedded set has."""
    imbalance, noise = job.setting
    data = make_imbalanced(6000, imbalance=imbalance, noise=noise, seed=job.seed)
    kept = {name: np.flatnonzero(data.split == name)[:most] for name, most in _USED.items()}
    target = torch.from_numpy((data.target == "plus").astype(np.int64))
    whole = Batch(inputs={n: torch.from_numpy(v) for n, v in data.streams.items()}, target=target)
    better = data.quality["easy"] - data.quality["hard"]
    names = (["easy"], ["hard"], ["easy", "hard"])
    return Rows(
        splits={name: whole.take(torch.from_numpy(rows)) for name, rows in kept.items()},
        better=better[kept["test"]],
        encoders={name: {"kind": "embedding", "in_dim": 8} for name in data.streams},
        classes=("minus", "plus"),
        best={" + ".join(some): data.best_accuracy(*some) for some in names},
    )


def digits_rows(job: Job) -> Rows:
    """A draw of digits seen and heard, each row of either at a level of noise of its own."""
    found = noisy_digits(Path(job.folder), worst=job.setting[0], seed=job.seed)
    return Rows(
        splits=found.splits, better=found.better, encoders=found.encoders, classes=found.classes, best={}
    )


def run(job: Job) -> dict[str, Any]:
    """Train without a remedy and with each on one draw."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    rows = digits_rows(job) if job.data == "av-digits" else imbalanced_rows(job)
    task = Classification(list(rows.classes))
    config = FitConfig(lr=3e-3, max_epochs=job.epochs, patience=15, seed=job.seed)
    alone = {name: _alone(rows, name, task, config) for name in rows.encoders}
    teachers = {name: model.encoders[name] for name, (model, _) in alone.items()}
    found = {name: _treated(rows, name, task, config, teachers) for name in (PLAIN, *job.remedies)}
    return {
        "setting": list(job.setting),
        "seed": job.seed,
        "best": dict(rows.best),
        "alone": {name: accuracy for name, (_, accuracy) in alone.items()},
        "runs": found,
        "seconds": round(time.perf_counter() - start, 1),
    }


def _model(rows: Rows, names: Sequence[str], fusion: str, task: Classification) -> Any:
    encoders = {name: rows.encoders[name] for name in names}
    return build_model(ModelConfig(encoders=encoders, fusion=fusion, dim=32), task)


def _alone(rows: Rows, name: str, task: Classification, config: FitConfig) -> tuple[Any, float]:
    """A model of one modality, and its accuracy."""
    parts = {
        split: Batch(inputs={name: batch.inputs[name]}, target=batch.target)
        for split, batch in rows.splits.items()
    }
    model, _ = fit(lambda: _model(rows, [name], "concat", task), parts["train"], parts["valid"], task, config)
    return model, _accuracy(model, parts["test"])


def _treated(
    rows: Rows, name: str, task: Classification, config: FitConfig, teachers: Mapping[str, nn.Module]
) -> dict[str, Any]:
    """What the fusion does as a remedy trained it."""
    model, result = fit(
        lambda: _model(rows, list(rows.encoders), "attention_pool", task),
        rows.splits["train"],
        rows.splits["valid"],
        task,
        config,
        remedy=_remedy(name, teachers),
    )
    found = {"accuracy": _accuracy(model, rows.splits["test"]), "epochs": result.epochs, "s": result.train_s}
    own = name and "outputs" in lookup(name, kind="remedy").card.touches
    return found | ({} if own else _attention(model, rows))


def _remedy(name: str, teachers: Mapping[str, nn.Module]) -> Any:
    if not name:
        return None
    needs = lookup(name, kind="remedy").card.needs
    return create_remedy(name, **({"teachers": dict(teachers)} if "teachers" in needs else {}))


def _attention(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Imbalance rate, share on the first modality, and whether that follows how much better it is."""
    test, trace = rows.splits["test"], Trace()
    with torch.no_grad(), find_class_attention(model).reading() as readings:
        apply_model(model.eval(), test, trace=trace)
    query = readings[0].query.flatten(1)
    cosines = {name: key_cosine(query, key.flatten(1)) for name, key in readings[0].keys.items()}
    shares = trace.records["merge.mass"].flatten(1, -2).mean(1)[:, 1:]
    first = (shares[:, 0] / shares.sum(-1)).double().numpy()
    found = {"air": float(attention_imbalance_rate(cosines)), "mass": float(first.mean())}
    if np.ptp(rows.better) > 0:
        found["follows"] = spearman(first, rows.better)
    return found


def _accuracy(model: nn.Module, rows: Batch) -> float:
    assert rows.target is not None
    return float((predict_outputs(model, rows).argmax(1) == rows.target.numpy()).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the tables, write the JSON."""
    options = _parser().parse_args(arguments)
    settings: list[tuple[float, ...]] = [*_GRID]
    if options.data == "av-digits":
        settings = [(one,) for one in LEVELS]
    chosen = tuple(options.remedy or list_remedies())
    jobs = [
        Job(
            data=options.data,
            setting=tuple(setting),
            seed=_FIRST_SEED + number,
            folder=str(options.folder),
            epochs=options.epochs,
            remedies=chosen,
        )
        for number, setting in product(range(options.draws), settings[: options.settings])
    ]
    path = (
        options.json
        if options.json is not None
        else _RESULTS / f"remedies_{options.data}.json".replace("-", "_")
    )
    about = environment(torch.device("cpu"), seed=_FIRST_SEED)
    draws = json.loads(path.read_text("utf-8"))["draws"] if path.is_file() else []
    stored = {(tuple(draw["setting"]), draw["seed"]) for draw in draws}
    start = time.perf_counter()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run, job) for job in jobs if (job.setting, job.seed) not in stored]
        for done in as_completed(waiting):
            draws.append(done.result())
            draws.sort(key=lambda draw: (settings.index(tuple(draw["setting"])), draw["seed"]))
            held = {"format_version": 1, **about, "epochs": options.epochs, "draws": draws}
            path.write_text(json.dumps(held, indent=1) + "\n", "utf-8")
            print(len(draws), "of", len(jobs), "draws", file=sys.stderr, flush=True)
    print(render(json.loads(path.read_text("utf-8"))))
    print(f"{time.perf_counter() - start:.0f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Do remedies make attention follow quality, and do they pay?"
    )
    parser.add_argument("data", choices=["imbalanced", "av-digits"])
    parser.add_argument("--folder", type=Path, help="of the digits' recordings")
    parser.add_argument("--remedy", action="append", help="default: all")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--settings", type=int, help="only the first so many")
    parser.add_argument("--epochs", type=int, default=100, help="at most")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
