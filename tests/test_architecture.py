"""Rules of the house that no linter knows."""

import ast
import importlib
import inspect
import pkgutil
from abc import ABC
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import fuseloom
from fuseloom.exchange import Exchange
from fuseloom.merge import Merge
from fuseloom.registry import FUSION_KINDS, Card, list_names, lookup

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FUSIONS = [(kind, name) for kind in FUSION_KINDS for name in list_names(kind=kind)]
LONGEST = 600


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(fuseloom.__path__, "fuseloom."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def own_classes(module: ModuleType) -> list[type]:
    return [
        cls for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ == module.__name__
    ]


def is_abstract(cls: type) -> bool:
    return inspect.isabstract(cls) or ABC in cls.__bases__ or getattr(cls, "_is_protocol", False)


@pytest.mark.parametrize(("kind", "name"), FUSIONS)
def test_a_fusion_lives_in_the_file_of_its_name_and_is_final(kind: str, name: str) -> None:
    cls = lookup(name, kind=kind)
    assert (cls.name, cls.kind, cls.__module__) == (name, kind, f"fuseloom.{kind}.{name}")
    assert cls.__bases__ == ({"exchange": Exchange, "merge": Merge}[kind],)


@pytest.mark.parametrize(("kind", "name"), FUSIONS)
def test_a_fusion_has_a_docstring_and_a_card(kind: str, name: str) -> None:
    cls = lookup(name, kind=kind)
    claims = vars(cls)["card"]
    assert isinstance(claims, Card)
    assert all([claims.summary, claims.cost, claims.parameters, claims.ranks])
    assert claims.summary.endswith(".")
    assert len(claims.summary) < 90
    assert all(section in vars(cls)["__doc__"] for section in ("Args:", "Example:", ".. math::"))


def test_only_abstract_classes_are_subclassed() -> None:
    wrong = [
        f"{cls.__module__}.{cls.__name__} subclasses {base.__name__}"
        for module in modules()
        for cls in own_classes(module)
        for base in cls.__bases__
        if base.__module__.startswith("fuseloom") and not (is_abstract(base) or issubclass(base, Exception))
    ]
    assert not wrong


def test_every_file_is_one_sitting() -> None:
    files = [
        path
        for folder in ("src", "tests", "docs", "examples", "benchmarks")
        for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert not {name: count for name, count in lines.items() if count > LONGEST}
    assert len(lines) > len(SOURCES)


def defined_names(tree: ast.Module) -> set[str]:
    """Public functions and classes; a type alias or a constant is public only if `__all__` says so."""
    made = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {name for name in made if not name.startswith("_")}


def declared_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                names: list[str] = ast.literal_eval(value)
                return names
    return None


def in_order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "fuseloom")))
def test_all_is_sorted_and_in_public_modules_complete(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    defined, declared = defined_names(tree), declared_names(tree)
    if not path.stem.startswith("_"):
        assert defined <= set(declared or ())
    assert declared is None or declared == sorted(set(declared), key=in_order)
