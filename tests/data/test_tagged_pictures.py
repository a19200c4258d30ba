from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from fuseloom.data.media import read_image
from fuseloom.data.tagged_pictures import find_pictures, picture_folders
from fuseloom.errors import DataError


def draw(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("RGB", (6, 4), (shade,) * 3).save(path)


def test_pictures_are_found_by_their_names_and_by_paths(tmp_path: Path) -> None:
    draw(tmp_path / "7.jpg", 40)
    draw(tmp_path / "7.png", 200)
    draw(tmp_path / "8.png", 80)
    draw(tmp_path / "sub" / "9.jpg", 120)
    found = find_pictures(["7", "8", "sub/9.jpg", None], ["a", "b", "c", "d"], [tmp_path])
    assert found.modality is not None
    shades = [None if item is None else int(read_image(item)[0, 0, 0]) for item in found.modality.items]
    assert shades == [40, 80, 120, None]
    assert (found.missing, found.notes) == ({}, ())


def test_a_picture_that_cannot_be_had_is_missing_and_named(tmp_path: Path) -> None:
    draw(tmp_path / "1.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Picture.fromarray(noise).save(tmp_path / "2.jpg")
    (tmp_path / "2.jpg").write_bytes((tmp_path / "2.jpg").read_bytes()[:1500])
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    (tmp_path / "4.jpg").mkdir()
    found = find_pictures(["1", "2", "3", "4", "5.png"], list("abcde"), [tmp_path])
    assert found.modality is not None
    assert [item is None for item in found.modality.items] == [False, True, True, True, True]
    assert found.missing["b"].startswith("2.jpg: not a whole picture: ")
    assert {row: why for row, why in found.missing.items() if row != "b"} == {
        "c": "3.jpg: not a picture in a known format",
        "d": "4.jpg: no such file",
        "e": "5.png: no such file",
    }
    (note,) = found.notes
    assert note.startswith("image: 4 of 5 pictures are missing in their rows: 2.jpg: not a whole picture")
    assert note.endswith(", 3.jpg: not a picture in a known format, 4.jpg: no such file and 1 more")


@pytest.mark.parametrize(("size", "mode"), [((1, 1), "RGB"), ((5, 3), "CMYK"), ((5, 3), "L")])
def test_odd_pictures_are_pictures(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    Picture.new(mode, size).save(tmp_path / "1.jpg")
    found = find_pictures(["1"], ["a"], [tmp_path])
    assert found.modality is not None
    assert read_image(found.modality.items[0]).shape == (*size[::-1], 3)


def test_without_any_picture_there_is_no_modality(tmp_path: Path) -> None:
    found = find_pictures(["1", "2"], ["a", "b"], [tmp_path / "images", tmp_path])
    assert found.modality is None
    assert found.missing == {"a": "1.jpg: no such file", "b": "2.jpg: no such file"}
    (note,) = found.notes
    assert note.startswith("image: none of 2 pictures can be read, such as 1.jpg: no such file (in ")
    assert note.endswith("; text is the only modality")
    assert find_pictures([None], ["a"], [tmp_path]).missing == {}


def test_the_first_folder_that_has_a_picture_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "tweets"
    folders = picture_folders(root, "twitter2015", None)
    shown = [str(folder.relative_to(tmp_path)) for folder in folders]
    assert shown == [
        "tweets/twitter2015_images",
        "tweets/tweets_images",
        "tweets/images",
        "tweets",
        "twitter2015_images",
        "tweets_images",
    ]
    draw(root / "1.jpg", 40)
    draw(tmp_path / "tweets_images" / "1.jpg", 80)
    (root / "images").mkdir()
    found = find_pictures(["1"], ["a"], folders)
    assert found.modality is not None
    assert np.unique(read_image(found.modality.items[0])).tolist() == [40]


def test_a_folder_that_a_person_names_must_be_there(tmp_path: Path) -> None:
    assert picture_folders(tmp_path, "a", tmp_path) == [tmp_path]
    with pytest.raises(DataError, match=r"images must be a folder that is there, got '.*absent'"):
        picture_folders(tmp_path, "a", tmp_path / "absent")
