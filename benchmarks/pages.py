"""The tables of `docs/measured.md`, from the results that the programs beside this one stored.

python benchmarks/pages.py           # rewrite them
python benchmarks/pages.py --check   # fail where they are out of step
"""

import json
import re
import sys
from pathlib import Path
from textwrap import indent

import exchange_tables
import tables

__all__ = ["main", "renewed"]

PAGE = Path(__file__).parents[1] / "docs" / "measured.md"
RESULTS = Path(__file__).parent / "results"
_RENDER = {"exchange": exchange_tables.render}
_MARKED = re.compile(r"<!-- results: (\w+) -->\n.*?<!-- /results -->", re.DOTALL)


def renewed(page: str) -> str:
    """The page with each table made anew from the results that its mark names."""
    return _MARKED.sub(_block, page)


def _block(found: re.Match[str]) -> str:
    name = found.group(1)
    results = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    # Indented: every fenced block of the documentation is run or checked.
    render = _RENDER.get(name, tables.render)
    return f"<!-- results: {name} -->\n\n{indent(render(results), '    ')}\n<!-- /results -->"


def main(arguments: list[str]) -> int:
    """Rewrite the tables, or check them; the status of the process."""
    text = PAGE.read_text("utf-8")
    made = renewed(text)
    if arguments == ["--check"]:
        if made != text:
            print("docs/measured.md is out of step with the results. Run: python benchmarks/pages.py")
        return int(made != text)
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
