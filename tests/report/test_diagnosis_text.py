from dataclasses import replace

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.report import diagnosis_text
from fuseloom.report.words import columns


def test_each_part_has_title_sentence_and_numbers(diagnosis: Diagnosis) -> None:
    shown = diagnosis_text(diagnosis)
    assert shown.startswith("low_rank: accuracy on 360 rows of top, bottom\n\nWith and without")
    assert shown.endswith("\n")
    assert not shown.endswith("\n\n")
    for line in (
        "top       shuffled         +0.350  +0.320 to +0.380",
        "bottom        missing                +0.867  +0.847 to +0.887     0.4     0.8",
        "rescued                          7     0.019   0.014 to 0.028",
        "How many modalities act together: not told. EMAP says it all.",
    ):
        assert line in shown.splitlines()


def test_decimals_can_be_given(diagnosis: Diagnosis) -> None:
    assert "from 0.98 to 0.94" in diagnosis_text(diagnosis, 2)


def test_no_line_is_wider_than_eighty_columns_whatever_the_names(diagnosis: Diagnosis) -> None:
    test, space = diagnosis.modality_test, diagnosis.shared_space[0]
    assert test is not None
    name = "融合" * 30
    long = replace(
        diagnosis,
        model=name,
        metric="quite a long name of a metric",
        modality_test=replace(
            test,
            metric="quite a long name of a metric",
            over_permuted={name: test.over_permuted["top"]},
        ),
        shared_space=(replace(space, layer=name, modalities=(name, name)),),
    )
    shown = diagnosis_text(long)
    assert max(map(columns, shown.splitlines())) > 70
    tables = [line for line in shown.splitlines() if "  " in line]
    assert max(map(columns, tables)) <= 80


def test_control_characters_never_reach_the_terminal(diagnosis: Diagnosis) -> None:
    space = replace(diagnosis.shared_space[0], layer="\x1b[31mred")
    shown = diagnosis_text(replace(diagnosis, model="a\x1b[2Jb", shared_space=(space,)))
    assert "\x1b" not in shown
    assert "\ufffd[31mred" in shown


def test_long_tables_are_cut_and_say_so(diagnosis: Diagnosis) -> None:
    assert diagnosis.attention is not None
    (layer,) = diagnosis.attention.layers
    many = replace(diagnosis.attention, layers=tuple(replace(layer, name=f"layer {k}") for k in range(10)))
    shown = diagnosis_text(replace(diagnosis, attention=many))
    assert "... and 16 more rows, all in the JSON" in shown
    first, _ = shown.split("How narrowly")
    assert "layer 5" in first
    assert "layer 6  " not in first
