"""The generated sets by name: what is written, and what is read of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import check, load
from fuseloom.data.dataset import Image, Text
from fuseloom.data.label_maps import LabelMap
from fuseloom.data.media import read_image
from fuseloom.data.named import list_sets
from fuseloom.data.scenes.msa import MsaScenes, msa_ceilings, msa_example
from fuseloom.data.scenes.ner import NerScenes, ner_example
from fuseloom.data.scenes.sets import SCENE_SETS, read_scenes, write_scenes
from fuseloom.errors import DataError, OptionError


@pytest.mark.parametrize("name", SCENE_SETS)
def test_eight_rows_in_ten_are_to_learn_from(name: str, tmp_path: Path) -> None:
    stated = write_scenes(name, tmp_path, rows=126, seed=2)
    facts = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
    assert facts[SCENE_SETS[name].rows] == {"train": 100, "valid": 13, "test": 13}
    assert facts["seed"] == 2
    assert facts["ceilings"] == stated


def test_names_are_read_with_their_pictures(tmp_path: Path) -> None:
    write_scenes("scenes-ner", tmp_path / "made", rows=100, seed=5)
    rows = load(tmp_path / "made")
    assert (rows.name, rows.schema.source_format) == ("scenes-ner", "scenes-ner")
    text, image = rows.modalities["text"], rows.modalities["image"]
    assert isinstance(text, Text)
    assert isinstance(image, Image)
    assert rows.target is not None
    for place, row in enumerate(rows.ids):
        split, index = row.split("_")
        example = ner_example(NerScenes(), 5, int(index), split)
        assert text.values[place] == " ".join(example.words)
        assert rows.target[place] == example.tags
        assert np.abs(read_image(image.items[place]).astype(int) - example.rendering.rgb).mean() < 4
    assert check(rows).count("error") == 0


def test_sentiments_are_read_without_pairs_that_contradict(tmp_path: Path) -> None:
    stated = write_scenes("scenes-msa", tmp_path / "made", rows=100, seed=5)
    rows = load(tmp_path / "made")
    assert (rows.name, rows.schema.source_format) == ("scenes-msa", "scenes-msa")
    assert rows.target is not None
    assert rows.split is not None
    drawn = [msa_example(MsaScenes(), 5, index) for index in range(80)]
    kept = [one for one in drawn if one.sentiment]
    assert len(kept) < 80
    of_train = rows.split == "train"
    assert [row for row, own in zip(rows.ids, of_train, strict=True) if own] == [one.id for one in kept]
    assert rows.target[of_train].tolist() == [one.sentiment for one in kept]
    assert stated["train"]["text"] == msa_ceilings(drawn).text
    assert check(rows).count("error") == 0


@pytest.mark.parametrize("name", SCENE_SETS)
def test_by_its_name_a_set_is_what_its_folder_holds_and_needs_no_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENE_SETS, name, replace(SCENE_SETS[name], embedded=100))  # type: ignore[arg-type]
    by_name = load(name)
    write_scenes(name, tmp_path, rows=100)
    from_folder = load(tmp_path)
    assert by_name.schema == from_folder.schema
    assert (by_name.name, by_name.ids, by_name.notes) == (name, from_folder.ids, from_folder.notes)
    assert by_name.target is not None
    told = [
        [one.read().tolist() if isinstance(one, LabelMap) else one for one in rows.target]
        for rows in (by_name, from_folder)
    ]
    assert told[0] == told[1]
    assert by_name.modalities.keys() == from_folder.modalities.keys()
    if "text" in by_name.modalities:
        text, written = (found.modalities["text"] for found in (by_name, from_folder))
        assert text.values.tolist() == written.values.tolist()
    for part, modality in by_name.modalities.items():
        if isinstance(modality, Image):
            for here, there in zip(modality.items, from_folder.modalities[part].items, strict=True):
                np.testing.assert_array_equal(read_image(here), read_image(there))


@pytest.mark.parametrize("name", SCENE_SETS)
def test_its_name_is_one_of_those_that_are_listed(name: str) -> None:
    assert list_sets().count(name) == 1


def test_rows_are_named_by_the_set(tmp_path: Path) -> None:
    write_scenes("scenes-msa", tmp_path, rows=100)
    source = read_scenes("scenes-msa", tmp_path)
    assert source.places[0] == f"scenes-msa {source.ids[0]}"


def test_too_few_rows_and_a_folder_that_holds_something_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"rows must be 100 or more, got 99\."):
        write_scenes("scenes-ner", tmp_path, rows=99)
    with pytest.raises(OptionError, match=r"seed and index must be 0 or more, got -1 and 0\."):
        write_scenes("scenes-ner", tmp_path / "new", seed=-1)
    (tmp_path / "old.txt").write_text("")
    with pytest.raises(DataError, match=r"must be a new or an empty folder, got one that holds something"):
        write_scenes("scenes-msa", tmp_path)
