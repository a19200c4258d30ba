from dataclasses import replace

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.metrics.interval import Interval
from fuseloom.report import diagnosis_text, to_diagnosis_html
from fuseloom.report.panels import panels


def test_every_diagnosis_has_its_sentence_and_what_it_cannot_show(diagnosis: Diagnosis) -> None:
    page, parts = to_diagnosis_html(diagnosis), [part for one in panels(diagnosis, 3) for part in one.parts]
    assert len(parts) > 8
    assert page.count('class="said"') == len(parts)
    assert page.count("What this can and cannot show") == len(parts)
    assert page.count("More: <code>docs/diagnosis.md</code>.") == len(parts)
    assert "<script" not in page
    for anchor in ("interaction", "worth", "attention", "exchange", "space", "robustness", "rescues"):
        assert f'<h2 id="{anchor}">' in page
        assert f'<a href="#{anchor}">' in page


def test_what_does_not_apply_says_why_in_its_panel(diagnosis: Diagnosis) -> None:
    bare = replace(diagnosis, attention=None, attention_quality=(), not_told={"attention": "It has <none>."})
    page = to_diagnosis_html(bare)
    panel = page[page.index('<h2 id="attention">') : page.index('<h2 id="space">')]
    assert "<b>Attention per modality</b>: It has &lt;none&gt;." in panel
    assert "said" not in panel
    assert page.count("Not told") == 1


def test_what_was_not_asked_has_no_panel(diagnosis: Diagnosis) -> None:
    page = to_diagnosis_html(replace(diagnosis, robustness=None))
    assert 'id="robustness"' not in page
    assert "#robustness" not in page


def test_markup_in_a_name_is_text(diagnosis: Diagnosis) -> None:
    odd = "<img src=x>\"'&"
    shapley = diagnosis.shapley
    assert shapley is not None
    shown = replace(
        diagnosis,
        model=odd,
        metric=odd,
        modalities=(odd,),
        shapley=replace(shapley, metric=odd, values={odd: Interval(mean=0.1, low=0.0, high=0.2)}),
    )
    page = to_diagnosis_html(shown)
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x&gt;") > 5


def test_decimals_follow_the_score(diagnosis: Diagnosis) -> None:
    assert diagnosis.emap is not None
    small = replace(
        diagnosis.emap,
        before=Interval(mean=0.00123, low=0.0011, high=0.0013),
        after=Interval(mean=0.0014, low=0.0013, high=0.0015),
        gap=Interval(mean=0.00017, low=0.00012, high=0.00022),
    )
    page = to_diagnosis_html(
        Diagnosis(model="m", metric="mse", rows=9, modalities=("a", "b"), emap=replace(small, metric="mse"))
    )
    assert "its mse gets worse by 0.00017 (95 % interval +0.00012 to +0.00022)" in page


def test_more_numbers_of_a_part_stand_below_its_table(diagnosis: Diagnosis) -> None:
    page = to_diagnosis_html(diagnosis)
    of_regression = page[page.index("a regression with products") :]
    places = [
        of_regression.index(text)
        for text in (
            "As numbers",
            "top x bottom",
            "Without products",
            "Are the terms needed?",
            "Slopes",
            "More:",
        )
    ]
    assert places == sorted(places)
    text = diagnosis_text(diagnosis)
    assert "\n\nWithout products\nTerm " in text
    assert "\n\nSlopes\nSlope of " in text


@pytest.mark.parametrize(("classes", "shown"), [((), "class 2"), (("a", "b", "c"), "c")])
def test_classes_are_named_where_their_names_are_known(
    diagnosis: Diagnosis, classes: tuple[str, ...], shown: str
) -> None:
    page = to_diagnosis_html(replace(diagnosis, classes=classes))
    assert f'data-label="True"><span>{shown}</span>' in page
