import re
from dataclasses import replace

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.comparison.result import Comparison
from fuseloom.data.exhibit import Exhibit
from fuseloom.diagnose.exchanged import (
    Exchanged,
    ExchangedLayer,
    ExchangedSample,
    LayerOverlap,
    SampleLayer,
    SampleStream,
)
from fuseloom.metrics.interval import Interval
from fuseloom.report import from_json, to_json
from fuseloom.report.diagnosis_page import to_diagnosis_html
from fuseloom.report.exchanged import (
    exchange_cards,
    exchanged_details,
    exchanged_saying,
    exchanged_table,
    layer_name,
)

PICTURE = Exhibit(
    kind="image", state="shown", words="8 x 4 pixels", picture="data:image/png;base64,AAAA", width=8, height=4
)


def about(mean: float, reach: float = 0.02) -> Interval:
    return Interval(mean=mean, low=mean - reach, high=mean + reach)


@pytest.fixture
def found() -> Exchanged:
    """Of words and of the patches of a picture, in two layers of one stack."""
    names = [f"exchange.0.layer.{number}.after_norm" for number in (1, 2)]
    layers = [
        ExchangedLayer(
            layer=name,
            modality=modality,
            share=about(0.2),
            to_exchanged=about(0.01, 0.002),
            to_kept=about(0.03, 0.002),
            to_class_token=about(0.05),
        )
        for name in names
        for modality in ("top", "bottom")
    ]
    words = SampleStream(
        modality="top",
        positions=3,
        grid=None,
        words=("see", "Mount", "<b>Osk</b>"),
        layers=tuple(
            SampleLayer(layer=name, chosen=(place,), scores=(0.3, 0.2, 0.1))
            for place, name in enumerate(names)
        ),
    )
    patches = SampleStream(
        modality="bottom",
        positions=6,
        grid=(2, 3),
        picture=PICTURE,
        layers=tuple(SampleLayer(layer=name, chosen=(0, 5), scores=(0.1,) * 6) for name in names),
    )
    again = LayerOverlap(modality="top", earlier=names[0], later=names[1], again=about(0.4), chance=0.2)
    return Exchanged(
        model="low_rank",
        metric="accuracy",
        rows=360,
        layers=tuple(layers),
        overlaps=(again,),
        score=about(0.977),
        without=about(0.951),
        lost=about(0.026, 0.01),
        changed=about(0.043),
        samples=(ExchangedSample(place=8, row="row 8", streams=(words, patches)),),
    )


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (Interval(mean=0.026, low=0.016, high=0.036), "gets worse by 0.026 (0.016 to 0.036)"),
        (Interval(mean=-0.026, low=-0.036, high=-0.016), "gets better by 0.026 (0.016 to 0.036)"),
        (
            Interval(mean=0.01, low=-0.02, high=0.04),
            "do not show that its accuracy depends on that (+0.010 lost",
        ),
        (Interval(mean=0.01), "do not show"),
    ],
)
def test_a_loss_is_said_only_where_its_interval_does_not_hold_zero(
    found: Exchanged, lost: Interval, said: str
) -> None:
    sentence = exchanged_saying(replace(found, lost=lost), 3)
    assert sentence.startswith("In 2 layers the model exchanges 20 % of top and 20 % of bottom; ")
    assert said in sentence
    assert sentence.endswith("and 4 % of the rows get another answer.")


def test_of_numbers_no_answer_is_said_to_change(found: Exchanged) -> None:
    plain = replace(found, changed=None)
    assert "answer" not in exchanged_saying(plain, 3)
    assert all("answer" not in row[0] for _, table in exchanged_details(plain, 3) for row in table.rows)


def test_layers_are_named_for_a_reader_and_in_full_where_two_would_be_called_the_same(
    found: Exchanged,
) -> None:
    assert layer_name("exchange.2_1.layer.11.after_block") == "layer 11"
    assert [row[0] for row in exchanged_table(found).rows] == ["layer 1", "layer 1", "layer 2", "layer 2"]
    other = replace(found.layers[0], layer="exchange.3.layer.1.after_norm")
    twice = exchanged_table(replace(found, layers=(*found.layers, other)))
    assert twice.rows[-1][0] == "exchange 3 layer 1 after norm"
    assert twice.rows[0][0] == "exchange 0 layer 1 after norm"


def test_the_tables_hold_shares_attention_and_overlap(found: Exchanged) -> None:
    assert exchanged_table(found).rows[0] == (
        "layer 1",
        "top",
        "0.200",
        "0.180 to 0.220",
        "0.0100",
        "0.0300",
        "0.0500",
    )
    details = dict(exchanged_details(found, 3))
    assert details["With and without"].rows[1] == ("accuracy without exchange", "0.951", "0.931 to 0.971")
    assert details["The same positions again"].rows == (
        ("top", "layer 1", "layer 2", "0.400", "0.380 to 0.420", "0.200"),
    )
    attention = details["Attention, averaged over heads"]
    assert attention.rows[1] == ("layer 1", "top", "cls to kept", "0.0300", "0.0280 to 0.0320")


def test_without_a_class_token_no_attention_is_told(found: Exchanged) -> None:
    layers = [replace(one, to_exchanged=None, to_kept=None, to_class_token=None) for one in found.layers]
    plain = replace(found, layers=tuple(layers), overlaps=())
    assert exchanged_table(plain).rows[0][-3:] == ("n/a", "n/a", "n/a")
    assert exchanged_table(plain).note == "No attention of a class token is filed."
    assert [title for title, _ in exchanged_details(plain, 3)] == ["With and without"]


def test_words_are_marked_and_patches_are_shaded_where_they_lie(found: Exchanged) -> None:
    (card,) = exchange_cards(found)
    words, patches = card.looks
    assert [[word for word, taken in line if taken] for _, line in words.lines] == [["see"], ["Mount"]]
    boxes = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="48" height="36" class="taken">', patches.drawings[0][1]
    )
    assert boxes == [("0", "0"), ("96", "36")]
    assert '<image href="data:image/png' in patches.drawings[0][1]
    assert "2 of 6 positions of bottom exchanged: 1, 6." in patches.drawings[0][1]


def test_positions_that_are_no_words_and_no_rectangle_become_a_strip_and_an_absent_modality_says_so(
    found: Exchanged,
) -> None:
    words, patches = found.samples[0].streams
    plain = replace(patches, grid=None, picture=None)
    sample = replace(found.samples[0], streams=(words, plain, replace(plain, modality="sound", positions=0)))
    (card,) = exchange_cards(replace(found, samples=(sample,)))
    _, strip, absent = card.looks
    assert strip.note.startswith("Positions in their order")
    assert "<image" not in strip.drawings[0][1]
    assert (absent.note, absent.drawings) == ("absent", ())


def test_rows_of_which_nothing_is_at_hand_are_not_shown(found: Exchanged) -> None:
    streams = tuple(replace(one, words=(), picture=None) for one in found.samples[0].streams)
    hidden = replace(found, samples=(replace(found.samples[0], streams=streams),))
    assert exchange_cards(hidden) == ()


def test_the_page_marks_words_and_escapes_them(diagnosis: Diagnosis, found: Exchanged) -> None:
    page = to_diagnosis_html(replace(diagnosis, exchanged=found, not_told={}))
    assert "What do the modalities exchange?" in page
    assert "<mark>Mount</mark> &lt;b&gt;Osk&lt;/b&gt;" in page
    assert page.count('class="taken"') == 4
    assert "<mark>" not in to_diagnosis_html(diagnosis)


def test_json_gives_it_back(comparison: Comparison, diagnosis: Diagnosis, found: Exchanged) -> None:
    findings = replace(comparison.findings, diagnosis=(replace(diagnosis, exchanged=found),))
    report = replace(comparison, findings=findings)
    assert from_json(to_json(report)).findings.diagnosis[0].exchanged == found
