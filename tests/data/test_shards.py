import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image as Picture

from fuseloom.data import ReadOptions, load, read_rows
from fuseloom.data.dataset import Audio, Image
from fuseloom.data.media import read_audio, read_image
from fuseloom.data.shards import is_shards, read_shards
from fuseloom.errors import DataError


def pixels(row: int) -> np.ndarray:
    return np.full((3, 4, 3), row, dtype=np.uint8)


def members(row: int) -> dict[str, bytes]:
    picture, sound, array = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Picture.fromarray(pixels(row)).save(picture, "PNG")
    soundfile.write(sound, np.full(50, row / 64), 8000, format="WAV", subtype="FLOAT")
    np.save(array, np.arange(row + 1, dtype=np.float32)[:, None])
    return {
        "png": picture.getvalue(),
        "left.PNG": picture.getvalue(),
        "wav": sound.getvalue(),
        "pose.npy": array.getvalue(),
        "txt": f" words of {row}\n".encode(),
        "json": f'{{"price": {row}.5}}'.encode(),
        "cls": str(row % 2).encode(),
    }


def shard(path: Path, rows: range, prefix: str = "a/") -> Path:
    with tarfile.open(path, "w") as archive:
        for row in rows:
            for end, content in members(row).items():
                info = tarfile.TarInfo(f"{prefix}{row:03}.{end}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        shard(tmp_path / f"rows-{number:03}.tar", range(4 * number, 4 * number + 4))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "rows"), [("", range(12)), ("rows-001.tar", range(4, 8)), ("rows-{001..002}.tar", range(4, 12))]
)
def test_members_of_a_name_are_a_row(folder: Path, name: str, rows: range) -> None:
    assert is_shards(folder / name)
    source = read_shards(folder / name)
    image, left, sound = (source.arrays[kind] for kind in ("image", "left", "audio"))
    assert isinstance(image, Image)
    assert isinstance(left, Image)
    assert isinstance(sound, Audio)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(read_image(image.items[place]), pixels(row))
        assert read_audio(sound.items[place])[0][0] == pytest.approx(row / 64)
    assert source.arrays["pose"].mask.sum(1).tolist() == [row + 1 for row in rows]
    assert source.columns["text"].tolist() == [f"words of {row}" for row in rows]
    assert source.columns["price"].tolist() == [row + 0.5 for row in rows]
    assert (source.target, source.target_kind) == ("cls", "category")
    assert source.ids == [f"a/{row:03}" for row in rows]
    assert source.places[0] == f"rows-{rows[0] // 4:03}.tar:a/{rows[0]:03}"


def test_nothing_is_read_or_written_before_it_is_needed(folder: Path) -> None:
    before = sorted(folder.iterdir())
    part = read_shards(folder).arrays["image"].items[5]
    assert part.read() == members(5)["png"]
    assert sorted(folder.iterdir()) == before


def test_shards_that_count_anew_keep_their_rows_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        shard(tmp_path / f"{name}.tar", range(3), prefix="")
    source = read_shards(tmp_path)
    assert source.ids == [f"{name}.tar:{row:03}" for name in ("a", "b") for row in range(3)]


def test_a_model_of_shards_is_used_on_a_table_and_on_arrays(folder: Path) -> None:
    rows = load(folder)
    assert list(rows.modalities) == ["image", "left", "audio", "pose", "text", "tabular"]
    Picture.fromarray(pixels(7)).save(folder / "new.png")
    (folder / "new.csv").write_text("image,text\nnew.png,hello\n,\n", encoding="utf-8")
    from_table = read_rows(folder / "new.csv", rows.schema)
    np.testing.assert_array_equal(read_image(from_table.modalities["image"].items[0]), pixels(7))
    assert from_table.modalities["image"].items[1] is None
    assert not from_table.modalities["pose"].mask.any()
    in_memory = read_rows({"image": pixels(7)[None], "price": [2.0]}, rows.schema)
    np.testing.assert_array_equal(read_image(in_memory.modalities["image"].items[0]), pixels(7))
    assert in_memory.modalities["tabular"].numbers["price"].tolist() == [2.0]


def test_a_kind_that_is_named_leaves_the_others_out(folder: Path) -> None:
    rows = load(folder, ReadOptions(image=("photo=left",), tabular=("price",)))
    assert {name: m.kind for name, m in rows.modalities.items()} == {"photo": "image", "tabular": "table"}
    np.testing.assert_array_equal(read_image(rows.modalities["photo"].items[3]), pixels(3))


def test_other_paths_are_no_shards(folder: Path) -> None:
    assert not is_shards(folder / "rows.csv")
    np.save(folder / "a.npy", np.ones(3))
    assert not is_shards(folder)


def test_a_shard_of_a_pattern_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"source must be shards that are there, got rows-003\.tar"):
        read_shards(folder / "rows-{000..900000000000}.tar")
