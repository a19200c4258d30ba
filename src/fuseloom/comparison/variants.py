"""Named variants of a recipe against one of them, on one data set or several: what an ablation is worth."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuseloom.comparison.cluster import Cluster
from fuseloom.comparison.over_seeds import over_seeds, paired_by_seed
from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.training import Progress as Say
from fuseloom.comparison.trials import Terms, run_trials, scores_of
from fuseloom.errors import OptionError, did_you_mean
from fuseloom.metrics.interval import Interval
from fuseloom.train.files import write_whole

__all__ = ["Variant", "VariantTable", "Variants", "VariantsConfig", "run_variants", "variants_csv"]


@dataclass(frozen=True, kw_only=True)
class VariantsConfig:
    """What is compared, and on which terms."""

    name: str
    variants: Mapping[str, Mapping[str, str]]
    """Name -> dotted key -> value, as it would be written."""
    reference: str
    """The variant that the others are held against."""
    terms: Terms = field(default_factory=Terms)
    summary: str = ""
    """What it asks."""

    def __post_init__(self) -> None:
        if self.reference not in self.variants:
            hint = did_you_mean(self.reference, self.variants)
            raise OptionError(f"reference must be one of the variants, got {self.reference!r}.{hint}")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant on one data set; scores are means over its seeds."""

    name: str
    settings: Mapping[str, str]
    """Dotted key -> value as it was written."""
    test: Interval
    valid: Interval
    gain: Interval | None
    """By how much its test score is better than that of the reference, seed by seed; None of that itself."""
    also: Mapping[str, Interval]
    """Further scores of the test rows."""
    parameters: int
    train_s: float
    """Mean seconds of one training run."""
    runs: tuple[RecipeResult, ...]
    """One for each seed."""


@dataclass(frozen=True, kw_only=True)
class VariantTable:
    """All variants on one data set, in the order of the experiment."""

    data: str
    metric: str
    higher_is_better: bool
    variants: tuple[Variant, ...]


@dataclass(frozen=True, kw_only=True)
class Variants:
    """What a comparison of variants found."""

    name: str
    summary: str
    seeds: int
    reference: str
    tables: tuple[VariantTable, ...]


def run_variants(
    config: VariantsConfig,
    out: Path,
    *,
    num_workers: int | Cluster = 1,
    overwrite: bool = False,
    progress: Say = lambda line: None,
) -> Variants:
    """Train every variant on every data set with every seed; see `run_trials`.

    Args:
        config: What is compared.
        out: Run folder; gets ``variants.csv`` too.
        num_workers: Processes to train in; or a cluster, whose nodes must all see ``out``.
        overwrite: Remove what ``out`` holds first.
        progress: Called with a line for a person for each finished run.

    Raises:
        MissingExtraError: a cluster is asked for and Ray is not installed.
        OptionError: an unknown key or metric, or a value out of its range.
        RunError: ``out`` holds something else, or a run failed.
    """
    found = run_trials(
        config.variants, config.terms, out, num_workers=num_workers, overwrite=overwrite, progress=progress
    )
    variants = Variants(
        name=config.name,
        summary=config.summary,
        seeds=config.terms.seeds,
        reference=config.reference,
        tables=tuple(_table(data, runs, config) for data, runs in found.items()),
    )
    write_whole(out / "variants.csv", variants_csv(variants))
    return variants


def variants_csv(variants: Variants) -> str:
    """A row for each variant on each data set: means over its seeds, and what it gains on the reference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = ["valid", "test", "test_low", "test_high", "gain", "gain_low", "gain_high"]
    writer.writerow(["data", "variant", "metric", *scores, "parameters", "seeds", "train_s"])
    for table in variants.tables:
        for one in table.variants:
            gain = [None, None, None] if one.gain is None else [one.gain.mean, one.gain.low, one.gain.high]
            shown = [one.valid.mean, one.test.mean, one.test.low, one.test.high, *gain]
            cells = ["" if score is None or not np.isfinite(score) else f"{score:.6g}" for score in shown]
            costs = [one.parameters, len(one.runs), f"{one.train_s:.4g}"]
            writer.writerow([table.data, one.name, table.metric, *cells, *costs])
    return text.getvalue()


def _table(data: str, found: Mapping[str, Sequence[RecipeResult]], config: VariantsConfig) -> VariantTable:
    metric, higher = config.terms.judge(found[config.reference])
    reference = scores_of(found[config.reference], "test", metric)
    rows = []
    for name, runs in found.items():
        test = scores_of(runs, "test", metric)
        gain = paired_by_seed(test, reference, higher_is_better=higher)
        row = Variant(
            name=name,
            settings=config.variants[name],
            test=over_seeds(test),
            valid=over_seeds(scores_of(runs, "valid", metric)),
            gain=None if name == config.reference else gain,
            also={other: over_seeds(scores_of(runs, "test", other)) for other in config.terms.also},
            parameters=runs[0].parameters,
            train_s=float(np.mean([run.train_s for run in runs])),
            runs=tuple(runs),
        )
        rows.append(row)
    return VariantTable(data=data, metric=metric, higher_is_better=higher, variants=tuple(rows))
