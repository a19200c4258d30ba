"""Made-up comparisons: every number is arbitrary, the structure is that of a real one."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fuseloom.comparison.result import (
    Comparison,
    DataSummary,
    Entry,
    Interval,
    ModalitySummary,
    Recommendation,
)
from fuseloom.diagnose.reliance import Reliance

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
