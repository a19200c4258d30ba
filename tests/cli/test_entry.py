import builtins

import pytest

from fuseloom import cli
from fuseloom.cli import compare
from fuseloom.errors import MissingExtraError


def test_without_click_the_message_names_the_install_command(monkeypatch):
    found = builtins.__import__

    def without_click(name, *rest, **options):
        if name == "fuseloom.cli.group":
            raise ModuleNotFoundError("No module named 'click'", name="click")
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_click)
    with pytest.raises(MissingExtraError, match=r"needs click\. Run: pip install 'fuseloom\[workbench\]'"):
        cli.main()


def test_another_missing_module_is_not_taken_for_click(monkeypatch):
    found = builtins.__import__

    def without_jinja(name, *rest, **options):
        if name == "fuseloom.cli.group":
            raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_jinja)
    with pytest.raises(ModuleNotFoundError, match="jinja2"):
        cli.main()


def test_main_runs_the_group(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(args=["list", "sum"])
    assert ended.value.code == 0
    assert "additive" in capsys.readouterr().out


def test_cores_are_counted_where_the_system_cannot_say_which_may_be_used(monkeypatch):
    monkeypatch.delattr(compare.os, "sched_getaffinity")
    monkeypatch.setattr(compare.os, "cpu_count", lambda: None)
    assert compare._num_cores() == 1
