import json

import pytest

from fuseloom.errors import RunError
from fuseloom.train import journal
from fuseloom.train.journal import RunFolder, environment


def test_a_folder_of_the_same_request_is_continued(tmp_path):
    first = RunFolder.open(tmp_path / "run", {"seeds": 3, "rates": (1.0,)})
    first.record("one", {"loss": 0.5})
    assert RunFolder.open(tmp_path / "run", {"seeds": 3, "rates": [1.0]}).finished == {"one": {"loss": 0.5}}


def test_half_a_line_left_by_a_kill_is_dropped_and_the_next_is_read(tmp_path):
    RunFolder.open(tmp_path, {}).record("one", {"loss": 0.5})
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"key": "two", "lo')
    RunFolder.open(tmp_path, {}).record("three", {"loss": 0.25})
    assert RunFolder.open(tmp_path, {}).finished.keys() == {"one", "three"}


def test_work_whose_file_is_gone_is_to_be_done_again(tmp_path):
    run = RunFolder.open(tmp_path, {})
    for key in ("kept", "lost"):
        run.file(key).write_bytes(b"")
        run.record(key, {"weights": run.file(key).name})
    run.file("lost").unlink()
    assert RunFolder.open(tmp_path, {}).finished.keys() == {"kept"}


def test_another_request_is_refused_and_says_what_differs(tmp_path):
    RunFolder.open(tmp_path, {"seeds": 3, "data": "x"})
    with pytest.raises(RunError, match=r"other settings or data: seeds differ.* --overwrite"):
        RunFolder.open(tmp_path, {"seeds": 4, "data": "x"})


def test_overwriting_starts_anew_and_spares_foreign_folders(tmp_path):
    run = RunFolder.open(tmp_path / "run", {"seeds": 3})
    run.record("one", {})
    assert RunFolder.open(tmp_path / "run", {"seeds": 4}, overwrite=True).finished == {}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="must be a run folder"):
            RunFolder.open(tmp_path / "photos", {}, overwrite=overwrite)
    assert (tmp_path / "photos" / "cat.png").exists()


def test_a_folder_of_another_version_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"format_version": 99, "request": {}}')
    with pytest.raises(RunError, match="must be a run of this version"):
        RunFolder.open(tmp_path, {})


@pytest.mark.parametrize("text", ['{"format_version": 1}', "[]", "not JSON"])
def test_a_foreign_configuration_is_never_overwritten(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    for overwrite in (False, True):
        with pytest.raises(RunError, match="must be a run folder or empty"):
            RunFolder.open(tmp_path, {}, overwrite=overwrite)
    assert (tmp_path / "config.json").read_text() == text


def test_config_names_versions(tmp_path):
    RunFolder.open(tmp_path, {})
    held = json.loads((tmp_path / "config.json").read_text())["environment"]
    assert held == environment()
    assert held["torch"].startswith("2.")


def test_files_of_different_work_differ(tmp_path):
    run = RunFolder.open(tmp_path, {})
    assert run.file("sum, seed 0") != run.file("sum, seed 1")
    assert run.file("sum, seed 0").parent.is_dir()


def test_an_installed_package_has_no_commit(monkeypatch):
    def no_git(*command, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(journal.subprocess, "run", no_git)
    assert environment()["commit"] == "not a checkout"
