import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import fuseloom
from fuseloom import registry
from fuseloom.errors import ModalityError, OptionError, UnknownNameError
from fuseloom.registry import Card, card, create, list_fusions, list_names, lookup, register


@pytest.fixture(autouse=True)
def _forget_the_house_blend() -> Iterator[None]:
    yield
    registry._registered["merge"].pop("house_blend", None)


class Mine:
    kind = "merge"
    name = ""
    card = Card(summary="Mine.", interaction="additive", cost="1", parameters="shared")

    def __init__(self, dims: Mapping[str, int], *, slope: float = 1.0) -> None:
        self.dims, self.slope = dims, slope


def test_a_registered_class_is_found_listed_and_built() -> None:
    register("house_blend")(Mine)
    assert Mine.name == "house_blend"
    assert lookup("house_blend") is lookup("house_blend", kind="merge") is Mine
    assert "house_blend" in list_fusions("house_*", kind="merge")
    assert card("house_blend").summary == "Mine."
    built = create("house_blend", {"text": 3}, slope=2.0)
    assert (built.dims, built.slope) == ({"text": 3}, 2.0)


def test_names_come_from_file_names_and_need_no_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "blends"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_base.py").touch()
    (package / "espresso.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._PACKAGES, "merge", "blends")
    monkeypatch.setitem(registry._registered, "merge", {})
    assert list_names(kind="merge") == ["espresso"]
    assert "blends.espresso" not in sys.modules
    with pytest.raises(RuntimeError, match="imported"):
        lookup("espresso", kind="merge")


def test_a_kind_without_a_package_has_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._PACKAGES, "merge", "fuseloom.no_such_package")
    monkeypatch.setitem(registry._registered, "merge", {})
    assert list_names(kind="merge") == []


def test_a_listing_is_sorted_filtered_and_split_by_kind() -> None:
    names = list_fusions()
    assert names == sorted(names)
    assert set(names) == {*list_fusions(kind="exchange"), *list_fusions(kind="merge")}
    assert set(list_fusions("*_rank")) == {name for name in names if name.endswith("_rank")} >= {"low_rank"}


def test_the_same_class_may_register_again_as_a_reload_does() -> None:
    register("house_blend")(Mine)
    again = type("Mine", (), dict(vars(Mine)))
    register("house_blend")(again)
    assert lookup("house_blend") is again


def test_a_taken_name_is_refused() -> None:
    lookup("sum")
    with pytest.raises(
        OptionError, match=r"^name must be new, got 'sum', which fuseloom\.merge\.sum registered"
    ):
        register("sum")(Mine)


def test_a_class_of_no_known_kind_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^kind must be one of \['converter', .*\], got 'blend' on Odd\.$"):
        register("odd")(type("Odd", (), {"kind": "blend"}))


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError, match=r"^Unknown fusion 'lowrank'. Did you mean 'low_rank'\? Known: "
    ):
        create("lowrank", {"text": 2, "audio": 3})
    with pytest.raises(LookupError, match=r"^Unknown exchange 'sum'\."):
        lookup("sum", kind="exchange")


def test_an_unknown_kind_gets_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError, match=r"^Unknown kind 'merges'. Did you mean 'merge'\? Known: converter, "
    ):
        list_fusions(kind="merges")


def test_an_unknown_option_is_refused_before_the_part_is_built() -> None:
    with pytest.raises(
        OptionError, match=r"^'low_rank' has no option 'ranks'. Did you mean 'rank'\? Known: dim, "
    ):
        create("low_rank", {"text": 2, "audio": 3}, ranks=2)


def test_the_part_s_own_refusal_comes_through() -> None:
    with pytest.raises(ModalityError, match="LowRank must have at least 2 modalities, got 1"):
        create("low_rank", {"text": 2})


def test_an_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fuseloom' has no attribute 'fuse'"):
        _ = fuseloom.fuse  # type: ignore[attr-defined]


def test_every_public_name_of_the_package_resolves() -> None:
    assert dir(fuseloom) == sorted(fuseloom.__all__)
    assert all(getattr(fuseloom, name) is not None for name in fuseloom.__all__)
