"""The page on paper: light whatever the screen is, nothing cut, figures with what explains them."""

import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from fuseloom.comparison.result import Comparison
from fuseloom.report import to_html

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

PAPER_PX = 688
"""What the margins leave of the width of A4."""

MEASURE = """
window.addEventListener("load", () => {
  const style = (one) => getComputedStyle(one);
  const said = (one) => one.textContent.trim();
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const points = (one) => parseFloat(style(one).fontSize) * 0.75;
  const texts = all("body *").filter((one) => one.getClientRects().length && !one.closest("svg, .hidden-text")
    && Array.from(one.childNodes).some((node) => node.nodeType === 3 && node.data.trim()));
  const right = document.documentElement.getBoundingClientRect().right;
  document.title = JSON.stringify({
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    beyond: texts.filter((one) => one.getBoundingClientRect().right > right + 1).map(said),
    scrolls: all(".scroll").filter((one) => one.scrollWidth > one.clientWidth + 1).length,
    small: texts.filter((one) => points(one) < 6.9).map(said),
    texts: texts.length,
    larger: all("td small").filter((one) => points(one) > points(one.parentElement)).length,
    divided: all("figure, tr, svg.plot, li").filter((one) => style(one).breakInside !== "avoid"
      && !one.querySelector("details")).length,
    parted: all("h2, h3, .legend, thead, summary").filter((one) => style(one).breakAfter !== "avoid").length,
    heads: all("thead button").filter((one) => style(one).display !== "contents").length,
    buttons: all("thead button").length,
    closed: all("details > *:not(summary)").filter((one) => !one.checkVisibility()).length,
    economy: all(".badge, .swatch, .confusion td")
      .filter((one) => style(one).printColorAdjust !== "exact").length,
    navigation: all("nav").filter((one) => one.getClientRects().length).length,
    words: all(".scroll td").filter((one) => said(one) === "embedding").map((one) => one.clientHeight),
  });
});
"""


def browser(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    quiet = ["--disable-background-networking", "--disable-sync", "--no-first-run", "--disable-gpu"]
    alone = ["--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, "--headless", "--no-sandbox", *quiet, *alone, profile, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def printed(page: str, folder: Path, *, dark: bool = False) -> bytes:
    """The PDF of the page."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    out = f"--print-to-pdf={folder / 'page.pdf'}"
    browser(folder, scheme, "--no-pdf-header-footer", out, (folder / "page.html").as_uri())
    return (folder / "page.pdf").read_bytes()


def streams(pdf: bytes) -> list[bytes]:
    """What the PDF draws and says, unpacked."""
    packed = re.findall(rb"/Filter /FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    return [zlib.decompressobj().decompress(one) for one in packed]


def on_paper(page: str, folder: Path) -> dict[str, Any]:
    """What the page looks like with its rules for print, in a frame as wide as paper."""
    shown = page.replace("@media print", "@media all").replace("@media screen", "@media not all")
    shown = re.sub(r"<meta http-equiv[^>]*>", "", shown)
    (folder / "paper.html").write_text(
        shown.replace("</body>", f"<script>{MEASURE}</script></body>"), encoding="utf-8"
    )
    size = f"--window-size={PAPER_PX},900"
    found = browser(folder, size, "--dump-dom", (folder / "paper.html").as_uri())
    title = re.search(r"<title>(.*?)</title>", found.stdout)
    assert title is not None
    seen: dict[str, Any] = json.loads(
        title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    return seen


def test_nothing_is_cut_or_too_small_and_figures_stay_whole(comparison: Comparison, tmp_path: Path) -> None:
    seen = on_paper(to_html(comparison), tmp_path)
    assert seen["texts"] > 300
    assert seen["buttons"] == 9
    assert seen["words"]
    assert max(seen["words"]) < 40
    for what in ("beyond", "small"):
        assert seen[what] == []
    for what in ("scrolls", "larger", "divided", "parted", "heads", "closed", "economy", "navigation"):
        assert seen[what] == 0, what
    assert seen["wide"] <= 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("figure { break-inside: auto !important; }", "divided"),
        (".legend { break-after: auto !important; }", "parted"),
        ("td small { font-size: 14px !important; }", "larger"),
        (".caption { font-size: 6pt !important; }", "small"),
        ("main { min-width: 900px; }", "beyond"),
        ("* { print-color-adjust: economy !important; }", "economy"),
        ("details::details-content { content-visibility: hidden !important; }", "closed"),
    ],
)
def test_the_measures_notice_what_would_be_spoilt(
    comparison: Comparison, tmp_path: Path, change: str, what: str
) -> None:
    page = to_html(comparison).replace("</style>", f"{change}</style>")
    assert on_paper(page, tmp_path)[what] not in ([], 0)


@pytest.mark.slow
def test_a_dark_screen_prints_the_same_sheet(comparison: Comparison, tmp_path: Path) -> None:
    light, dark = (streams(printed(to_html(comparison), tmp_path, dark=dark)) for dark in (False, True))
    assert len(light) > 5
    assert light == dark


def test_links_lead_to_places_on_the_sheet(comparison: Comparison, tmp_path: Path) -> None:
    pdf = printed(to_html(comparison), tmp_path)
    said = b"\n".join([pdf, *streams(pdf)])
    assert b"/Dest" in said
    assert b"/URI" not in said
    assert b"file:" not in said
