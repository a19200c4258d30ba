"""Made-up comparisons: every number is arbitrary, the structure is that of a real one."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fuseloom.comparison.findings import (
    Calibration,
    Confused,
    Confusion,
    Disagreement,
    Findings,
    Fitted,
    Guess,
    LearningCurve,
    Reliability,
)
from fuseloom.comparison.result import (
    Comparison,
    Contender,
    DataSummary,
    Entry,
    Interval,
    ModalitySummary,
    Recommendation,
)
from fuseloom.diagnose.health import Duplicate, Health, Spread
from fuseloom.diagnose.reliance import Reliance
from fuseloom.diagnose.subsets import Subsets, SubsetScore
from fuseloom.metrics.calibration import Bin

MakeEntry = Callable[..., Entry]


def interval(scores: Sequence[float]) -> Interval:
    mean = statistics.fmean(scores)
    if len(scores) == 1:
        return Interval(mean=mean)
    reach = 2.5 * statistics.stdev(scores) / len(scores) ** 0.5
    return Interval(mean=mean, low=mean - reach, high=mean + reach)


def entry(name: str, scores: Sequence[float], **changes: Any) -> Entry:
    plain = Entry(
        name=name,
        role="fusion",
        modalities=("top", "bottom"),
        interaction="additive",
        learning_rate=0.003,
        valid=interval([score + 0.004 for score in scores]),
        test=interval(scores),
        valid_by_run=tuple(score + 0.004 for score in scores),
        test_by_run=tuple(scores),
        parameters=12_345,
        train_s=4.2,
        latency_ms=0.12,
        memory_mb=8.5,
    )
    return replace(plain, **changes)


def subsets_of(model: str, full: float) -> Subsets:
    return Subsets(
        model=model,
        metric="accuracy",
        scores=(
            SubsetScore(modalities=("top", "bottom"), score=full, drop=Interval(mean=0.0)),
            SubsetScore(
                modalities=("top",),
                score=0.8,
                drop=Interval(mean=full - 0.8, low=0.12, high=0.21),
                alone=0.881,
            ),
            SubsetScore(
                modalities=("bottom",),
                score=0.85,
                drop=Interval(mean=full - 0.85, low=0.08, high=0.17),
                alone=0.916,
            ),
        ),
    )


def calibration_of(model: str) -> Calibration:
    curve = (
        Bin(count=20, confidence=0.45, accuracy=0.3),
        Bin(count=60, confidence=0.74, accuracy=0.55),
        Bin(count=280, confidence=0.97, accuracy=0.9),
    )
    mended = tuple(replace(one, confidence=one.accuracy + 0.01) for one in curve)
    return Calibration(
        model=model,
        temperature=1.734,
        before=Reliability(error=0.0938, error_equal_mass=0.0871, log_loss=0.4123, curve=curve),
        after=Reliability(error=0.0121, error_equal_mass=0.0135, log_loss=0.3567, curve=mended),
    )


def guess(model: str, prediction: str, confidence: float | None) -> Guess:
    return Guess(model=model, prediction=prediction, confidence=confidence)


def health() -> Health:
    """Of three classes; three rows in two splits, and two columns that never change."""
    pair = Duplicate(row="row 7", split="test", other="row 3", other_split="train")
    return Health(
        balance={name: {"train": 383, "valid": 96, "test": 120} for name in ("seven", "one", "two")},
        spread={},
        missing={"top": {"train": 0, "valid": 0, "test": 0}, "bottom": {"train": 4, "valid": 1, "test": 2}},
        constant={"top": ("feature 0", "feature 31"), "bottom": ()},
        num_duplicates=3,
        duplicates=(pair, replace(pair, row="row 8"), replace(pair, row="row 9")),
    )


def findings() -> Findings:
    """Of classification into three classes."""
    models = ("concat", "low_rank")
    return Findings(
        subsets=(subsets_of("concat", 0.975), subsets_of("low_rank", 0.977)),
        curves=tuple(
            LearningCurve(
                model=model,
                fold=0,
                seed=seed,
                train=(2.1, 1.2 + seed / 10, 0.8, 0.6, 0.5),
                valid=(1.6, 0.9, 0.7 + seed / 10, 0.65, 0.72),
                best_epoch=4,
            )
            for model in (*models, "bottom")
            for seed in range(2)
        ),
        calibration=tuple(map(calibration_of, models)),
        confusion=tuple(
            Confusion(
                model=model,
                classes=("one", "two", "seven"),
                counts=((110, 0, 10), (3, 117, 0), (7, 1, 112)),
                pairs=(Confused(true="one", predicted="seven", rows=10, share=10 / 120),),
            )
            for model in models
        ),
        fitted=(),
        disagreements=(
            Disagreement(
                row="row 1627",
                target="seven",
                degree=0.83,
                alone=(guess("top", "one", 0.85), guess("bottom", "seven", 0.97)),
                fused=guess("low_rank", "seven", 0.99),
            ),
        ),
        health=health(),
    )


def of_numbers(comparison: Comparison) -> Comparison:
    """The same comparison, had it been one of numbers."""
    found = comparison.findings
    spread = Spread(least=-2.5, median=0.25, greatest=7.125, mean=0.5, deviation=1.5)
    shown = replace(found.disagreements[0], target="3.5", degree=2.25, alone=(guess("top", "1.25", None),))
    return replace(
        comparison,
        task="regression",
        metric="rmse",
        higher_is_better=False,
        findings=replace(
            found,
            calibration=(),
            confusion=(),
            fitted=(Fitted(model="concat", rows=1234, true=(1.0, 2.0, 5.0), predicted=(1.5, 1.5, 4.0)),),
            disagreements=(shown,),
            health=replace(found.health, balance={}, spread={"train": spread, "test": spread}),
        ),
    )


@pytest.fixture
def numbers(comparison: Comparison) -> Comparison:
    return of_numbers(comparison)


@pytest.fixture
def make_entry() -> MakeEntry:
    return entry


@pytest.fixture
def comparison() -> Comparison:
    """Classification of an image's halves: two modalities, two baselines, three fusions, five seeds."""
    entries = (
        entry(
            "low_rank", [0.978, 0.983, 0.969, 0.981, 0.975], interaction="multiplicative", parameters=48_400
        ),
        entry("concat", [0.972, 0.981, 0.969, 0.978, 0.975], parameters=21_300, train_s=3.1),
        entry(
            "cross_attention+concat",
            [0.969, 0.975, 0.981, 0.961, 0.972],
            interaction="nonlinear",
            parameters=187_000,
            latency_ms=0.41,
            memory_mb=None,
        ),
        entry(
            "logistic regression",
            [0.958],
            role="baseline",
            learning_rate=None,
            parameters=650,
            train_s=0.08,
            latency_ms=0.002,
            memory_mb=None,
        ),
        entry("bottom", [0.922, 0.925, 0.906, 0.917, 0.911], role="unimodal", interaction="none"),
        entry("top", [0.886, 0.892, 0.869, 0.875, 0.881], role="unimodal", interaction="none"),
        entry("majority class", [0.101], role="baseline", learning_rate=None, parameters=0, memory_mb=None),
    )
    return Comparison(
        format_version=1,
        data=DataSummary(
            name="digits",
            modalities=(
                ModalitySummary(name="top", kind="embedding", shape="32 features", missing=0),
                ModalitySummary(name="bottom", kind="embedding", shape="32 features", missing=7),
            ),
            target="digit",
            rows={"train": 1149, "valid": 288, "test": 360},
            folds=1,
            set_aside=(("digits.csv:17", "target is missing"), ("digits.csv:401", "33 fields instead of 34")),
            notes=("target has 10 distinct values: classification", "no split given: 64/16/20 % at random"),
        ),
        task="classification",
        metric="accuracy",
        higher_is_better=True,
        seeds=5,
        entries=entries,
        recommendation=Recommendation(
            name="concat",
            sentence="Use concat: it is the simplest fusion within 0.010 of the best validation accuracy, "
            "and fusing raises test accuracy by 0.059 over bottom alone.",
            verdict="fusing pays",
            margin=0.01,
            best_unimodal="bottom",
            best_fusion="low_rank",
            gain=Interval(mean=0.061, low=0.052, high=0.07),
            rows_needed=None,
            contenders=(
                Contender(
                    name="concat",
                    behind=Interval(mean=-0.002, low=-0.007, high=0.003),
                    p_value=0.002,
                    as_good=True,
                ),
                Contender(
                    name="top",
                    behind=Interval(mean=-0.097, low=-0.11, high=-0.08),
                    p_value=1.0,
                    as_good=False,
                ),
            ),
        ),
        reliance=(
            Reliance(
                model="concat",
                metric="accuracy",
                score=0.975,
                hidden={"top": 0.312, "bottom": 0.447},
                shuffled={"top": 0.291, "bottom": 0.402},
            ),
            Reliance(
                model="low_rank",
                metric="accuracy",
                score=0.977,
                hidden={"top": 0.298, "bottom": 0.461},
                shuffled={"top": 0.35, "bottom": 0.448},
            ),
        ),
        findings=findings(),
        command="fuseloom compare digits --seeds 5 --out runs/digits",
        config={
            "seeds": [0, 1, 2, 3, 4],
            "train": {"epochs": 40, "batch_size": 64},
            "margin": 0.01,
            "note": None,
        },
        environment={"fuseloom": "0.1.0", "torch": "2.15.0", "device": "cpu", "threads": "1"},
        total_s=312.4,
    )
