import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fuseloom.data.arrays import read_folder, read_mapping
from fuseloom.data.values import as_column, embedding
from fuseloom.errors import DataError


def test_entries_of_a_mapping_become_arrays_and_columns() -> None:
    source = read_mapping(
        {
            "image": np.arange(6).reshape(3, 2),
            "audio": torch.ones(3, 4, 5, dtype=torch.bfloat16, requires_grad=True),
            "price": [1, None, 2.5],
            "text": ["a", None, "c"],
            "flag": np.array([True, False, True]),
            "labels": np.array(["x", "y", "x"]),
        },
        target=None,
    )
    assert source.arrays["image"].values.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert source.arrays["audio"].values.dtype == np.float32
    assert source.arrays["audio"].mask.shape == (3, 4)
    np.testing.assert_array_equal(source.columns["price"], [1, np.nan, 2.5])
    assert source.columns["text"].tolist() == ["a", None, "c"]
    assert source.columns["flag"].tolist() == ["True", "False", "True"]
    assert source.target == "labels"
    assert source.ids == ["0", "1", "2"]


def test_the_caller_keeps_its_arrays() -> None:
    values = np.ones((2, 2), dtype=np.float32)
    source = read_mapping({"a": values}, target=None)
    source.arrays["a"].values[0] = 7
    assert values[0, 0] == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "The mapping must have an entry per modality, got none"),
        ({"a": np.ones((2, 2)), "b": [1, 2, 3]}, "same number of rows in every entry, got 'a' 2, 'b' 3"),
        (
            {"a": np.ones((2, 2, 2, 2))},
            r"'a' must be pictures .* of 1, 3 or 4 channels, got float64 of shape",
        ),
        ({"a": np.ones((2, 2, 2, 2, 2))}, r"'a' must be numbers \[N, D\] or \[N, T, D\], got float64 of"),
        ({"a": np.ones((2, 2), dtype=complex)}, "'a' must be numbers .* got complex128"),
        ({"a": np.ones((2, 0))}, "'a' must have at least one feature"),
        ({"a": [["x"], ["y"]]}, "'a' must be numbers"),
        ({"a": [[1, 2], [3]]}, "'a' must have rows of equal length"),
        ({"a": "text"}, "'a' must be an array, a tensor or a list, got str"),
        ({"a": 3}, "'a' must be an array, a tensor or a list, got int"),
        ({"a": np.float64(3)}, "'a' must have a value per row, got a single one"),
        (
            {"a": np.array(["2024-01-01"], dtype="datetime64[D]")},
            r"'a' must be numbers or strings, got datetime64",
        ),
        ({"target": [1], "labels": [2]}, r"must say which is the target, got \['target', 'labels'\]"),
    ],
)
def test_other_mappings_are_refused(mapping, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_mapping(mapping, target=None)


def test_a_named_target_settles_which_it_is() -> None:
    assert read_mapping({"target": [1], "labels": [2]}, target="labels").target == "labels"


def test_a_column_has_one_axis() -> None:
    with pytest.raises(DataError, match=r"'y' must have one value per row, got shape \(2, 1\)"):
        as_column("y", [[1], [2]])


def test_rows_of_nan_are_missing() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3, 4]])
    assert embedding("a", values).mask.tolist() == [True, False, True]
    tokens = np.stack([values, np.full((3, 2), np.nan)])
    assert embedding("a", tokens).mask.tolist() == [[True, False, True], [False] * 3]
    assert embedding("a", np.array([1.0, np.nan])).mask.tolist() == [True, False]


def test_numbers_beyond_float32_become_infinite_without_a_warning() -> None:
    assert np.isinf(embedding("a", np.array([[1e300]])).values).all()


def test_a_folder_is_read(npy_folder: Path) -> None:
    mask = np.array([True, False, True, True, True, True])
    np.save(npy_folder / "image.mask.npy", mask)
    source = read_folder(npy_folder, target="intent")
    np.testing.assert_array_equal(source.arrays["image"].mask, mask)
    np.testing.assert_array_equal(source.arrays["image"].values, np.load(npy_folder / "image.npy"))
    assert source.labels["intent"].tolist() == ["show", "sell"] * 3
    assert source.name == "posts"
    assert source.places[1] == "posts row 1"


def test_the_working_folder_has_a_name_too(npy_folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(npy_folder)
    assert read_folder(Path(), target=None).name == "posts"


def test_what_describes_rows_is_no_modality(npy_folder: Path) -> None:
    (npy_folder / "labels.csv").unlink()
    np.save(npy_folder / "labels.npy", np.arange(6))
    np.save(npy_folder / "ids.npy", np.array([f"p{i}" for i in range(6)]))
    np.save(npy_folder / "split.npy", np.array(["train"] * 6))
    np.save(npy_folder / "price.npy", np.arange(6.0))
    source = read_folder(npy_folder, target=None)
    assert sorted(source.arrays) == ["image", "text"]
    assert list(source.columns) == ["price"]
    assert source.target == "labels"
    assert source.split_column == "split"
    assert source.ids == [f"p{i}" for i in range(6)]


def test_the_only_label_is_the_target(npy_folder: Path) -> None:
    assert read_folder(npy_folder, target=None).target is None
    (npy_folder / "labels.csv").write_text("id,mood\n" + "".join(f"{i},m{i % 2}\n" for i in range(6)))
    assert read_folder(npy_folder, target=None).target == "mood"


def test_folders_without_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"must hold an array <modality>.npy per modality, .* got an empty folder"
    ):
        read_folder(tmp_path, target=None)
    for i in range(7):
        (tmp_path / f"{i}.png").touch()
    with pytest.raises(DataError, match=r"got 0.png, 1.png, 2.png, 3.png, 4.png and 2 more"):
        read_folder(tmp_path, target=None)


def test_arrays_of_different_lengths_are_named(npy_folder: Path) -> None:
    np.save(npy_folder / "audio.npy", np.ones((5, 2)))
    with pytest.raises(DataError, match=r"'audio' 5, 'image' 6, 'text' 6, 'labels\.csv' 6"):
        read_folder(npy_folder, target=None)


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


def test_object_arrays_are_refused_and_not_executed(npy_folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(npy_folder)
    np.save(npy_folder / "audio.npy", np.array([Bomb()] * 6, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"audio.npy must be a plain array .* are pickles and never loaded"):
        read_folder(npy_folder, target=None)
    assert not (npy_folder / "exploded").exists()


def test_a_pickle_called_npy_is_refused_and_not_executed(npy_folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(npy_folder)
    (npy_folder / "audio.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"audio.npy must be an array written by numpy.save, got a pickle"):
        read_folder(npy_folder, target=None)
    assert not (npy_folder / "exploded").exists()


def test_records_are_refused(npy_folder: Path) -> None:
    np.save(npy_folder / "audio.npy", np.ones(6, dtype=[("x", int), ("y", float)]))
    with pytest.raises(DataError, match="'audio' must be numbers or strings, got"):
        read_folder(npy_folder, target=None)


def test_other_files_called_npy_are_refused(npy_folder: Path) -> None:
    (npy_folder / "audio.npy").write_text("1,2,3")
    with pytest.raises(
        DataError, match=r"audio.npy must be an array written by numpy.save, got another format"
    ):
        read_folder(npy_folder, target=None)


def test_a_truncated_array_is_refused(npy_folder: Path) -> None:
    path = npy_folder / "image.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"image.npy must be a plain array"):
        read_folder(npy_folder, target=None)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("image.mask", np.ones(6), r"image.mask must be bool of shape \(6,\) .* got float64"),
        ("image.mask", np.ones((6, 2), bool), r"image.mask must be bool of shape \(6,\)"),
        ("photo.mask", np.ones(6, bool), r"photo.mask must stand beside 'photo'"),
        ("photo", np.array(3.0), r"photo.npy must have a value per row"),
        ("image.mask", np.array(True), r"image.mask.npy must have a value per row"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(npy_folder: Path, name: str, array, message: str) -> None:
    np.save(npy_folder / f"{name}.npy", array)
    with pytest.raises(DataError, match=message):
        read_folder(npy_folder, target=None)


def test_a_broken_line_of_labels_would_shift_rows_and_is_refused(npy_folder: Path) -> None:
    with (npy_folder / "labels.csv").open("a") as file:
        file.write("\np9,sell")
    with pytest.raises(DataError, match=r"labels.csv must have one readable line per row .* labels.csv:8"):
        read_folder(npy_folder, target=None)
