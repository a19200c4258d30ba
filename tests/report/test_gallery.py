"""Rows with what they look like: every kind is drawn, read aloud, escaped, and fits the page."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.comparison.result import Comparison
from fuseloom.data.dataset import Audio, Series, Table, Text
from fuseloom.data.exhibit import Exhibit, exhibit
from fuseloom.data.media import Sound
from fuseloom.data.thumbnail import data_uri
from fuseloom.diagnose.complementarity import Complementarity, Sample
from fuseloom.report import from_json, to_diagnosis_html, to_html, to_json
from fuseloom.report.gallery import Answer, Shelf, disagreement_gallery, sample_gallery

CHROMIUM = shutil.which("chromium")
CLASSES = ("one", "two", "seven")
MARKUP = "<script>document.title = 'taken'</script>"


def every_kind() -> dict[str, Exhibit]:
    """One of each, whole or not, with markup wherever data hold words."""
    generator = np.random.default_rng(0)
    columns = {
        MARKUP: np.array([1.5]),
        **{f"a column of a long name {k}": np.array([k / 3]) for k in range(9)},
    }
    sound = Sound(samples=generator.normal(0, 0.2, 4000).astype(np.float32), rate=8000)
    steps = np.cumsum(generator.normal(size=(1, 300, 6)), axis=1).astype(np.float32)
    steps[0, 100:140, 1] = np.nan
    tiny = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    return {
        "photo": Exhibit(
            kind="image", state="shown", words="8 x 8 pixels", picture=data_uri(tiny), width=8, height=8
        ),
        "wide": Exhibit(
            kind="image",
            state="shown",
            words="4,000 x 10 pixels",
            picture=data_uri(np.zeros((1, 96), np.uint8)),
            width=96,
            height=1,
        ),
        "voice": exhibit(Audio(items=np.array([sound], dtype=object)), 0),
        "caption": exhibit(Text(values=np.array([f"{MARKUP} 🎉 שלום " + "long" * 90], dtype=object)), 0),
        "sheet": exhibit(Table(numbers={MARKUP: np.ones(1), **columns}, categories={}), 0),
        "sensor": exhibit(Series(values=steps, mask=np.ones((1, 300), bool)), 0),
        "gone": Exhibit(kind="image", state="unreadable", words=f"{MARKUP}.png: no such file"),
        "none": Exhibit(kind="audio", state="missing", words="absent"),
    }


def with_every_kind(diagnosis: Diagnosis) -> Diagnosis:
    one = rows_of(diagnosis)
    first = replace(one.samples[0], row=MARKUP, inputs=every_kind(), alone={"photo": 0.0, "caption": 1.0})
    return replace(diagnosis, complementarity=replace(one, samples=(first, *one.samples[1:])))


def rows_of(diagnosis: Diagnosis) -> Complementarity:
    assert diagnosis.complementarity is not None
    return diagnosis.complementarity


def shelves(one: Complementarity, decimals: int = 3, classes: tuple[str, ...] = CLASSES) -> tuple[Shelf, ...]:
    found = sample_gallery(one, decimals, classes)
    assert found is not None
    return found.shelves


def of_kind(one: Complementarity, kind: str, count: int) -> Complementarity:
    """The first sample so many times, as of a kind."""
    samples = tuple(
        replace(one.samples[0], row=f"r{place}", kind=kind, place=place) for place in range(count)
    )
    return replace(one, samples=samples)


def test_rows_stand_by_what_fusing_does_to_them_with_how_many_there_are(diagnosis: Diagnosis) -> None:
    rescued, harmed = shelves(rows_of(diagnosis))
    assert rescued.title == "Fusing rescues"
    assert rescued.saying == (
        "7 rows on which every modality alone is wrong and the fusion is right. "
        "The one with the largest margin is shown."
    )
    assert harmed.saying.startswith(
        "8 rows on which one modality alone is right, another is not, and the fusion is wrong."
    )
    (card,) = rescued.cards
    assert (card.row, card.target, card.model) == ("row 12", "seven", "low_rank")
    assert [(look.name, look.answer) for look in card.looks] == [
        ("top", Answer(said="one", right=False)),
        ("bottom", Answer(said="two", right=False)),
    ]
    assert card.fused == Answer(said="seven", right=True)
    assert card.note == "It gives the true class 0.61 more probability than the best modality alone does."
    assert harmed.cards[0].note.startswith("It gives the true class 0.30 less probability")
    assert harmed.cards[0].looks[1].answer is None  # the row lacks it


def test_all_that_are_shown_are_not_called_some(diagnosis: Diagnosis) -> None:
    one = rows_of(diagnosis)
    (shelf,) = shelves(of_kind(one, "spoiled", 1))
    assert shelf.title == "Fusing spoils"
    assert shelf.saying == "1 row on which every modality alone is right and the fusion is wrong."
    (shelf,) = shelves(of_kind(one, "rescued", 6))
    assert shelf.saying.endswith("The 6 with the largest margins are shown.")


def test_a_row_that_shows_nothing_is_not_there(diagnosis: Diagnosis) -> None:
    bare = replace(rows_of(diagnosis), samples=(replace(rows_of(diagnosis).samples[0], inputs={}),))
    assert sample_gallery(bare, 3, CLASSES) is None
    page = to_diagnosis_html(replace(diagnosis, complementarity=bare))
    assert 'class="gallery"' not in page
    assert "The rows on which fusing helps or harms most" in page


def test_numbers_are_nearer_or_farther_and_never_right(diagnosis: Diagnosis) -> None:
    one = replace(rows_of(diagnosis), measure="mean absolute error")
    rescued, harmed = shelves(one, 1, ())
    assert "nearer to the truth than every modality alone" in rescued.saying
    assert rescued.cards[0].note == "It is 0.6 nearer to the truth than the best modality alone is."
    assert harmed.cards[0].note == "It is 0.3 farther from the truth than the best modality alone is."
    assert rescued.cards[0].fused == Answer(said="2.0", right=None)


def test_a_close_call_says_which_side_it_is_on(diagnosis: Diagnosis) -> None:
    first: Sample = replace(rows_of(diagnosis).samples[0], margin=-0.05)
    (shelf,) = shelves(replace(rows_of(diagnosis), samples=(first,)))
    assert "0.05 less probability" in shelf.cards[0].note


def test_small_pictures_are_enlarged_by_whole_numbers(diagnosis: Diagnosis) -> None:
    page = to_diagnosis_html(with_every_kind(diagnosis))
    pictures = {name: tag for tag, name in re.findall(r'(<img[^>]*alt="(\w+):[^>]*>)', page)}
    assert 'class="enlarged"' in pictures["photo"]
    assert 'width="96" height="96"' in pictures["photo"]
    assert 'width="96" height="1"' in pictures["wide"]
    assert "enlarged" not in pictures["wide"]
    assert 'class="timed"' in pictures["voice"]


def test_every_kind_is_shown_and_told(diagnosis: Diagnosis) -> None:
    page = to_diagnosis_html(with_every_kind(diagnosis))
    for name, shown in every_kind().items():
        assert f'<p class="of">{name}</p>' in page
        assert html.escape(shown.words, quote=False).replace("'", "&#39;") in page
    assert page.count("<polyline points") >= 5  # four channels, one with a gap
    assert "alone says <b" in page
    assert "Of a sound, time runs to the right" in page
    assert "Of numbers, darker is larger" in page


def test_what_data_say_is_text_and_never_markup(diagnosis: Diagnosis, comparison: Comparison) -> None:
    page = to_diagnosis_html(with_every_kind(diagnosis))
    assert "<script" not in page
    assert page.count("&lt;script&gt;document.") >= 5
    found = comparison.findings
    odd = replace(found.disagreements[0], row=MARKUP, target=MARKUP, inputs=every_kind())
    whole = to_html(replace(comparison, findings=replace(found, disagreements=(odd,))))
    assert whole.count("<script") == 1  # our own


def test_pictures_are_in_the_page_and_nothing_else_is_asked_for(comparison: Comparison) -> None:
    page = to_html(comparison)
    sources = re.findall(r'\bsrc="([^"]*)"', page)
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "img-src data:;" in page


def test_disagreements_show_their_inputs_and_say_how_sure(comparison: Comparison) -> None:
    found = disagreement_gallery(comparison.findings.disagreements)
    assert found is not None
    (card,) = found.shelves[0].cards
    assert card.looks[0].answer == Answer(said="one", right=False, sure="85 % sure")
    assert card.looks[1].answer == Answer(said="seven", right=True, sure="97 % sure")
    assert card.fused.right
    assert card.note == ""
    page = to_html(comparison)
    section = page[page.index('<h2 id="disagreements">') :]
    assert (
        section.index('class="gallery"') < section.index("As a table") < section.index("cards disagreements")
    )


def test_without_inputs_disagreements_are_the_table_alone(comparison: Comparison) -> None:
    bare = tuple(replace(one, inputs={}) for one in comparison.findings.disagreements)
    assert disagreement_gallery(bare) is None
    page = to_html(replace(comparison, findings=replace(comparison.findings, disagreements=bare)))
    assert "As a table" not in page
    assert 'class="cards disagreements"' in page


def test_exhibits_survive_json(comparison: Comparison) -> None:
    found = comparison.findings
    odd = replace(found.disagreements[0], inputs=every_kind())
    whole = replace(comparison, findings=replace(found, disagreements=(odd,)))
    assert from_json(to_json(whole)) == whole


DRAWN = """
window.addEventListener("load", () => {
  const boxes = (selector) => Array.from(document.querySelectorAll(selector), (one) => {
    const { width, height } = one.getBoundingClientRect();
    return [Math.round(width), Math.round(height), one.naturalWidth ?? 0];
  });
  document.title = JSON.stringify({
    pictures: boxes(".look img"),
    sparks: boxes(".spark"),
    lines: Array.from(document.querySelectorAll(".spark polyline"), (one) => getComputedStyle(one).stroke),
    taken: document.title,
  });
});
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_a_browser_draws_them_and_runs_nothing(diagnosis: Diagnosis, tmp_path: Path) -> None:
    page = to_diagnosis_html(with_every_kind(diagnosis))
    # The policy is taken out, so that escaping alone has to hold.
    shown = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"<script>{DRAWN}</script></body>")
    (tmp_path / "page.html").write_text(shown, encoding="utf-8")
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *options, profile, "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    seen = json.loads(html.unescape(title[1]))
    assert "taken" not in seen["taken"]
    assert len(seen["pictures"]) == 4
    assert all(natural > 0 for _, _, natural in seen["pictures"])
    assert min(min(wide, high) for wide, high, _ in seen["pictures"]) >= 4
    assert [high for _, high, _ in seen["sparks"]] == [72]
    assert len(set(seen["lines"])) == 4
