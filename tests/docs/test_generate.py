"""Pages, figures and tables that are made from cards and docstrings."""

import doctest
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import fuseloom
from fuseloom.registry import FUSION_KINDS, Card, list_names

ROOT = Path(__file__).parents[2]
METHODS = [(kind, name) for kind in FUSION_KINDS for name in list_names(kind=kind)]
SVG = "{http://www.w3.org/2000/svg}"
SMALLEST_PX = 14


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of the folder, which import one another as scripts do."""
    monkeypatch.syspath_prepend(ROOT / "docs")


@pytest.fixture
def generate(programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with a copy of what it writes."""
    module = import_module("generate")
    (tmp_path / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / "methods", tmp_path / "docs" / "methods")
    for page in ("methods.md", "remedies.md"):
        shutil.copy(ROOT / "docs" / page, tmp_path / "docs")
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    monkeypatch.setattr(module, "DOCS", tmp_path / "docs")
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


def test_everything_generated_is_in_step_with_the_cards(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_a_table_out_of_step_is_noticed_and_mended(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = generate.README.read_text("utf-8")
    lines = whole.splitlines(keepends=True)
    generate.README.write_text("".join(line for line in lines if "`low_rank`" not in line), "utf-8")
    assert generate.main(["--check"]) == 1
    assert "README.md is out of step with the cards. Run: python docs/generate.py" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert generate.README.read_text("utf-8") == whole


@pytest.mark.parametrize("name", ["methods/low_rank.md", "methods/low_rank.svg", "methods.md"])
def test_a_page_or_figure_out_of_step_is_noticed_and_mended(
    generate: ModuleType, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = generate.DOCS / name
    whole = path.read_text("utf-8")
    path.write_text(whole.replace("low_rank", "low_price"), "utf-8")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{path.name} is out of step")
    path.unlink()
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert path.read_text("utf-8") == whole


def test_the_page_of_a_method_that_is_gone_goes(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    left = generate.DOCS / "methods" / "telepathy.md"
    left.write_text("# telepathy\n", "utf-8")
    assert generate.main(["--check"]) == 1
    assert "telepathy.md is out of step" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert not left.exists()


def test_a_readme_without_the_marks_is_refused(
    generate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.README.write_text("# fuseloom\n", "utf-8")
    assert generate.main([]) == 1
    assert "must hold its table once" in capsys.readouterr().out
    assert generate.README.read_text("utf-8") == "# fuseloom\n"


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_method_has_a_row_and_a_page_with_its_claims(
    generate: ModuleType, kind: str, name: str
) -> None:
    card = fuseloom.card(name)
    row = f"| [`{name}`](methods/{name}.md) | {kind} | {card.summary} |"
    assert row in generate.methods_table("methods/{}.md")
    page = generate.method_page(kind, name)
    assert page.startswith(f"# {name}\n")
    assert f"]({name}.svg)" in page
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page)
    for claim in (card.cost, card.parameters, card.paper, card.differs):
        assert claim.replace("|", "\\|") in plain
    assert f"| streams must share their positions | {'yes' if card.aligned else 'no'} |" in page
    assert ("| works on |" in page) == (kind == "merge")


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_the_example_of_a_page_runs_by_what_the_page_imports(
    generate: ModuleType, kind: str, name: str
) -> None:
    (source,) = re.findall(
        r"^```python\n(.*?)^```$", generate.method_page(kind, name), re.DOTALL | re.MULTILINE
    )
    test = doctest.DocTestParser().get_doctest(source, {}, name, None, 0)
    assert len(test.examples) > 2
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_page_speaks_markdown(generate: ModuleType, kind: str, name: str) -> None:
    page = generate.method_page(kind, name)
    assert ".. math::" not in page
    assert ":math:" not in page
    assert "``" not in page.replace("```", "")
    assert " at 0x" not in page
    assert set(re.findall(r"^```(\w+)$", page, re.MULTILINE)) <= {"math", "python"}


def test_options_are_shown_as_they_are_given(generate: ModuleType) -> None:
    low_rank, swap = (
        generate.method_page("merge", "low_rank"),
        generate.method_page("exchange", "feature_swap"),
    )
    assert "- `rank`: `R`; cost" in low_rank
    assert "rank: int = 4" in low_rank
    assert "= 1.0, targets: Sequence[str] | None = None" in swap
    assert "to the target's, read both ways" in swap


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_figure_is_readable_and_asks_nothing_of_the_network(
    generate: ModuleType, kind: str, name: str
) -> None:
    source = generate.figure_file(kind, name)
    assert "prefers-color-scheme:dark" in source
    assert "href" not in source
    assert "url(" not in source
    root = ET.fromstring(source)
    assert fuseloom.card(name).summary in root.attrib["aria-label"]
    style = root.findtext(f"{SVG}style") or ""
    sizes = [int(size) for size in re.findall(r"(?:font:|font-size:)(\d+)px", style)]
    assert min(sizes) >= SMALLEST_PX
    height = float(root.attrib["height"])
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.attrib["y"]) < height
        left, right = extent(text)
        assert left >= 4, text.text
        assert right <= float(root.attrib["width"]) - 4, text.text


def extent(text: ET.Element) -> tuple[float, float]:
    """Where a line of text begins and ends, of letters half as wide as high."""
    x, width = float(text.attrib["x"]), 7.5 * len(text.text or "")
    shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]]
    return x - shift * width, x + (1 - shift) * width


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_boxes_of_a_figure_stand_apart(generate: ModuleType, kind: str, name: str) -> None:
    root = ET.fromstring(generate.figure_file(kind, name))
    boxes = [node.attrib for node in root.iter(f"{SVG}rect") if node.attrib["class"] not in ("panel", "mark")]
    frames = [tuple(float(box[key]) for key in ("x", "y", "width", "height")) for box in boxes]
    for place, (x, y, width, height) in enumerate(frames):
        for left, top, other_width, other_height in frames[:place]:
            apart = x >= left + other_width or left >= x + width
            assert apart or y >= top + other_height or top >= y + height


@pytest.mark.parametrize(
    ("aligned", "kind", "arrows"), [(True, "exchange", 8), (False, "exchange", 7), (False, "merge", 7)]
)
def test_a_method_without_a_scene_gets_one_from_its_card(
    programs: None, aligned: bool, kind: str, arrows: int
) -> None:
    card = Card(
        summary="Modalities think of each other.",
        interaction="nonlinear",
        cost="none",
        parameters="none",
        aligned=aligned,
    )
    svg = import_module("scenes").figure_of("telepathy", kind, card).panel("telepathy").svg()
    assert svg.count('class="flow') == arrows
    assert "Modalities think of each other." in svg


def test_the_built_pages_ask_nothing_of_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert site / "methods" / "low_rank.html" in pages
    assert (site / "methods" / "low_rank.svg").is_file()
    for page in pages:
        requested = re.findall(
            r'(?:<script[^>]*src|<link[^>]*href|<img[^>]*src)="([^"]*)"', page.read_text("utf-8")
        )
        assert requested
        assert not [address for address in requested if "//" in address], page


def test_the_program_itself_is_no_page(site: Path) -> None:
    assert not list(site.rglob("*.py"))
