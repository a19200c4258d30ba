import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from fuseloom.errors import RunError
from fuseloom.train import lock
from fuseloom.train.lock import LOCK, holding

HOLD = "import sys, time, pathlib\nfrom fuseloom.train.lock import holding\n"
HOLD += "with holding(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(99)"


@pytest.fixture
def other(tmp_path):
    """Another process at work on a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_and_names_the_process(other, tmp_path):
    message = rf"must be free, got one that process {other.pid} on .* works on\. Wait for it"
    with pytest.raises(RunError, match=message), holding(tmp_path):
        pytest.fail("held twice")
    assert (tmp_path / LOCK).exists()


def test_what_a_kill_left_is_taken_over(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == other.pid
    with holding(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_of_another_machine_is_left_to_a_person(tmp_path):
    text = json.dumps({"pid": 7, "host": "far-away", "boot": "x"})
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(
        RunError, match=r"process 7 on far-away works on\. If that is over, delete .*lock\.json"
    ):
        holding(tmp_path).__enter__()
    assert (tmp_path / LOCK).read_text() == text
    (tmp_path / LOCK).unlink()
    with holding(tmp_path):
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("same", ["host", "boot"])
def test_a_dead_lock_of_this_machine_is_taken_over_after_a_restart_and_in_a_container(tmp_path, same):
    here = lock._machine()
    told = {"pid": 7, "host": "far-away", "boot": "x"} | {same: here[same]}
    (tmp_path / LOCK).write_text(json.dumps(told))
    with holding(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["host"] == here["host"]


@pytest.mark.parametrize("torn", [b"", b'{"pid": 3', b"[]", b"\0\0"])
def test_a_torn_lock_is_taken_over(tmp_path, torn):
    (tmp_path / LOCK).write_bytes(torn)
    with holding(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_it_is_given_back_after_an_error_too(tmp_path):
    with pytest.raises(KeyError), holding(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_made_for_nothing_is_gone_again(tmp_path):
    with holding(tmp_path / "nothing"):
        pass
    with holding(tmp_path / "something"):
        (tmp_path / "something" / "kept").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_a_lock_that_goes_while_it_is_taken_is_not_held(tmp_path, monkeypatch):
    take, taken = lock._lock, []

    def late(handle):
        if not taken:
            (tmp_path / LOCK).unlink()  # its holder ends between opening and locking
        taken.append(handle)
        return take(handle)

    monkeypatch.setattr(lock, "_lock", late)
    with holding(tmp_path):
        assert len(taken) == 2
        assert (tmp_path / LOCK).exists()


def test_a_read_only_folder_is_said_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(lock.os, "open", refuse)
    with pytest.raises(
        RunError, match=r"must be writable, got: Read-only file system\. Choose another folder"
    ):
        holding(tmp_path).__enter__()
