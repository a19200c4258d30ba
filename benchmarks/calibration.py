"""How often is `compare` wrong that fusing pays, and how often does it find that it does?

Usage: python benchmarks/calibration.py [--setting NAME]... [--draws 40] [--json FILE] [--quick]

Modality ``a`` tells one bit of the label in part. Of a second bit ``b`` alone (``unique``) or both together
(``synergistic``) tell as much as the strength says; at strength 0 that bit is a coin of which nothing tells,
on which models differ by chance only, and fusing cannot pay. Each draw is a comparison on new data with a new
split, made by `compare`: a single one with two seeds, as it does by default with so many rows, or five folds
that share their test rows, with one seed. A table for each setting. At strength 0 at most one draw in twenty
may say that fusing pays; the status is 1 where it is more in any setting.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from fuseloom.comparison.result import Comparison
from fuseloom.data.interactions import Interactions, make_interactions
from fuseloom.workbench import compare

MOST_FALSE = 0.05
TOLD_BY_A = 0.5
"""Bits."""
A_COIN = 1e-9
"""Bits of which nothing can be learnt."""
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "unique": (0.0, 0.01, 0.03, 0.08, 0.2),
    "synergistic": (0.0, 0.02, 0.05, 0.2, 0.6),
}
"""Bits of the second bit of the label, from none to strong."""
COMMON: Mapping[str, Any] = {
    "fusions": ("concat", "low_rank"),
    "learning_rates": (1e-2,),
    "embedding_encoder": "identity",
    "dim": 16,
    "dropout": 0.1,
    "max_epochs": 20,
    "batch_size": 128,
}
"""Of every comparison."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Which data are drawn, and how they are compared on."""

    kind: str
    """Of the second bit: a key of ``STRENGTHS``."""
    folds: int
    seeds: int
    rows: int = 1000


SETTINGS: Mapping[str, Setting] = {
    "unique": Setting(kind="unique", folds=1, seeds=2),
    "synergistic": Setting(kind="synergistic", folds=1, seeds=2),
    "unique-folds": Setting(kind="unique", folds=5, seeds=1, rows=500),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the draws of one strength say."""

    bits: float
    best_alone: float
    """Accuracy that no model of one modality can exceed."""
    best_fused: float
    gain: float
    """Mean over draws of the measured gain in accuracy of the best fusion."""
    width: float
    """Mean width of its interval."""
    covered: float
    """Share of intervals that hold the mean gain of all draws."""
    verdicts: Mapping[str, int]
    draws: int

    @property
    def paying(self) -> float:
        """Share of draws in which fusing was said to pay."""
        return self.verdicts.get("fusing pays", 0) / self.draws


@click.command()
@click.option("--setting", "names", multiple=True, type=click.Choice(sorted(SETTINGS)), help="Default: all.")
@click.option("--draws", default=40, show_default=True, help="Of each strength.")
@click.option("--quick", is_flag=True, help="Two draws of two strengths of few rows, to see that it runs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(names: Sequence[str], draws: int, *, quick: bool, json_path: Path | None) -> None:
    """Count verdicts on data whose interactions are known."""
    found: dict[str, Any] = {}
    false = []
    for name in names or SETTINGS:
        setting, strengths = SETTINGS[name], STRENGTHS[SETTINGS[name].kind]
        if quick:
            setting, draws = replace(setting, rows=200, seeds=1), 2
            strengths = (strengths[0], strengths[-1])
        lines = [_line(setting, bits, draws) for bits in strengths]
        _print(name, setting, lines)
        false.append(lines[0].paying)
        found[name] = {**asdict(setting), "lines": [asdict(line) for line in lines]}
        if json_path is not None:  # after each, as all take half an hour
            json_path.write_text(json.dumps({"common": COMMON, "settings": found}, indent=1) + "\n", "utf-8")
    sys.exit(max(false) > MOST_FALSE)


def _line(setting: Setting, bits: float, draws: int) -> Line:
    runs = []
    for draw in range(draws):
        data = _data(setting, bits, draw)
        rows = {name: data[name] for name in data if name != "split"}
        runs.append(compare(rows, seeds=setting.seeds, folds=setting.folds, split_seed=draw, **COMMON))
        click.echo(f"{setting.kind}, {bits:g} bits, draw {draw}: {runs[-1].recommendation.verdict}", err=True)
    return _summed(bits, data, runs)


def _data(setting: Setting, bits: float, draw: int) -> Interactions:
    amount, seed, rows = max(bits, A_COIN), draw + round(1e6 * bits), setting.rows
    if setting.kind == "unique":
        return make_interactions(rows, unique={"a": TOLD_BY_A, "b": amount}, synergistic=0.0, seed=seed)
    return make_interactions(rows, unique={"a": TOLD_BY_A}, synergistic=amount, seed=seed)


def _summed(bits: float, data: Interactions, runs: Sequence[Comparison]) -> Line:
    gains = [run.recommendation.gain for run in runs]
    mean = float(np.mean([gain.mean for gain in gains]))
    limits = np.array([(gain.low, gain.high) for gain in gains], dtype=np.float64)
    return Line(
        bits=bits,
        best_alone=max(data.best_accuracy("a"), data.best_accuracy("b")),
        best_fused=data.best_accuracy(),
        gain=mean,
        width=float(np.mean(limits[:, 1] - limits[:, 0])),
        covered=float(np.mean((limits[:, 0] <= mean) & (mean <= limits[:, 1]))),
        verdicts=dict(Counter(run.recommendation.verdict for run in runs)),
        draws=len(runs),
    )


def _print(name: str, setting: Setting, lines: Sequence[Line]) -> None:
    print(
        f"{name}: {lines[0].draws} draws of {setting.rows:,} rows, {setting.folds} fold(s), "
        f"{setting.seeds} seed(s)"
    )
    heads = (
        "bits",
        "best alone",
        "fused",
        "mean gain",
        "interval",
        "covers",
        "pays",
        "does not",
        "cannot tell",
    )
    print("  ".join(f"{head:>10}" for head in heads))
    for line in lines:
        shares = [
            line.verdicts.get(verdict, 0) / line.draws
            for verdict in ("fusing pays", "fusing does not pay", "these data cannot tell")
        ]
        numbers = (line.best_alone, line.best_fused, line.gain, line.width, line.covered, *shares)
        print("  ".join([f"{line.bits:>10g}", *(f"{number:>10.3f}" for number in numbers)]))
    false = lines[0].paying
    verdict = "at most" if false <= MOST_FALSE else "MORE THAN"
    print(f"False 'fusing pays' at strength 0: {false:.3f}, {verdict} {MOST_FALSE:g}.\n")


if __name__ == "__main__":
    main()
