"""Each sentence for each outcome: shown, not shown, and without an interval that could tell."""

from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.interaction_parts import InteractionOrder, InteractionParts
from fuseloom.metrics.interval import Interval
from fuseloom.report import sayings
from fuseloom.report.words import shown_sign

NOTHING = Interval(mean=0.01, low=-0.02, high=0.04)
HARM = Interval(mean=-0.05, low=-0.08, high=-0.02)
UNKNOWN = Interval(mean=0.3)


T = TypeVar("T")


def need(one: T | None) -> T:
    assert one is not None
    return one


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Interval(mean=0.036, low=0.016, high=0.056), "The model uses interactions between top and bottom:"),
        (
            HARM,
            "On these rows interactions between top and bottom do harm: without them its accuracy gets",
        ),
        (NOTHING, "and the difference may be chance (95 % interval -0.020 to +0.040)."),
        (UNKNOWN, "a difference without an interval that could tell."),
        (Interval(mean=0.02, low=0.0004, high=0.04), "These rows do not show that the model gains"),
    ],
)
def test_emap(diagnosis: Diagnosis, gap: Interval, said: str) -> None:
    assert said in sayings.emap_saying(replace(need(diagnosis.emap), gap=gap), 3)


def test_emap_of_an_additive_model_and_of_an_estimate_that_is_zero_by_chance(diagnosis: Diagnosis) -> None:
    one = replace(need(diagnosis.emap), energy=0.0, gap=Interval(mean=0.0, low=0.0, high=0.0))
    assert "adds up what top and bottom say" in sayings.emap_saying(one, 3)
    assert "adds up" not in sayings.emap_saying(replace(one, form="monte carlo"), 3)


def orders(*gains: Interval) -> InteractionParts:
    parts = tuple(
        InteractionOrder(order=order, energy=0.2, score=Interval(mean=0.9), gain=gain)
        for order, gain in enumerate((Interval(mean=0.5, low=0.4, high=0.6), *gains), start=1)
    )
    return InteractionParts(
        model="m",
        metric="accuracy",
        modalities=tuple("abcd"[: len(parts)]),
        rows=9,
        of_rows=90,
        orders=parts,
        combinations=729,
    )


def test_orders() -> None:
    better = Interval(mean=0.1, low=0.05, high=0.15)
    assert sayings.orders_saying(orders(better, NOTHING, HARM), 2) == (
        "Beyond what each modality says by itself, pairs of modalities (+0.10) make its accuracy better; "
        "groups of 4 (-0.05) make it worse; that threes change it is not shown."
    )
    assert sayings.orders_saying(orders(NOTHING, UNKNOWN), 2) == (
        "These rows do not show that pairs of modalities or threes add to what each modality says by itself."
    )


def test_information_is_told_kind_by_kind(diagnosis: Diagnosis) -> None:
    (pid,) = diagnosis.pid
    said = sayings.pid_saying(pid)
    assert "1.500 that either tells (redundant), 0.900 that only top tells and 0.500" in said
    assert "not shown is anything that only both together tell (synergistic)" in said
    assert "the predictions of the model hold information of each of these kinds" in said


def test_information_that_the_model_is_not_shown_to_use(diagnosis: Diagnosis) -> None:
    (pid,) = diagnosis.pid
    model = replace(need(pid.model), redundant=Interval(mean=0.1, low=0.0, high=0.2))
    said = sayings.pid_saying(replace(pid, model=model))
    assert (
        "the predictions of the model are not shown to hold anything that either tells (redundant)." in said
    )
    assert "predictions" not in sayings.pid_saying(replace(pid, model=None))


def test_no_information(diagnosis: Diagnosis) -> None:
    (pid,) = diagnosis.pid
    data = replace(pid.data, total=Interval(mean=0.02, low=0.0, high=0.05))
    assert sayings.pid_saying(replace(pid, data=data)) == (
        "These rows do not show that top and bottom tell anything of the target."
    )


def test_reliance(diagnosis: Diagnosis) -> None:
    used = Interval(mean=0.3, low=0.2, high=0.4)
    one = replace(need(diagnosis.reliance), shuffled={"a": used, "b": NOTHING, "c": HARM})
    assert sayings.reliance_saying(one, 2) == (
        "The model uses a (0.30): by so much its accuracy gets worse where it is shuffled between rows; "
        "it leans on a most; it does better with c shuffled between rows; that it uses b is not shown."
    )
    both = replace(one, shuffled={"a": used, "b": used})
    assert "most" not in sayings.reliance_saying(both, 2)
    none = sayings.reliance_saying(replace(one, shuffled={"a": NOTHING, "b": UNKNOWN}), 2)
    assert none.startswith("These rows do not show that the model uses a or b: shuffled between rows, each")
    assert "where it is hidden" in sayings.reliance_saying(replace(one, shuffled={}), 2)


def test_shapley(diagnosis: Diagnosis) -> None:
    brings = Interval(mean=0.3, low=0.2, high=0.4)
    one = replace(need(diagnosis.shapley), values={"a": brings, "b": HARM, "c": NOTHING})
    assert sayings.shapley_saying(one, 2) == (
        "Shared fairly, the accuracy of the model gains by a (+0.30); a brings most; it loses by b (-0.05); "
        "that c brings anything is not shown."
    )
    only = sayings.shapley_saying(replace(one, values={"a": HARM}), 2)
    assert only == "Shared fairly, the accuracy of the model loses by a (-0.05)."
    none = sayings.shapley_saying(replace(one, values={"a": NOTHING, "b": UNKNOWN}), 2)
    assert none == "These rows do not show that a or b brings the model anything."


def test_modality_test(diagnosis: Diagnosis) -> None:
    one = need(diagnosis.modality_test)
    gain = one.over_permuted["top"]
    worse = replace(gain, gain=HARM, p_holm=0.001)
    assert sayings.modality_test_saying(replace(one, over_without={}, over_permuted={"a": worse})) == (
        "That the model uses a is not shown."
    )
    assert sayings.modality_test_saying(one).endswith(
        "it is better than one trained without bottom, beyond chance (corrected p at most 0.02); "
        "that it is better than one trained without top is not shown."
    )


def test_attention(diagnosis: Diagnosis) -> None:
    one = need(diagnosis.attention)
    assert sayings.attention_saying(one) == (
        "Of 2 heads, 1 looks at bottom more than its share of the tokens asks."
    )
    (layer,) = one.layers
    single = replace(one, layers=(replace(layer, heads=layer.heads[:1]),))
    assert sayings.attention_saying(single) == (
        "Attention favours bottom, which gets 0.80 of the weight, 1.60 times what its share of the tokens "
        "asks."
    )
    even = replace(one, layers=(replace(layer, heads=layer.heads[1:]),))
    assert sayings.attention_saying(even).startswith("These rows do not show that the only head looks at a")
    crossed = replace(layer.heads[0], ratio={"top": Interval(mean=1.0, low=1.0, high=1.0)})
    assert "nothing to choose" in sayings.attention_saying(
        replace(one, layers=(replace(layer, heads=(crossed,)),))
    )
    both = replace(one, layers=(replace(layer, heads=layer.heads[1:] * 3),))
    assert "that any of the 3 heads looks" in sayings.attention_saying(both)


def test_shared_space(diagnosis: Diagnosis) -> None:
    (one,) = diagnosis.shared_space
    other = replace(one, modalities=("top", "sound"), cka=replace(one.cka, p=0.3))
    said = sayings.shared_space_saying((replace(one, layer="start", cka=other.cka), one, other))
    assert said == (
        "At the last place compared (before merge), rows that are alike in one are alike in the other, "
        "beyond chance, for top and bottom (CKA 0.41, by chance 0.02); that rows alike in one are alike in "
        "the other is not shown for top and sound."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"collapse": 0.4}, "The model breaks first by bottom missing: from severity 0.4 on, its accuracy"),
        ({"collapse": 0.0}, "Even on clean rows the accuracy of the model is not shown to beat"),
        ({"collapse": None}, "half of its lead is lost first by bottom missing, at severity 0.4."),
        (
            {"collapse": None, "half": None},
            "the best constant answer; bottom missing costs most, 0.867 of its",
        ),
    ],
)
def test_robustness(diagnosis: Diagnosis, changes: dict[str, float | None], said: str) -> None:
    one = need(diagnosis.robustness)
    worst = replace(one.curves[3], **changes)  # type: ignore[arg-type]
    assert said in sayings.robustness_saying(replace(one, curves=(one.curves[0], worst)), 3)


def test_half_of_a_lead_is_lost_only_where_a_loss_is_shown(diagnosis: Diagnosis) -> None:
    one = need(diagnosis.robustness)
    chance = replace(one.curves[3], collapse=None, half=0.4, drops=(NOTHING, NOTHING, NOTHING))
    said = sayings.robustness_saying(replace(one, curves=(one.curves[0], chance)), 3)
    assert "half" not in said
    assert "gaussian noise on top costs most" in said


def test_robustness_without_a_loss_and_without_a_constant(diagnosis: Diagnosis) -> None:
    one = need(diagnosis.robustness)
    firm = replace(one.curves[0], drops=(NOTHING, NOTHING, NOTHING))
    assert sayings.robustness_saying(replace(one, curves=(firm,)), 3) == (
        "These rows do not show that anything tried on one modality makes its accuracy worse."
    )
    bare = replace(one, constant=None, curves=one.curves[:1])
    assert sayings.robustness_saying(bare, 3) == (
        "Of what was tried on one modality, gaussian noise on top costs most, 0.077 of its accuracy at "
        "severity 0.8; no constant answer tells where the model breaks."
    )


def test_complementarity(diagnosis: Diagnosis) -> None:
    one = need(diagnosis.complementarity)
    assert sayings.complementarity_saying(one) == (
        "Fusing is right on 7 of 360 rows that every modality alone gets wrong (rescued), and wrong on 9 "
        "that some modality alone gets right (harmed), on 1 of which all are right (spoiled)."
    )
    numbers = sayings.complementarity_saying(replace(one, measure="mean absolute error"))
    assert numbers.startswith("Fusing errs less than every modality alone on 7 of 360 rows (rescued)")


@given(
    mean=st.floats(-1, 1),
    below=st.floats(0, 1),
    above=st.floats(0, 1),
)
def test_what_holds_zero_is_never_called_an_effect(mean: float, below: float, above: float) -> None:
    gap = Interval(mean=mean, low=mean - below, high=mean + above)
    said = sayings.orders_saying(orders(gap), 3)
    holds = mean - below <= 0 <= mean + above
    assert said.startswith("These rows do not show") == (shown_sign(gap, 3) == 0)
    assert not holds or said.startswith("These rows do not show")
