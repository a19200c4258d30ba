"""The page in a real browser: no complaint, nothing asked of the network, columns that sort."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.comparison.result import Comparison
from fuseloom.diagnose.interaction_regression import interaction_regression
from fuseloom.metrics.interval import Interval
from fuseloom.report import to_diagnosis_html, to_html
from fuseloom.types import Batch

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
    (folder / "page.html").write_text(page, encoding="utf-8")
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
            (folder / "page.html").as_uri(),
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


# A window of this browser is at least 500 pixels wide; a frame in it may be as narrow as a telephone.
FRAME = """<!doctype html><title></title><body style="margin: 0">
<iframe src="report.html" style="border: 0; width: {width}px; height: 900px"></iframe>
<script>window.addEventListener("message", (event) => {{ document.title = event.data; }});</script>"""

MEASURE = """
window.addEventListener("load", () => {
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = { texts: 0, plots: 0, small: [], faint: [], beyond: [] };
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const style = getComputedStyle(element);
    const hidden = !element.getClientRects().length || style.visibility === "hidden"
      || style.clipPath !== "none"
      || element.closest("thead") && getComputedStyle(element.closest("thead")).clipPath !== "none"
      || ["SCRIPT", "STYLE", "title"].includes(element.tagName);
    if (hidden || !node.data.trim()) continue;
    const plot = element.closest("svg.plot");
    const scale = plot ? plot.getBoundingClientRect().width / plot.viewBox.baseVal.width : 1;
    const size = parseFloat(style.fontSize) * scale;
    const what = `${node.data.trim().slice(0, 40)} in ${element.tagName}.${element.getAttribute("class")}`;
    const band = plot && element.parentElement.querySelector(":scope > rect.band");
    const back = band ? rgba(getComputedStyle(band).fill) : behind(plot ?? element);
    const ratio = contrast(rgba(plot ? style.fill : style.color), back);
    const box = element.getBoundingClientRect();
    const edge = (plot ?? document.documentElement).getBoundingClientRect();
    seen.texts += 1;
    seen.plots += plot ? 1 : 0;
    if (size < 14) seen.small.push(`${what}: ${size.toFixed(1)}px`);
    if (ratio < 4.5) seen.faint.push(`${what}: ${ratio.toFixed(2)}`);
    if (plot && (box.left < edge.left - 1 || box.right > edge.right + 1)) seen.beyond.push(what);
  }
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.width = window.innerWidth;
  seen.dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  seen.page = getComputedStyle(document.body).backgroundColor;
  seen.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  parent.postMessage(JSON.stringify(seen), "*");
});
"""


def measure(page: str, folder: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """What the page looks like in a frame of some width; the browser prefers dark or light."""
    (folder / "report.html").write_text(open_to(page, MEASURE), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    size = f"--window-size={max(500, width)},900"
    shown = browse(FRAME.format(width=width), folder, scheme, size)
    assert complaints(shown.stderr) == []
    seen: dict[str, Any] = json.loads(title(shown))
    return seen


SLOW = pytest.mark.slow


@pytest.fixture(
    params=["comparison", pytest.param("numbers", marks=SLOW), pytest.param("crowded", marks=SLOW)]
)
def page(request: pytest.FixtureRequest, comparison: Comparison) -> str:
    if request.param == "crowded":
        return to_html(crowded(comparison))
    return to_html(request.getfixturevalue(request.param))


def crowded(comparison: Comparison) -> Comparison:
    """Long names, many rows set aside, and subsets of three modalities."""
    found = comparison.findings
    names = ("a_modality_with_a_long_name", "another_modality_of_long_name", "c")
    subsets = tuple(
        replace(found.subsets[0].scores[1], modalities=names[:k], score=Interval(mean=0.97 - 0.2 / k))
        for k in (3, 2, 1)
    )
    classes = tuple(f"quite a long class {k}" for k in range(12))
    counts = tuple(tuple(100 if i == j else (7 * i + j) % 5 * 10 for j in range(12)) for i in range(12))
    return replace(
        comparison,
        data=replace(
            comparison.data, set_aside=tuple((f"rows/{k}/x.csv:{k}", "a reason " * 9) for k in range(60))
        ),
        findings=replace(
            found,
            subsets=(replace(found.subsets[0], scores=subsets),),
            confusion=(replace(found.confusion[0], classes=classes, counts=counts),),
        ),
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, pytest.param(768, marks=SLOW), 1280])
def test_all_text_can_be_read_and_nothing_scrolls_sideways(
    page: str, tmp_path: Path, width: int, dark: bool
) -> None:
    seen = measure(page, tmp_path, width, dark=dark)
    assert (seen["width"], seen["dark"]) == (width, dark)
    assert seen["texts"] > 300
    assert seen["plots"] > 50
    assert seen["wide"] <= 0
    assert seen["small"] == []
    assert seen["faint"] == []
    assert seen["beyond"] == []
    assert seen["requests"] == []


def of_long_names(diagnosis: Diagnosis) -> Diagnosis:
    """Its curves and its information with names as long as they come."""
    assert diagnosis.robustness is not None
    names = ("a_modality_with_a_very_long_name_indeed", "another_modality_with_a_long_name")
    curves = tuple(
        replace(one, modalities=names, corruption="x " * 30) for one in diagnosis.robustness.curves
    )
    data = diagnosis.pid[0].data
    unique = dict(zip(names, data.unique.values(), strict=True))
    pid = replace(diagnosis.pid[0], sources=names, data=replace(data, unique=unique), model=None)
    values = torch.randn(2, 60, generator=torch.Generator().manual_seed(0)).double() * 1e6
    rows = Batch(inputs=dict(zip(names, values, strict=True)), target=values.prod(0) + values[0])
    quality = tuple(
        replace(one, modality=name, correlations={layer * 20: one.correlations[layer]})
        for name, one in zip(names, diagnosis.attention_quality, strict=True)
        for layer in one.correlations
    )
    return replace(
        diagnosis,
        model="model_" * 20,
        metric="a metric of quite a long name",
        modalities=names,
        pid=(pid,),
        interaction_regression=interaction_regression(rows, target="a target of quite a long name " * 3),
        attention_quality=quality,
        robustness=replace(diagnosis.robustness, curves=curves),
        not_told={"attention": "reason " * 30},
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=SLOW)])
@pytest.mark.parametrize("long", [False, pytest.param(True, marks=SLOW)], ids=["short", "long"])
def test_the_page_of_a_diagnosis_can_be_read(
    diagnosis: Diagnosis, tmp_path: Path, width: int, dark: bool, long: bool
) -> None:
    shown = of_long_names(diagnosis) if long else diagnosis
    seen = measure(to_diagnosis_html(shown), tmp_path, width, dark=dark)
    assert (seen["width"], seen["dark"]) == (width, dark)
    assert seen["texts"] > 200
    assert seen["plots"] > 50
    assert seen["wide"] <= 0
    assert [seen[what] for what in ("small", "faint", "beyond", "requests")] == [[], [], [], []]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("main p { font-size: 13px; }", "small"),
        (".plot text { font-size: 12px !important; }", "small"),
        (".plot text.tick { fill: #999; }", "faint"),
        ("td { color: #888; }", "faint"),
        (".plot text.name { font-size: 60px; }", "beyond"),
        ("main { min-width: 900px; }", "wide"),
    ],
)
def test_the_measures_notice_what_cannot_be_read(
    comparison: Comparison, tmp_path: Path, change: str, what: str
) -> None:
    page = to_html(comparison).replace("</style>", f"{change}</style>")
    assert measure(page, tmp_path, 390, dark=False)[what] not in ([], 0)


def test_dark_and_light_are_two_pages(comparison: Comparison, tmp_path: Path) -> None:
    page = to_html(comparison)
    light, dark = (measure(page, tmp_path, 500, dark=dark)["page"] for dark in (False, True))
    assert light != dark


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
