import math
from dataclasses import fields, replace

import pytest

from fuseloom.comparison.diagnosis import DIAGNOSES, Diagnosis
from fuseloom.diagnose.interaction_parts import InteractionOrder, InteractionParts
from fuseloom.metrics.interval import Interval
from fuseloom.report.limits import LIMITS
from fuseloom.report.panels import diagnosis_decimals, panels


def test_every_diagnosis_is_told_or_says_why_in_exactly_one_panel(diagnosis: Diagnosis) -> None:
    untold = {field.name: None for field in fields(Diagnosis) if field.name in DIAGNOSES} | {
        "pid": (),
        "attention_quality": (),
        "shared_space": (),
    }
    every = replace(diagnosis, **untold, not_told=dict.fromkeys(DIAGNOSES, "It does not apply."))  # type: ignore[arg-type]
    found = panels(every, 3)
    assert sum(len(panel.not_told) for panel in found) == len(DIAGNOSES)
    assert all(not panel.parts for panel in found)
    assert {title for panel in found for title, _ in panel.not_told}.isdisjoint(DIAGNOSES)


def test_orders_of_three_modalities_are_a_part(diagnosis: Diagnosis) -> None:
    gains = {1: 0.4, 2: 0.1, 3: 0.02}
    orders = InteractionParts(
        model="m",
        metric="accuracy",
        modalities=("a", "b", "c"),
        rows=161,
        of_rows=360,
        orders=tuple(
            InteractionOrder(
                order=order,
                energy=gain,
                score=Interval(mean=0.9),
                gain=Interval(mean=gain, low=gain - 0.05, high=gain + 0.05),
            )
            for order, gain in gains.items()
        ),
        combinations=161**3,
    )
    interaction = panels(replace(diagnosis, interaction_orders=orders), 2)[0]
    (part,) = (part for part in interaction.parts if part.name == "interaction_orders")
    assert "pairs of modalities (+0.10) make its accuracy better; that threes change it" in part.sentence
    assert part.table.rows[1] == ("2", "+0.10", "+0.05 to +0.15", "0.100")
    assert part.table.note == "Of 360 rows 161 were drawn."


def test_told_and_untold_together_are_all(diagnosis: Diagnosis) -> None:
    told = {part.name for panel in panels(diagnosis, 3) for part in panel.parts}
    assert told | diagnosis.not_told.keys() == DIAGNOSES.keys() - {"modality_maps"}, "asked of pixels only"


def test_limits_are_of_every_diagnosis() -> None:
    assert LIMITS.keys() == DIAGNOSES.keys()
    assert all(150 < len(text) < 350 and text.endswith(".") for text in LIMITS.values())


def test_several_pairs_are_parts_of_their_own(diagnosis: Diagnosis) -> None:
    (pair,) = diagnosis.pid
    two = replace(diagnosis, pid=(pair, replace(pair, sources=("top", "sound"))))
    parts = [part for part in panels(two, 3)[0].parts if part.name == "pid"]
    assert [part.title.split(": ")[1] for part in parts] == ["top and bottom", "top and sound"]
    assert len({part.key for part in parts}) == 2


@pytest.mark.parametrize(("score", "decimals"), [(0.9, 3), (123.4, 1), (-23.0, 2), (math.nan, 3)])
def test_decimals_are_those_of_the_score(diagnosis: Diagnosis, score: float, decimals: int) -> None:
    bare = Diagnosis(model="m", metric="rmse", rows=9, modalities=("a",), reliance=diagnosis.reliance)
    assert bare.reliance is not None
    of_score = replace(bare, reliance=replace(bare.reliance, score=Interval(mean=score)))
    assert diagnosis_decimals(of_score) == decimals
    assert diagnosis_decimals(replace(bare, reliance=None)) == 3
