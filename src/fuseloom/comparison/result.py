"""What a comparison found, as plain values: the report renders it, JSON stores it."""

from dataclasses import dataclass
from typing import Any, Literal

from fuseloom.comparison.findings import Findings
from fuseloom.diagnose.reliance import Reliance
from fuseloom.metrics.interval import Interval

__all__ = [
    "FORMAT_VERSION",
    "Comparison",
    "Contender",
    "DataSummary",
    "Entry",
    "ModalitySummary",
    "Recommendation",
    "Verdict",
]

Verdict = Literal["fusing pays", "fusing does not pay", "these data cannot tell"]
"""Whether a fusion is worth its trouble."""

FORMAT_VERSION = 2
"""Version of a comparison's JSON."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the leaderboard."""

    name: str
    """``text`` (a modality alone), ``low_rank``, ``cross_attention+concat`` or ``logistic regression``."""
    role: Literal["baseline", "unimodal", "fusion"]
    modalities: tuple[str, ...]
    interaction: Literal["none", "additive", "multiplicative", "nonlinear"]
    """Highest order of interaction between modalities it can express."""
    learning_rate: float | None
    """Chosen on validation data; None for a baseline."""
    valid: Interval
    """Mean validation score over training runs, with an interval over rows and, where there are several, over
    runs."""
    test: Interval
    """The same on test data, computed once at the end."""
    valid_by_run: tuple[float, ...]
    """Fold by fold, within a fold seed by seed."""
    test_by_run: tuple[float, ...]
    parameters: int
    train_s: float
    """Median seconds of one training run."""
    latency_ms: float
    """Median milliseconds to predict one row."""
    memory_mb: float | None
    """Peak megabytes of live tensors in one training step; None for a baseline."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model against the best one, on validation data."""

    name: str
    behind: Interval
    """Its score minus that of the best, positive where it is better; before any correction."""
    p_value: float
    """Of the hypothesis that it is worse by the margin or more, corrected for how many are tested (Holm)."""
    as_good: bool
    """Whether that is rejected, at 0.025 as the interval has two sides."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which model to use, chosen on validation data only, then priced on test data."""

    name: str
    sentence: str
    """The whole answer in plain words."""
    verdict: Verdict
    margin: float
    """By how much a model may be worse than the best and still count as equal."""
    best_unimodal: str
    best_fusion: str
    gain: Interval
    """Test score of the best fusion minus that of the best unimodal model, both chosen on validation data;
    positive where the fusion is better, with an interval over test rows and training runs."""
    rows_needed: int | None
    """About how many test rows would settle whether fusing pays; None where it is settled, or where no number
    in reach would."""
    contenders: tuple[Contender, ...]
    """Every other trained model against the best on validation data, best first."""


@dataclass(frozen=True, kw_only=True)
class ModalitySummary:
    """One modality of the data."""

    name: str
    kind: str
    """``embedding``, ``table`` or ``text``."""
    shape: str
    """In words: ``100 features``, ``3 numbers, 2 categories``, ``text up to 512 bytes``."""
    missing: int
    """Rows that lack it."""


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What was compared on."""

    name: str
    modalities: tuple[ModalitySummary, ...]
    target: str
    rows: dict[str, int]
    """Rows per split: ``train``, ``valid``, ``test``; of the first fold."""
    folds: int
    """How many times the rows were split."""
    set_aside: tuple[tuple[str, str], ...]
    """Rows that could not be used: where, and why."""
    notes: tuple[str, ...]
    """How kinds, task and splits were inferred."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison."""

    format_version: int
    data: DataSummary
    task: str
    """``classification`` or ``regression``."""
    metric: str
    higher_is_better: bool
    seeds: int
    entries: tuple[Entry, ...]
    """Best validation score first."""
    recommendation: Recommendation
    reliance: tuple[Reliance, ...]
    """Of the recommended model, and of the best fusion where that is another."""
    findings: Findings
    """What else was looked at: subsets, learning curves, calibration, confusion, the data's health."""
    command: str
    """What repeats this comparison."""
    config: dict[str, Any]
    environment: dict[str, str]
    """Versions, commit, device and threads."""
    total_s: float
