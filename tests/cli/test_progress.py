import io

import pytest

from fuseloom.cli import progress
from fuseloom.cli.progress import telling


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(text):
    """What is left on a terminal."""
    lines = [""]
    for part in text.split("\r\x1b[K"):
        lines[-1] = ""
        lines = [*lines[:-1], *part.split("\n")] if part else lines
    return lines


def test_a_file_gets_every_line():
    stream = io.StringIO()
    with telling(stream) as tell:
        tell("task: regression")
        tell("[1/2] one")
    assert stream.getvalue() == "task: regression\n[1/2] one\n"


def test_a_terminal_keeps_one_line_that_counts(monkeypatch):
    monkeypatch.setattr(
        progress.shutil, "get_terminal_size", lambda: progress.shutil.os.terminal_size((20, 9))
    )
    stream = Terminal()
    with telling(stream) as tell:
        tell("task: regression")
        tell("[1/2] one")
        assert screen(stream.getvalue()) == ["task: regression", "[1/2] one"]
        tell("[2/2] about 5 min left; and much more")
        assert screen(stream.getvalue())[1].startswith("[2/2] abo")
        assert len(screen(stream.getvalue())[1]) == 19
        tell("scoring")
        assert screen(stream.getvalue()) == ["task: regression", "scoring", ""]
        tell("[1/1] once more")
    assert screen(stream.getvalue()) == ["task: regression", "scoring", ""]


def test_an_error_leaves_a_clear_line():
    stream = Terminal()

    def fail():
        with telling(stream) as tell:
            tell("[1/2] one")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert screen(stream.getvalue()) == [""]


def test_a_name_cannot_steer_the_terminal():
    stream = Terminal()
    with telling(stream) as tell:
        tell("\x1b[2Jboo")
    assert "\x1b[2J" not in stream.getvalue()
