import math
from dataclasses import replace

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.attention import KeyGap, KeyPoint
from fuseloom.metrics.interval import Interval
from fuseloom.report import tables


def test_parts_without_a_model_have_no_numbers_of_it(diagnosis: Diagnosis) -> None:
    found = tables.pid_table(replace(diagnosis.pid[0], model=None, agreement=None, clustered=()))
    assert found.rows[0] == ("either (redundant)", "1.500", "1.480 to 1.520", "n/a", "n/a")
    assert found.note == "In bits, of 360 rows."


def test_drawn_partners_come_with_their_error(diagnosis: Diagnosis) -> None:
    assert diagnosis.emap is not None
    drawn = replace(diagnosis.emap, form="monte carlo", standard_error=0.0231, agreement=None)
    found = tables.emap_table(drawn, 3)
    assert found.note.endswith("a standard error of 0.023, where outputs vary by 3.1.")
    assert [row[0] for row in found.rows][-1] == "interaction energy"
    exact = tables.emap_table(replace(diagnosis.emap, form="exact", combinations=90_000), 3)
    assert exact.note == "Computed exactly, from 90,000 combinations of modalities."
    assert "rows decided alike" not in [row[0] for row in found.rows]


def test_every_table_is_as_wide_as_its_head_and_its_words_come_first(diagnosis: Diagnosis) -> None:
    rows, space, test = diagnosis.complementarity, diagnosis.shared_space, diagnosis.modality_test
    assert rows is not None
    assert test is not None
    every = [
        tables.complementarity_table(rows, 3),
        tables.samples_table(rows, 3),
        tables.shared_space_table(space),
        tables.modality_test_table(test, 3),
        tables.pid_table(diagnosis.pid[0]),
    ]
    for table in every:
        assert {len(row) for row in table.rows} == {len(table.head)}
        assert all(any(char.isdigit() for char in row[-1]) for row in table.rows)


@pytest.mark.parametrize(("value", "shown"), [(2.0, "seven"), (7.0, "class 7"), (math.nan, "n/a")])
def test_a_class_has_its_name_or_its_number(diagnosis: Diagnosis, value: float, shown: str) -> None:
    rows = diagnosis.complementarity
    assert rows is not None
    one = replace(rows, samples=(replace(rows.samples[0], target=value),))
    assert tables.samples_table(one, 3, ("one", "two", "seven")).rows[0][2] == shown


def test_numbers_are_written_as_numbers(diagnosis: Diagnosis) -> None:
    rows = diagnosis.complementarity
    assert rows is not None
    found = tables.samples_table(replace(rows, measure="mean absolute error"), 2, ("one",))
    assert found.rows[0] == ("row 12", "rescued", "2.00", "0.00", "1.00", "2.00", "+0.610")


def test_a_level_that_is_never_reached_is_said(diagnosis: Diagnosis) -> None:
    assert diagnosis.robustness is not None
    table = tables.robustness_table(diagnosis.robustness, 3)
    assert [row[-1] for row in table.rows] == ["never", "never", "never", "0.8", "never"]


def test_without_a_constant_answer_no_level_is_known(diagnosis: Diagnosis) -> None:
    assert diagnosis.robustness is not None
    table = tables.robustness_table(replace(diagnosis.robustness, constant=None), 3)
    assert {cell for row in table.rows for cell in row[-2:]} == {"n/a"}
    assert table.note == "accuracy without corruption: 0.977. Severities: 0, 0.4, 0.8."


def test_one_number_without_an_interval(diagnosis: Diagnosis) -> None:
    assert diagnosis.shapley is not None
    table = tables.shapley_table(replace(diagnosis.shapley, values={"a": Interval(mean=0.25)}), 2)
    assert table.rows[0] == ("a", "+0.25", "n/a")


def test_details_of_attention_tell_how_narrow_each_head_is_and_how_keys_lie(diagnosis: Diagnosis) -> None:
    assert diagnosis.attention is not None
    titles = [title for title, _ in tables.attention_details(diagnosis.attention)]
    assert titles == ["How narrowly: nats, tokens of equal weight with that entropy"]
    (layer,) = diagnosis.attention.layers
    about = Interval(mean=0.5, low=0.25, high=0.75)
    filed = replace(
        layer,
        points=(KeyPoint(modality="top", angle=Interval(mean=61.25), norm=about),),
        gaps=(KeyGap(first="top", second="bottom", cosine=about, distance=about),),
    )
    heads, keys, gaps = (
        table for _, table in tables.attention_details(replace(diagnosis.attention, layers=(filed,)))
    )
    assert [row[:2] for row in heads.rows] == [("merge.attention", "0"), ("merge.attention", "1")]
    assert keys.rows == (("merge.attention", "top", "61.2", "n/a", "0.50", "0.25 to 0.75"),)
    cosine, distance = ("0.500", "0.250 to 0.750"), ("0.50", "0.25 to 0.75")
    assert gaps.rows == (("merge.attention", "top / bottom", *cosine, *distance),)
    assert all(len(row) == len(table.head) for table in (heads, keys, gaps) for row in table.rows)
