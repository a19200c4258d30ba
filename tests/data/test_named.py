from pathlib import Path

import pytest

from fuseloom.data.named import list_sets, read_named, recognised
from fuseloom.errors import DataError, UnknownNameError


def test_every_set_has_a_name_with_hyphens_at_most() -> None:
    assert all(name.replace("-", "").isalnum() for name in list_sets())


def test_folders_are_recognised_by_their_files(mosi_folder: Path, mfeat_folder: Path, tmp_path: Path) -> None:
    mosi, mfeat = recognised(mosi_folder), recognised(mfeat_folder)
    assert mosi is not None
    assert mfeat is not None
    assert (mosi.read(mosi_folder).name, mfeat.read(mfeat_folder).name) == ("mosi", "mfeat")
    assert recognised(tmp_path) is None
    (mosi_folder / "text_test.csv").unlink()
    assert recognised(mosi_folder) is None


def test_a_set_that_lies_elsewhere_asks_for_its_folder() -> None:
    with pytest.raises(
        DataError, match=r"'mosi' must be given as its folder, got its name\. .*text_train\.csv"
    ):
        read_named("mosi")


def test_an_unknown_name_gets_a_guess() -> None:
    with pytest.raises(
        UnknownNameError, match=r"No such file or folder, .* 'digit'\. Did you mean 'digits'\?"
    ):
        read_named("digit")


def test_a_set_in_one_file_is_recognised_in_its_folder_and_by_itself(tmp_path: Path) -> None:
    (tmp_path / "mosi_raw.pkl").write_bytes(b"")
    (tmp_path / "other.pkl").write_bytes(b"")
    folder, file = recognised(tmp_path), recognised(tmp_path / "mosi_raw.pkl")
    assert folder is file is not None
    assert recognised(tmp_path / "other.pkl") is None
    assert recognised(tmp_path / "absent.pkl") is None


def test_a_file_of_a_set_of_several_is_not_the_set(mosi_folder: Path) -> None:
    assert recognised(mosi_folder / "text_test.csv") is None


@pytest.mark.parametrize("name", ["crema-d", "kinetics-sounds", "mosei"])
def test_a_set_of_videos_asks_for_its_folder(name: str) -> None:
    with pytest.raises(DataError, match=rf"'{name}' must be given as its folder, got its name\."):
        read_named(name)
