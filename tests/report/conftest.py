"""Made-up comparisons: every number is arbitrary, the structure is that of a real one."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from fuseloom.comparison.diagnosis import Diagnosis
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
from fuseloom.data.exhibit import Exhibit
from fuseloom.data.thumbnail import data_uri
from fuseloom.diagnose.attention import Attention, AttentionLayer, AttentionQuality, HeadAttention
from fuseloom.diagnose.complementarity import Complementarity, Sample, Share
from fuseloom.diagnose.emap import Emap
from fuseloom.diagnose.gradients import Conflict, GradientCourse, Gradients
from fuseloom.diagnose.health import Duplicate, Health, Spread
from fuseloom.diagnose.interaction_regression import InteractionRegression, interaction_regression
from fuseloom.diagnose.modality_test import Gain, ModalityTest
from fuseloom.diagnose.pid import Pid, PidParts
from fuseloom.diagnose.reliance import Reliance
from fuseloom.diagnose.robustness import Robustness, RobustnessCurve
from fuseloom.diagnose.shapley import Shapley
from fuseloom.diagnose.shared_space import AgainstChance, Recall, SharedSpace
from fuseloom.diagnose.subsets import Subsets, SubsetScore
from fuseloom.metrics.calibration import Bin
from fuseloom.metrics.information.decomposition import SynergyBounds
from fuseloom.types import Batch

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


def drops(**means: float) -> dict[str, Interval]:
    """Losses per modality, each with an interval of the same width."""
    return {name: Interval(mean=mean, low=mean - 0.03, high=mean + 0.03) for name, mean in means.items()}


def subsets_of(model: str, full: float) -> Subsets:
    return Subsets(
        model=model,
        metric="accuracy",
        scores=(
            SubsetScore(modalities=("top", "bottom"), score=Interval(mean=full), drop=Interval(mean=0.0)),
            SubsetScore(
                modalities=("top",),
                score=Interval(mean=0.8, low=0.76, high=0.84),
                drop=Interval(mean=full - 0.8, low=0.12, high=0.21),
                alone=Interval(mean=0.881),
            ),
            SubsetScore(
                modalities=("bottom",),
                score=Interval(mean=0.85, low=0.81, high=0.89),
                drop=Interval(mean=full - 0.85, low=0.08, high=0.17),
                alone=Interval(mean=0.916),
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


def strip(darkest: int) -> Exhibit:
    """Half a digit, as numbers of which one is large."""
    shades = np.full((4, 8), 255, np.uint8)
    shades[darkest // 8, darkest % 8] = 0
    words = "32 numbers from 0 to 16"
    return Exhibit(kind="embedding", state="shown", words=words, picture=data_uri(shades), width=8, height=4)


def absent() -> Exhibit:
    return Exhibit(kind="embedding", state="missing", words="absent")


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
                inputs={"top": strip(3), "bottom": strip(20)},
            ),
        ),
        health=health(),
        diagnosis=(diagnosis_of_low_rank(),),
    )


def about(mean: float, reach: float = 0.02) -> Interval:
    return Interval(mean=mean, low=mean - reach, high=mean + reach)


def told(redundant: float, top: float, bottom: float, synergistic: float) -> PidParts:
    return PidParts(
        redundant=about(redundant),
        unique={"top": about(top), "bottom": about(bottom)},
        synergistic=Interval(mean=synergistic, low=0.0, high=synergistic + 0.03),
        total=about(redundant + top + bottom + synergistic),
        gap=1e-11,
    )


def head_of(number: int, top: float) -> HeadAttention:
    masses = {"top": about(top), "bottom": about(1 - top)}
    return HeadAttention(
        head=number,
        mass=masses,
        ratio={name: about(2 * mass.mean) for name, mass in masses.items()},
        elsewhere=about(0.1),
        entropy=about(1.2),
        effective_tokens=about(3.3),
        imbalance_rate=None,
    )


def curve_of(modalities: tuple[str, ...], corruption: str, *scores: float) -> RobustnessCurve:
    return RobustnessCurve(
        modalities=modalities,
        corruption=corruption,
        severities=(0.0, 0.4, 0.8),
        scores=tuple(map(about, scores)),
        drops=tuple(about(scores[0] - score) for score in scores),
        relative=about(0.6),
        effective=None,
        collapse=0.8 if scores[-1] < 0.12 else None,
        half=0.4 if scores[1] < 0.5 else None,
    )


def robustness() -> Robustness:
    return Robustness(
        model="low_rank",
        metric="accuracy",
        score=about(0.977),
        constant=about(0.105),
        curves=(
            curve_of(("top",), "gaussian_noise", 0.977, 0.93, 0.9),
            curve_of(("top",), "missing", 0.977, 0.9, 0.72),
            curve_of(("bottom",), "gaussian_noise", 0.977, 0.92, 0.84),
            curve_of(("bottom",), "missing", 0.977, 0.45, 0.11),
            curve_of(("top", "bottom"), "gaussian_noise", 0.977, 0.8, 0.6),
        ),
    )


def complementarity() -> Complementarity:
    def share(rows: int) -> Share:
        return Share(rows=rows, share=Interval(mean=rows / 360, low=rows / 500, high=rows / 250))

    samples = (
        Sample(
            row="row 12",
            place=4,
            kind="rescued",
            target=2.0,
            alone={"top": 0.0, "bottom": 1.0},
            fused=2.0,
            margin=0.61,
            disagreement=0.8,
            inputs={"top": strip(9), "bottom": strip(30)},
        ),
        Sample(
            row="row 99",
            place=31,
            kind="harmed",
            target=0.0,
            alone={"top": 0.0},
            fused=1.0,
            margin=0.3,
            disagreement=0.0,
            inputs={"top": strip(12), "bottom": absent()},
        ),
    )
    return Complementarity(
        model="low_rank",
        rows=360,
        left_out=2,
        measure="accuracy",
        alone={"top": about(0.88), "bottom": about(0.916)},
        fused=about(0.977),
        oracle=about(0.981),
        headroom=about(0.004),
        differ=share(61),
        rescued=share(7),
        harmed=share(9),
        spoiled=share(1),
        pairs=(),
        samples=samples,
    )


def shared_space() -> SharedSpace:
    beyond = AgainstChance(estimate=about(0.41), chance=0.02, p=0.0099)
    return SharedSpace(
        layer="before merge",
        modalities=("top", "bottom"),
        widths=(64, 64),
        rows=360,
        cka=beyond,
        cca=replace(beyond, estimate=about(0.72)),
        regulariser=0.01,
        neighbours=replace(beyond, estimate=about(0.2)),
        recall=(
            Recall(
                source="top", target="bottom", depth=1, found=replace(beyond, estimate=about(0.03), p=0.3)
            ),
        ),
        gap=replace(beyond, estimate=about(0.6)),
        matched=replace(beyond, estimate=about(0.01), p=0.4),
        cosine_across=0.1,
        cosine_within=(0.2, 0.3),
    )


def emap() -> Emap:
    return Emap(
        model="low_rank",
        metric="accuracy",
        rows=360,
        modalities=("top", "bottom"),
        before=about(0.977),
        after=about(0.941),
        gap=about(0.036),
        agreement=about(0.95),
        energy=0.124,
        form="multilinear",
        combinations=66_000,
        standard_error=0.0,
        deviation=3.1,
    )


@cache
def regression() -> InteractionRegression:
    """Of made-up numbers whose product matters."""
    top, bottom, noise = torch.randn(3, 90, generator=torch.Generator().manual_seed(0)).double()
    rows = Batch(inputs={"top": top, "bottom": bottom}, target=3 + top - bottom + 2 * top * bottom + noise)
    return interaction_regression(rows, target="score")


def quality(modality: str, mean: float) -> AttentionQuality:
    found = {"merge.attention": about(mean, 0.1)}
    return AttentionQuality(model="m", modality=modality, corruption="blur", rows=360, correlations=found)


def worth() -> dict[str, Any]:
    """What says how much each modality is worth, by the fields of a diagnosis."""
    gains = {
        "top": Gain(gain=about(0.31), p=0.0099, p_holm=0.02),
        "bottom": Gain(gain=about(0.44), p=0.0099, p_holm=0.02),
    }
    return {
        "reliance": Reliance(
            model="low_rank",
            metric="accuracy",
            score=about(0.977),
            hidden=drops(top=0.298, bottom=0.461),
            shuffled=drops(top=0.35, bottom=0.448),
            noise=drops(top=0.362, bottom=0.49),
        ),
        "shapley": Shapley(
            model="low_rank",
            metric="accuracy",
            score=about(0.977),
            empty=about(0.1),
            values={"top": about(0.4), "bottom": about(0.477)},
            standard_errors={},
            spread=about(0.077),
            mean_difference=about(0.077),
            coalitions=4,
        ),
        "modality_test": ModalityTest(
            model="low_rank",
            metric="accuracy",
            score=0.977,
            over_without={"top": replace(gains["top"], p_holm=0.4), "bottom": gains["bottom"]},
            over_permuted=gains,
        ),
    }


def gradients_at(top: float, cosine: float) -> Gradients:
    return Gradients(
        model="low_rank",
        rows=256,
        parts=8,
        norms={"top": about(top / 4), "bottom": about((1 - top) / 4)},
        shares={"top": about(top), "bottom": about(1 - top)},
        untrained=(),
        with_fused={"top": about(0.9), "bottom": about(0.7)},
        conflicts=(Conflict(first="top", second="bottom", cosine=about(cosine, 0.1)),),
    )


def gradient_course() -> GradientCourse:
    """Training turns from the one modality to the other, and they part at the end."""
    shares = (0.71, 0.62, 0.55, 0.48, 0.4, 0.38)
    cosines = (0.4, 0.3, 0.15, 0.05, -0.02, -0.2)
    return GradientCourse(
        model="low_rank",
        learnt_from=True,
        epochs=(1, 2, 4, 6, 8, 9),
        kept=6,
        gradients=tuple(map(gradients_at, shares, cosines)),
    )


def diagnosis_of_low_rank() -> Diagnosis:
    """Of the best fusion: everything but the orders, which two modalities do not have."""
    layer = AttentionLayer(
        name="merge.attention",
        heads=(head_of(0, 0.2), head_of(1, 0.505)),
        imbalance_rate=about(0.3),
        points=(),
        gaps=(),
    )
    return Diagnosis(
        model="low_rank",
        metric="accuracy",
        rows=360,
        modalities=("top", "bottom"),
        classes=("one", "two", "seven"),
        emap=emap(),
        pid=(
            Pid(
                sources=("top", "bottom"),
                data=told(1.5, 0.9, 0.5, 0.02),
                model=told(1.4, 1.0, 0.45, 0.01),
                agreement=1.106,
                bounds=SynergyBounds(
                    from_redundancy=-0.1, from_disagreement=0.01, lower=0.01, upper=0.3, unit="bits"
                ),
                target_entropy=3.321,
                num_symbols={"top": 20, "bottom": 6},
                clustered=("top", "bottom"),
                num_rows=360,
                unit="bits",
            ),
        ),
        **worth(),
        interaction_regression=regression(),
        gradients=gradient_course(),
        attention=Attention(model="low_rank", layers=(layer,)),
        attention_quality=(quality("top", 0.41), quality("bottom", 0.01)),
        shared_space=(shared_space(),),
        robustness=robustness(),
        complementarity=complementarity(),
        not_told={"interaction_orders": "EMAP says it all.", "exchanged": "It exchanges nothing."},
    )


@pytest.fixture
def diagnosis() -> Diagnosis:
    return diagnosis_of_low_rank()


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
        format_version=2,
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
                score=Interval(mean=0.975, low=0.96, high=0.99),
                hidden=drops(top=0.312, bottom=0.447),
                shuffled=drops(top=0.291, bottom=0.402),
                noise=drops(top=0.377, bottom=0.481),
            ),
            Reliance(
                model="low_rank",
                metric="accuracy",
                score=Interval(mean=0.977, low=0.962, high=0.992),
                hidden=drops(top=0.298, bottom=0.461),
                shuffled=drops(top=0.35, bottom=0.448),
                noise=drops(top=0.362, bottom=0.49),
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
