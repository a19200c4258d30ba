"""What doctor finds, against packages made for it: whole, absent, too old, broken, installed in place."""

import json
import sys

import pytest
from click.testing import CliRunner

from fuseloom.cli import doctor, installed
from fuseloom.cli.group import fuseloom
from fuseloom.cli.installed import BASE, check, checkout, needs
from fuseloom.errors import MissingExtraError


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Make a package that can be found: its files, and what its metadata say besides name and version."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, version, files, metadata="", **info):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}", encoding="utf-8"
        )
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")
        for file, content in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(content, encoding="utf-8")
        for file, content in info.items():
            (folder / f"{file}.json").write_text(content, encoding="utf-8")

    yield make
    installed._why_broken.cache_clear()
    for name in [name for name in sys.modules if name.startswith("zz_")]:
        del sys.modules[name]


@pytest.fixture
def house(packages):
    """A package with needs of every kind."""
    packages("zz-whole", "2.1", {"zz_whole/__init__.py": "", "tests/__init__.py": "raise ImportError('no')"})
    packages("zz-old", "0.9", {"zz_old.py": ""})
    packages("zz-broken", "1.0", {"zz_broken/__init__.py": "raise OSError('libzz.so: no such\\nfile')"})
    packages("zz-gone", "1.0", {})
    asked = {
        "extra == 'bad'": ["zz-old>=1.0", "zz-broken", "zz-nowhere>=3"],
        'extra == "good"': ["zz-whole<3,>=2"],
        "extra == 'all'": ["zz-whole<3,>=2"],
        "python_version < '3' and extra == 'good'": ["zz-never"],
    }
    lines = [f"Requires-Dist: {one}; {when}\n" for when, several in asked.items() for one in several]
    extras = "".join(f"Provides-Extra: {name}\n" for name in ("all", "bad", "good"))
    packages("zz-house", "1.0", {"zz_house.py": ""}, f"Requires-Dist: zz-whole\n{extras}{''.join(lines)}")
    return "zz-house"


def named(found):
    return {extra: [str(one).partition(";")[0] for one in own] for extra, own in found.items()}


def test_the_needs_of_an_ordinary_installation_are_its_metadata_s(house):
    assert checkout(house) is None
    assert named(needs(house)) == {
        BASE: ["zz-whole"],
        "bad": ["zz-broken", "zz-nowhere>=3", "zz-old>=1.0"],
        "good": ["zz-whole<3,>=2"],
    }


def test_the_needs_of_a_checkout_are_those_of_its_project_file(packages, tmp_path):
    place = tmp_path / "a checkout"
    place.mkdir()
    (place / "pyproject.toml").write_text(
        "[project]\ndependencies = ['zz-base>=1']\n"
        "[project.optional-dependencies]\nnew = ['zz-new']\nall = ['zz-live[new]']\n",
        encoding="utf-8",
    )
    url = json.dumps({"url": place.as_uri(), "dir_info": {"editable": True}})
    packages("zz-live", "1.0", {}, "Requires-Dist: zz-stale\n", direct_url=url)
    assert checkout("zz-live") == place
    assert named(needs("zz-live")) == {BASE: ["zz-base>=1"], "new": ["zz-new"]}
    (place / "pyproject.toml").unlink()
    assert named(needs("zz-live")) == {BASE: ["zz-stale"]}


def test_each_thing_that_can_be_amiss_is_told_from_the_others(house):
    found = {extra: check(own) for extra, own in needs(house).items()}
    assert found["good"].complete
    bad = found["bad"]
    assert not bad.complete
    assert bad.missing == ["zz-nowhere"]
    assert bad.wrong == {"zz-old": "0.9 is installed, needs >=1.0"}
    assert bad.broken == {"zz-broken": "OSError: libzz.so: no such"}


def test_what_this_very_environment_has_is_whole():
    found = {extra: check(own) for extra, own in needs().items() if extra in (BASE, "testing")}
    assert all(state.complete for state in found.values())


def asked(monkeypatch, house, *options):
    own = needs(house)
    monkeypatch.setattr(doctor, "needs", lambda: own)
    monkeypatch.setattr(doctor, "checkout", lambda: None)
    return CliRunner().invoke(fuseloom, ["doctor", *options])


def test_a_stranger_reads_what_is_amiss_and_what_mends_it(monkeypatch, house):
    done = asked(monkeypatch, house)
    assert done.exit_code == 1
    assert [line for line in done.stdout.splitlines() if not line.startswith(("py", "torch", "numpy"))][
        2:9
    ] == [
        "base         complete",
        "[bad]        missing: zz-nowhere",
        "             zz-old does not fit: 0.9 is installed, needs >=1.0",
        "             zz-broken is broken: OSError: libzz.so: no such",
        "             to mend it: pip install --force-reinstall zz-broken",
        "             to get it: pip install 'fuseloom[bad]'",
        "[good]       complete",
    ]


def test_the_same_as_json(monkeypatch, house):
    found = json.loads(asked(monkeypatch, house, "--json").stdout)
    assert found["base"]["missing"] == []
    assert found["extras"]["bad"]["wrong"] == {"zz-old": "0.9 is installed, needs >=1.0"}
    assert found["extras"]["good"]["install"] == "pip install 'fuseloom[good]'"
    assert found["devices"][0] == "cpu"


def test_an_extra_that_is_missing_is_no_fault_and_a_checkout_says_where_it_is(monkeypatch, house, tmp_path):
    own = {extra: some for extra, some in needs(house).items() if extra != "bad"}
    own["later"] = [one for one in needs(house)["bad"] if one.name == "zz-nowhere"]
    monkeypatch.setattr(doctor, "needs", lambda: own)
    monkeypatch.setattr(doctor, "checkout", lambda: tmp_path)
    done = CliRunner().invoke(fuseloom, ["doctor"])
    assert done.exit_code == 0
    assert f"installed in place from {tmp_path}" in done.stdout
    assert f"to get it: pip install -e '{tmp_path}[later]'" in done.stdout


def test_without_the_reader_of_requirements_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    with pytest.raises(
        MissingExtraError, match=r"needs packaging\. Run: pip install 'fuseloom\[workbench\]'"
    ):
        needs()
