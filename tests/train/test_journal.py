import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"what it helD"),
    ],
)
def test_work_whose_file_is_gone_or_damaged_is_to_be_done_again(tmp_path, damage):
    run = RunFolder.open(tmp_path, {})
    for key in ("kept", "lost"):
        run.file(key).write_bytes(b"what it held")
        run.record(key, {"weights": run.file(key).name, "loss": 0.5})
    damage(run.file("lost"))
    again = RunFolder.open(tmp_path, {})
    assert again.finished == {"kept": {"weights": run.file("kept").name, "loss": 0.5}}
    assert "lost" not in (tmp_path / "journal.jsonl").read_text()


def test_work_that_an_older_version_noted_without_a_digest_is_done_again(tmp_path):
    RunFolder.open(tmp_path, {}).file("old").write_bytes(b"weights")
    (tmp_path / "journal.jsonl").write_text('{"key": "old", "weights": "x"}\n{"key": "plain"}\n')
    assert RunFolder.open(tmp_path, {}).finished == {"plain": {}}


@pytest.mark.parametrize("tail", [b"\x00" * 99, b"[1]\n", b'{"no": "key"}\n', b'{"key": 3}\n', b"\xff\xfe\n"])
def test_what_is_no_line_of_a_journal_is_dropped(tmp_path, tail):
    RunFolder.open(tmp_path, {}).record("one", {"loss": 0.5})
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(tail)
    assert RunFolder.open(tmp_path, {}).finished == {"one": {"loss": 0.5}}


@given(cut=st.integers(1, 10**6))
def test_a_journal_cut_anywhere_holds_the_lines_before_the_cut(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("run")
    run = RunFolder.open(path, {})
    for key in ("one", "tw\u00f6", "three"):
        run.record(key, {"loss": 0.5, "weights of": key})
    whole = (path / "journal.jsonl").read_bytes()
    kept = whole[: cut % len(whole)]
    (path / "journal.jsonl").write_bytes(kept)
    finished = RunFolder.open(path, {}).finished
    missing_newline = (kept + b"\n").count(b"}\n")  # a line may be whole but for its end
    assert list(finished) == ["one", "tw\u00f6", "three"][:missing_newline]


def test_leftovers_of_a_kill_are_swept_away(tmp_path):
    run = RunFolder.open(tmp_path, {})
    for path in (run.file("one"), tmp_path / "config.json"):
        path.with_name(path.name + ".part").write_bytes(b"half")
    RunFolder.open(tmp_path, {})
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_killed_at_its_first_step_is_used(tmp_path):
    (tmp_path / "config.json.part").write_text('{"format_ver')
    (tmp_path / "lock.json").write_text("")
    assert RunFolder.open(tmp_path, {}).finished == {}


def test_overwriting_that_is_killed_never_takes_old_work_for_new(tmp_path, monkeypatch):
    run = RunFolder.open(tmp_path, {"seeds": 3})
    run.file("one").write_bytes(b"old")
    run.record("one", {"weights": "x"})

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    monkeypatch.setattr(journal, "write_whole", kill)
    with pytest.raises(Killed):
        RunFolder.open(tmp_path, {"seeds": 4}, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(RunError, match="other settings"):
        RunFolder.open(tmp_path, {"seeds": 4})
    assert RunFolder.open(tmp_path, {"seeds": 3}).finished == {}
    assert RunFolder.open(tmp_path, {"seeds": 4}, overwrite=True).finished == {}


def test_a_full_disk_is_said_so_and_a_record_that_failed_does_not_count(tmp_path, monkeypatch):
    run = RunFolder.open(tmp_path, {})

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal.os, "fsync", full)
    message = (
        r"journal\.jsonl must be writable, got: No space left on device\. Free some space and run the same"
    )
    with pytest.raises(RunError, match=message):
        run.record("one", {})
    assert run.finished == {}
    with pytest.raises(RunError, match=r"config\.json must be writable, got: No space left on device"):
        RunFolder.open(tmp_path / "other", {})


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
