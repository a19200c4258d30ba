import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from fuseloom.errors import RunError
from fuseloom.train import files
from fuseloom.train.files import digest, reporting, write_whole


def test_the_old_content_stays_until_the_new_one_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    path, told = tmp_path / "a.txt", []
    path.write_text("old")
    sync = os.fsync

    def watch(handle):
        told.append((path.read_bytes(), sorted(file.name for file in tmp_path.iterdir())))
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", watch)
    write_whole(path, "größe\r\n")
    new = "größe\r\n".encode()
    assert told == [(b"old", ["a.txt", "a.txt.part"]), (new, ["a.txt"])]


def test_a_disk_that_is_really_full_keeps_the_old_content(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "a.txt"
    path.write_text("old")
    (tmp_path / "a.txt.part").symlink_to("/dev/full")
    message = (
        r"a\.txt must be writable, got: No space left on device\. Free some space and run the same command"
    )
    with pytest.raises(RunError, match=message):
        write_whole(path, b"new" * 9999)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EROFS, "Read-only file system"),
            r"got: Read-only file system\. Choose another folder",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            r"got: Permission denied\. Choose another folder",
        ),
        (OSError(errno.EIO, "Input/output error"), r"got: Input/output error\. Look after the disk"),
        (SafetensorError("I/O error: x (os error 28)"), r"got: No space left on device\. Free some space"),
        (SafetensorError("something else"), r"got: something else\. Look after the disk"),
    ],
)
def test_an_error_of_the_file_system_says_what_to_do(tmp_path, error, message):
    with pytest.raises(RunError, match=message), reporting(tmp_path):
        raise error


def test_a_digest_tells_contents_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert digest(tmp_path / "a") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "b").write_bytes(b"\0")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")
