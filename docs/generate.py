"""Pages of methods with their figures, and tables in README.md and remedies.md, from cards and docstrings.

python docs/generate.py           # rewrite them: README.md, remedies.md, methods.md and the folder methods
python docs/generate.py --check   # fail where they are out of step
"""

import ast
import builtins
import inspect
import re
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

from scenes import figure_of

from fuseloom.registry import FUSION_KINDS, Card, list_names, lookup
from fuseloom.train.remedies import RemedyCard

README = Path(__file__).parents[1] / "README.md"
DOCS = Path(__file__).parent
_MARKED = re.compile(r"(<!-- methods -->\n).*?(<!-- /methods -->)", re.DOTALL)
_REMEDIES = re.compile(r"(<!-- remedies -->\n).*?(<!-- /remedies -->)", re.DOTALL)
_ENTRY = re.compile(r"\n(?!``[^:\n]*``[^:\n]*: |\w+: )\s*")
_CODE = re.compile(r"``(.+?)``")
_ROLE = re.compile(r":math:`(.+?)`", re.DOTALL)
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_HEADINGS = {"Args:": "Options", "Raises:": "Errors", "Records:": "What the trace records"}
_CLAIMS = {
    "summary": "what it does",
    "interaction": "highest order of interaction",
    "cost": "multiplications per sample",
    "parameters": "parameters",
    "ranks": "ranks accepted",
    "arity": "modalities",
    "level": "works on",
    "reads": "reads besides the streams",
    "aligned": "streams must share their positions",
    "symmetric": "treats all modalities alike",
    "discrete": "selects discretely",
    "inert": "parameters without effect",
    "paper": "paper",
    "code": "official code",
    "differs": "what differs from it",
}
_LEVELS = {
    "stream": "streams; a head goes behind it",
    "decision": "decisions; one head per modality goes before it",
    "output": "streams; what it gives is the prediction itself",
}
_KINDS = {
    "exchange": "Modalities talk and stay apart: streams in, streams of the same names and shapes out.",
    "merge": "Modalities become one: streams in, one tensor out.",
}


def methods_table(link: str) -> str:
    """All methods as a Markdown table; ``link`` is the address of a method's page, ``{}`` its name."""
    rows = ["| method | kind | what it does | interaction | modalities |", "|---|---|---|---|---|"]
    for kind, name in _methods():
        card: Card = lookup(name, kind=kind).card
        shown = f"[`{name}`]({link.format(name)})"
        rows.append(f"| {shown} | {kind} | {card.summary} | {card.interaction} | {_arity(card)} |")
    return "\n".join(rows) + "\n"


def remedies_table() -> str:
    """All remedies as a Markdown table."""
    rows = ["| remedy | what it does | changes | needs | adds to a step |", "|---|---|---|---|---|"]
    for name in list_names(kind="remedy"):
        card: RemedyCard = lookup(name, kind="remedy").card
        touches, needs = ", ".join(card.touches), ", ".join(card.needs) or "nothing"
        rows.append(f"| `{name}` | {card.summary} | {touches} | {needs} | {card.cost} |")
    return "\n".join(rows) + "\n"


def methods_page() -> str:
    """The overview of all methods."""
    kinds = "\n".join(f"- **{kind}**: {text}" for kind, text in _KINDS.items())
    return (
        f"# Methods\n\nEvery fusion method does one of two things.\n\n{kinds}\n\n"
        f"{methods_table('methods/{}.md')}\n"
        "The interaction is the highest order of interaction between modalities that a method can express. "
        "It is a claim of the method's card, and the contract checks verify it.\n"
    )


def method_page(kind: str, name: str) -> str:
    """One method: its figure, its docstring, its card and how it is built."""
    cls = lookup(name, kind=kind)
    claims = [row for row in _card_rows(cls.card) if kind == "merge" or row[0] != _CLAIMS["level"]]
    rows = "\n".join(f"| {label} | {value} |" for label, value in claims)
    options = ", ".join(str(p) for p in list(inspect.signature(cls).parameters.values())[1:])
    return (
        f"# {name}\n\n![{cls.card.summary}]({name}.svg)\n\n{_markdown(cls)}\n"
        f"## Card\n\n| claim | value |\n|---|---|\n| kind | {kind} |\n{rows}\n\n"
        f'## By name\n\n`fuseloom.create("{name}", dims, ...)` takes `{_plain(options)}`.\n'
        "\n[All methods](../methods.md)\n"
    )


def figure_file(kind: str, name: str) -> str:
    """What a method exchanges or merges, as an SVG file."""
    card: Card = lookup(name, kind=kind).card
    return figure_of(name, kind, card).panel(f"{name}: {card.summary}").svg()


def main(arguments: list[str]) -> int:
    """Rewrite what is generated, or check it; the status of the process."""
    page = DOCS / "remedies.md"
    tables = {
        README: (_MARKED, methods_table("docs/methods/{}.md")),
        page: (_REMEDIES, remedies_table()),
    }
    wanted = {}
    for path, (mark, table) in tables.items():
        wanted[path], found = _renewed(path, mark, table)
        if found != 1:
            print(f"{path.name} must hold its table once between two marks: {mark.pattern}")
            return 1
    wanted |= {DOCS / path: content for path, content in _generated().items()}
    stale = [path for path, content in wanted.items() if _content(path) != content]
    left_over = sorted(set((DOCS / "methods").glob("*")) - wanted.keys())
    if arguments == ["--check"]:
        for path in [*stale, *left_over]:
            print(f"{path.name} is out of step with the cards. Run: python docs/generate.py")
        return int(bool(stale or left_over))
    (DOCS / "methods").mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path], "utf-8")
    for path in left_over:
        path.unlink()
    return 0


def _renewed(path: Path, mark: re.Pattern[str], table: str) -> tuple[str, int]:
    """The text with its table made anew, and how many tables it has."""
    return mark.subn(lambda found: f"{found[1]}{table}{found[2]}", path.read_text("utf-8"))


def _generated() -> dict[str, str]:
    """Path below the folder of this program -> content."""
    pages = {f"methods/{name}.md": method_page(kind, name) for kind, name in _methods()}
    figures = {f"methods/{name}.svg": figure_file(kind, name) for kind, name in _methods()}
    return {"methods.md": methods_page(), **pages, **figures}


def _content(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def _methods() -> list[tuple[str, str]]:
    return [(kind, name) for kind in FUSION_KINDS for name in list_names(kind=kind)]


def _arity(card: Card) -> str:
    low, high = card.arity
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"


def _card_rows(card: Card) -> list[tuple[str, str]]:
    rows = []
    for field in fields(card):
        value = getattr(card, field.name)
        if field.name == "arity":
            value = _arity(card)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, tuple):
            value = ", ".join(value)
        if value:
            rows.append((_CLAIMS.get(field.name, field.name), _shown(field.name, value).replace("|", "\\|")))
    return rows


def _shown(field: str, value: str) -> str:
    """A claim as Markdown: with links, and as a formula is to be read."""
    if field == "level":
        return _LEVELS[value]
    if field == "code":
        address = value if "://" in value else f"https://github.com/{value}"
        return f"[{address.removeprefix('https://')}]({address})"
    if field == "cost":
        return f"`{value}`"
    return _ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", value)


def _plain(signature: str) -> str:
    # Addresses of functions and full module paths say nothing to a reader.
    named = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", signature)
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)", r"\1", named)


def _markdown(cls: type) -> str:
    """Docstring of a class, Google style with a little reStructuredText, as Markdown."""
    blocks = re.split(r"\n\n(?=\S)", inspect.getdoc(cls) or "")
    return "\n\n".join(_section(block, cls) for block in blocks) + "\n"


def _section(block: str, cls: type) -> str:
    head, _, body = block.partition("\n")
    body = textwrap.dedent(body).strip()
    if head == "Example:":
        return f"## Example\n\n```python\n{_imports(body, cls)}\n{body}\n\n```"
    if head.startswith(".. math::"):
        formulas = re.split(r"^\.\. math::", block, flags=re.MULTILINE)[1:]
        return "\n\n".join(f"```math\n{textwrap.dedent(formula).strip()}\n```" for formula in formulas)
    if re.fullmatch(r"\w+:", head):
        return f"## {_HEADINGS.get(head, head[:-1])}\n\n{_items(body)}"
    return _inline(block)


def _imports(example: str, cls: type) -> str:
    """Lines that import what an example takes from its module."""
    code = "\n".join(line[4:] for line in example.splitlines() if line.startswith((">>> ", "... ")))
    names = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    known = vars(sys.modules[cls.__module__])
    used = {node.id for node in names} - bound - vars(builtins).keys()
    lines = {_import(name, known[name]) for name in used if name in known}
    return "\n".join(f">>> {line}" for line in sorted({*lines, "import torch"}, key=_import_order))


def _import(name: str, value: Any) -> str:
    if not isinstance(value, ModuleType):
        return f"from {value.__module__} import {name}"
    package, _, own = value.__name__.rpartition(".")
    if not package:
        return f"import {name}"
    return f"from {package} import {own}" if own == name else f"from {package} import {own} as {name}"


def _import_order(line: str) -> tuple[bool, bool, str]:
    """Plain imports first, torch before fuseloom."""
    return line.startswith("from"), "fuseloom" in line, line


def _items(body: str) -> str:
    entries = _ENTRY.sub(" ", body).splitlines()
    named = [re.sub(r"^`*([\w<>]+)`*: ", r"``\1``: ", entry) for entry in entries]
    return "\n".join("- " + _inline(entry) for entry in named)


def _inline(text: str) -> str:
    return _CODE.sub(r"`\1`", _ROLE.sub(r"$`\1`$", text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
