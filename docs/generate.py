"""The pages and the table of methods, from their cards and docstrings.

As a hook of mkdocs it adds ``methods.md`` and one page per method to the documentation. As a program it keeps
the table in README.md:

    python docs/generate.py           # rewrite it
    python docs/generate.py --check   # fail where it is out of step
"""

import inspect
import re
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from fuseloom.registry import FUSION_KINDS, Card, list_names, lookup

README = Path(__file__).parents[1] / "README.md"
_MARKED = re.compile(r"(<!-- methods -->\n).*?(<!-- /methods -->)", re.DOTALL)
_CODE = re.compile(r"``(.+?)``")
_HEADINGS = {"Args:": "Arguments", "Raises:": "Errors"}
_KINDS = {
    "exchange": "Modalities talk and stay apart: streams in, streams of the same names and shapes out.",
    "merge": "Modalities become one: streams in, one tensor out.",
}


def methods_table(link: str) -> str:
    """All methods as a Markdown table; ``link`` is the address of a method's page, ``{}`` its name."""
    rows = ["| method | kind | what it does | interaction | modalities |", "|---|---|---|---|---|"]
    for kind in FUSION_KINDS:
        for name in list_names(kind=kind):
            card: Card = lookup(name, kind=kind).card
            shown = f"[`{name}`]({link.format(name)})" if link else f"`{name}`"
            rows.append(f"| {shown} | {kind} | {card.summary} | {card.interaction} | {_arity(card)} |")
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
    """One method: its docstring, its card and how it is built."""
    cls = lookup(name, kind=kind)
    rows = "\n".join(f"| {label} | {value} |" for label, value in _card_rows(cls.card))
    signature = inspect.signature(cls)
    options = ", ".join(str(p) for p in list(signature.parameters.values())[1:])
    return (
        f"# {name}\n\n{_markdown(cls)}\n"
        f"## Card\n\n| claim | value |\n|---|---|\n| kind | {kind} |\n{rows}\n\n"
        f'## By name\n\n`fuseloom.create("{name}", dims, ...)` takes `{_plain(options)}`.\n'
    )


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages, as mkdocs asks its hooks."""
    pages = {"methods.md": methods_page()}
    pages |= {f"methods/{name}.md": method_page(kind, name) for kind, name in _methods()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def main(arguments: list[str]) -> int:
    """Rewrite the table in README.md, or check it; the status of the process."""
    text = README.read_text("utf-8")
    table = methods_table("").replace("\\", "\\\\")
    renewed, found = _MARKED.subn(rf"\1{table}\2", text)
    if found != 1:
        print("README.md must hold the methods once between <!-- methods --> and <!-- /methods -->.")
        return 1
    if arguments == ["--check"]:
        if renewed != text:
            print("README.md is out of step with the cards. Run: python docs/generate.py")
        return int(renewed != text)
    README.write_text(renewed, "utf-8")
    return 0


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
            rows.append((field.name, value.replace("|", "\\|")))
    return rows


def _plain(signature: str) -> str:
    # Addresses of functions and full module paths say nothing to a reader.
    named = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", signature)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", named)


def _markdown(cls: type) -> str:
    """Docstring of a class, Google style with a little reStructuredText, as Markdown."""
    blocks = re.split(r"\n\n(?=\S)", inspect.getdoc(cls) or "")
    return "\n\n".join(_section(block, cls) for block in blocks) + "\n"


def _section(block: str, cls: type) -> str:
    head, _, body = block.partition("\n")
    body = textwrap.dedent(body).strip()
    if head == "Example:":
        imports = f">>> import torch\n>>> from {cls.__module__} import {cls.__name__}"
        return f"## Example\n\n```python\n{imports}\n{body}\n```"
    if head.startswith(".. math::"):
        formula = head.removeprefix(".. math::") + "\n" + body
        return f"```text\n{formula.strip()}\n```"
    if re.fullmatch(r"\w+:", head):
        return f"## {_HEADINGS.get(head, head[:-1])}\n\n{_items(body)}"
    return _CODE.sub(r"`\1`", block)


def _items(body: str) -> str:
    entries = re.sub(r"\n\s+", " ", body).splitlines()
    named = [re.sub(r"^`*([\w<>]+)`*: ", r"``\1``: ", entry) for entry in entries]
    return "\n".join("- " + _CODE.sub(r"`\1`", entry) for entry in named)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
