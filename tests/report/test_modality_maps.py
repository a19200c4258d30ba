"""Scenes with where each modality was used: drawn, told and written as JSON."""

from dataclasses import replace

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.data.exhibit import Exhibit
from fuseloom.diagnose.modality_maps import ModalityMaps, Scene, SceneLabels, StreamScore, TakenMap
from fuseloom.metrics.interval import Interval
from fuseloom.report import diagnosis_text, to_diagnosis_html
from fuseloom.report.modality_maps import maps_details, maps_saying, maps_table, scene_cards

PICTURE = Exhibit(
    kind="image", state="shown", words="", picture="data:image/png;base64,AA", width=4, height=2
)


def taken(modality: str, *shares: float) -> TakenMap:
    layers = ("encoder.stages.0.0.after_attention", "encoder.stages.0.1.after_attention")
    return TakenMap(modality=modality, layers=layers, mean=sum(shares) / len(shares), shares=(shares,))


SCENE = Scene(
    place=1,
    row="late <row>",
    maps=(taken("rgb", 0.25, 0.75), taken("depth", 0.5, 0.5)),
    labels=(
        SceneLabels(name="truth", right=None, labels=((0, 255),)),
        SceneLabels(name="rgb", right=1.0, labels=((0, 1),)),
        SceneLabels(name="together", right=0.5, labels=((2, 1),)),
    ),
    pictures={"rgb": PICTURE},
)
FOUND = ModalityMaps(
    model="mine",
    metric="miou",
    rows=9,
    classes=("road", "sky", "wall", "tree"),
    streams=(
        StreamScore(name="rgb", score=Interval(mean=0.5, low=0.4, high=0.6)),
        StreamScore(name="together", score=Interval(mean=0.7, low=0.6, high=0.8)),
    ),
    scenes=(SCENE,),
)
DIAGNOSIS = Diagnosis(model="mine", metric="miou", rows=9, modalities=("rgb", "depth"), modality_maps=FOUND)


def test_a_card_shows_what_was_read_what_is_there_and_what_came_from_others() -> None:
    (card,) = scene_cards(FOUND)
    assert [(one.title, one.note) for one in card.figures] == [
        ("rgb", ""),
        ("what is there", ""),
        ("predicted: rgb", "100 % right"),
        ("predicted together", "50 % right"),
    ]
    assert [(one.title, one.note) for one in card.maps] == [
        ("rgb, block 0.0 to 0.1", "50 % from depth (25 to 75 %)"),
        ("depth, block 0.0 to 0.1", "50 % from rgb (50 to 50 %)"),
    ]
    assert [name for name, _ in card.legend] == ["road", "sky", "wall"]
    assert all(one.drawing.count("<image") == 2 for one in card.maps)
    assert PICTURE.picture in card.maps[1].drawing


def test_maps_of_a_modality_stand_together() -> None:
    again = replace(SCENE, maps=(*SCENE.maps, *SCENE.maps))
    (card,) = scene_cards(replace(FOUND, scenes=(again,)))
    assert [one.title.split(",")[0] for one in card.maps] == ["rgb", "rgb", "depth", "depth"]


def test_a_map_without_a_picture_is_drawn_on_a_sheet_of_its_own_shape() -> None:
    (card,) = scene_cards(replace(FOUND, scenes=(replace(SCENE, pictures={}),)))
    assert card.maps[0].drawing.count("<image") == 1
    assert 'viewBox="0 0 144 72"' in card.maps[0].drawing


def test_scores_and_shares_are_told_as_numbers() -> None:
    assert maps_saying(FOUND, 2) == "Together the streams reach a miou of 0.70; that of rgb reaches 0.50."
    assert maps_saying(replace(FOUND, streams=FOUND.streams[1:]), 2) == (
        "All streams make one prediction, whose miou is 0.70."
    )
    assert maps_table(FOUND, 2).rows[0] == ("rgb", "0.50", "0.40 to 0.60")
    ((_, table),) = maps_details(FOUND)
    assert table.rows[0] == ("late <row>", "rgb", "block 0.0 to 0.1", "1 x 2", "0.500", "0.250 to 0.750")
    assert "0.250 to 0.750" in diagnosis_text(DIAGNOSIS)


def test_the_page_holds_all_scenes_and_escapes_their_names() -> None:
    pytest.importorskip("jinja2")
    page = to_diagnosis_html(DIAGNOSIS)
    assert "late &lt;row&gt;" in page
    assert page.count("predicted together") == 2  # its title, and what a screen reader says
    assert to_diagnosis_html(replace(DIAGNOSIS, modality_maps=None)).count("<image") == 0
