"""Pages and tables that are made from cards."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import fuseloom
from fuseloom.registry import FUSION_KINDS, list_names

ROOT = Path(__file__).parents[2]


@pytest.fixture
def generate(tmp_path: Path) -> ModuleType:
    """The program, with a copy of the README to work on."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.README = tmp_path / "README.md"
    module.README.write_text((ROOT / "README.md").read_text("utf-8"), "utf-8")
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The documentation, built with every warning as an error."""
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    yield folder
    config.plugins.on_shutdown()


def test_the_table_of_the_readme_is_in_step_with_the_cards(generate: ModuleType) -> None:
    assert generate.main(["--check"]) == 0


def test_a_table_out_of_step_is_noticed_and_mended(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = generate.README.read_text("utf-8")
    lines = whole.splitlines(keepends=True)
    generate.README.write_text("".join(line for line in lines if "`low_rank`" not in line), "utf-8")
    assert generate.main(["--check"]) == 1
    assert "Run: python docs/generate.py" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert generate.README.read_text("utf-8") == whole


def test_a_readme_without_the_marks_is_refused(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.README.write_text("# fuseloom\n", "utf-8")
    assert generate.main([]) == 1
    assert "must hold the methods once" in capsys.readouterr().out
    assert generate.README.read_text("utf-8") == "# fuseloom\n"


def test_every_method_has_a_row_and_a_page_with_its_claims(generate: ModuleType) -> None:
    table = generate.methods_table("methods/{}.md")
    for kind in FUSION_KINDS:
        for name in list_names(kind=kind):
            card = fuseloom.card(name)
            assert f"| [`{name}`](methods/{name}.md) | {kind} | {card.summary} |" in table
            page = generate.method_page(kind, name)
            assert page.startswith(f"# {name}\n")
            for claim in (card.cost, card.parameters, card.paper, card.differs):
                assert claim in page


def test_a_page_speaks_markdown(generate: ModuleType) -> None:
    page = generate.method_page("merge", "low_rank")
    assert ".. math::" not in page
    assert "``" not in page.replace("```", "")
    assert "- `rank`: `R`; cost" in page
    assert "rank: int = 4" in page
    assert " at 0x" not in page
    assert page.count("```") == 4


def test_the_built_pages_ask_nothing_of_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert site / "methods" / "low_rank.html" in pages
    for page in pages:
        requested = re.findall(
            r'(?:<script[^>]*src|<link[^>]*href|<img[^>]*src)="([^"]*)"', page.read_text("utf-8")
        )
        assert requested
        assert not [address for address in requested if "//" in address], page


def test_the_program_itself_is_no_page(site: Path) -> None:
    assert not list(site.rglob("*.py"))
