"""The page in a real browser: no complaint, nothing asked of the network, columns that sort."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fuseloom.comparison.result import Comparison
from fuseloom.report import to_html

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

REQUESTS = """
window.addEventListener("load", () => {
  document.title = JSON.stringify(performance.getEntriesByType("resource").map((entry) => entry.name));
});
"""
CLICKS = """
window.addEventListener("load", () => {
  const names = () => Array.from(document.querySelectorAll(".sortable .model"), (e) => e.textContent);
  const button = (index) => document.querySelectorAll(".sortable thead button")[index];
  const seen = { start: names() };
  button(4).click();
  seen.parameters = names();
  button(4).click();
  seen.reversed = names();
  button(7).click();
  seen.memory = names();
  button(0).click();
  seen.name = names();
  seen.sorted = document.querySelectorAll("th[aria-sort]").length;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.title = JSON.stringify({ ...seen, wide });
});
"""


def browse(page: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    (folder / "report.html").write_text(page, encoding="utf-8")
    quiet = ["--disable-background-networking", "--disable-sync", "--no-first-run", "--disable-gpu"]
    # Whatever the browser wants for itself stays on this machine too.
    alone = ["--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"]
    return subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            *quiet,
            *alone,
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            *options,
            "--dump-dom",
            (folder / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def complaints(log: str) -> list[str]:
    return [line for line in log.splitlines() if "CONSOLE" in line]


def open_to(page: str, script: str) -> str:
    """The page with its policy taken out and a script added."""
    return re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"<script>{script}</script></body>")


def title(shown: subprocess.CompletedProcess[str]) -> str:
    found = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert found is not None
    return html.unescape(found[1])


def test_it_renders_without_complaint(comparison: Comparison, tmp_path: Path) -> None:
    shown = browse(to_html(comparison), tmp_path)
    assert complaints(shown.stderr) == []
    assert comparison.recommendation.sentence in shown.stdout
    assert shown.stdout.count('<button type="button">') == 9


@pytest.mark.parametrize(
    "asks",
    ["", '<img src="http://localhost:9/x.png">', '<link rel="stylesheet" href="http://localhost:9/x.css">'],
)
def test_it_asks_for_nothing_and_the_check_would_notice(
    comparison: Comparison, tmp_path: Path, asks: str
) -> None:
    page = to_html(comparison).replace("</main>", f"{asks}</main>")
    requested = json.loads(title(browse(open_to(page, REQUESTS), tmp_path)))
    assert [url.rsplit("/", 1)[1] for url in requested] == re.findall(r"x\.\w+", asks)


def test_a_script_in_a_name_never_runs(comparison: Comparison, tmp_path: Path) -> None:
    name = "<script>document.title = 'taken'</script>"
    odd = replace(comparison, data=replace(comparison.data, name=name), command=name)
    # The policy is taken out, so that escaping alone has to hold.
    shown = browse(open_to(to_html(odd), ""), tmp_path)
    assert title(shown) == f"{name}: which fusion? \u2013 fuseloom"
    assert complaints(shown.stderr) == []


def test_the_policy_stops_a_script_that_is_not_ours(comparison: Comparison, tmp_path: Path) -> None:
    page = to_html(comparison).replace("</body>", "<script>document.title = 'taken'</script></body>")
    shown = browse(page, tmp_path)
    assert title(shown) != "taken"
    assert len(complaints(shown.stderr)) == 1


@pytest.mark.parametrize("size", ["1200,900", "500,900"])
def test_columns_sort_and_the_page_is_no_wider_than_the_window(
    comparison: Comparison, tmp_path: Path, size: str
) -> None:
    entries = (replace(comparison.entries[0], memory_mb=3.0), *comparison.entries[1:])
    page = open_to(to_html(replace(comparison, entries=entries)), CLICKS)
    seen = json.loads(title(browse(page, tmp_path, f"--window-size={size}")))
    by_parameters = [e.name for e in sorted(entries, key=lambda e: e.parameters)]
    assert seen["start"] == [entry.name for entry in entries]
    assert seen["parameters"] == by_parameters
    assert [e for e in seen["reversed"] if e not in {"top", "bottom"}] == [
        e for e in by_parameters[::-1] if e not in {"top", "bottom"}
    ]
    assert seen["memory"][0] == "low_rank"
    assert set(seen["memory"][-3:]) == {e.name for e in entries if e.memory_mb is None}
    assert seen["name"] == sorted(seen["name"])
    assert seen["sorted"] == 1
    assert seen["wide"] <= 0
