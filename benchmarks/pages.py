"""Tables of the documentation, from the results that the programs beside this one stored.

python benchmarks/pages.py           # rewrite them
python benchmarks/pages.py --check   # fail where they are out of step
"""

import json
import re
import sys
from pathlib import Path
from textwrap import indent

import dense_tables
import exchange_tables
import muse
import muse_profile
import muse_scenes
import remedy_tables
import scenes_audit
import scenes_speed
import seg_scenes
import tables

__all__ = ["main", "renewed"]

DOCS = Path(__file__).parents[1] / "docs"
PAGES = tuple(
    DOCS / f"{page}.md" for page in ("measured", "remedies", "generated-scenes", "muse", "segmentation")
)
RESULTS = Path(__file__).parent / "results"
_RENDER = {
    "cooperation": remedy_tables.render_costs,
    "dense": dense_tables.render,
    "exchange": exchange_tables.render,
    "muse": muse.table,
    "muse_profile": muse_profile.render,
    "muse_scenes_ablations": muse_scenes.render,
    "seg_scenes_labels": seg_scenes.render,
    "seg_scenes_normals": seg_scenes.render,
    "seg_scenes_rgb": seg_scenes.render,
    "muse_scenes_msa": muse_scenes.render,
    "muse_scenes_msa_ablations": muse_scenes.render,
    "muse_scenes_ner": muse_scenes.render,
    "remedies_av_digits": remedy_tables.render,
    "remedies_imbalanced": remedy_tables.render,
    "scenes_audit": scenes_audit.render,
    "scenes_speed": scenes_speed.render,
}
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
    stale = 0
    for page in PAGES:
        text = page.read_text("utf-8")
        made = renewed(text)
        if made != text and arguments == ["--check"]:
            print(f"docs/{page.name} is out of step with the results. Run: python benchmarks/pages.py")
            stale = 1
        elif made != text:
            page.write_text(made, "utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
