import base64
import hashlib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fuseloom.comparison.result import Comparison, Entry, Interval, ModalitySummary
from fuseloom.errors import MissingExtraError
from fuseloom.report import to_html

MakeEntry = Callable[..., Entry]
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}
INLINE = {"wbr", "b", "code", "i"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}


class Page(HTMLParser):
    """Tags and text of a page; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute is given twice: {tag} {attrs}"
        self.tags.append((tag, dict(attrs)))
        self.text += "" if tag in INLINE else " "
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.text += "" if tag in INLINE else " "

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.text += data

    def words(self) -> str:
        return " ".join(self.text.replace("\u00a0", " ").split())

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_answers_from_top_to_bottom(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    order = [
        "Fusing pays",
        comparison.recommendation.sentence,
        "+0.061",
        "Leaderboard",
        "How far apart are they?",
        "What does a better score cost?",
        "Which modality does the model lean on?",
        "The data",
        "2 rows were set aside",
        "How it was measured",
        comparison.command,
    ]
    places = [said.index(part) for part in order]
    assert places == sorted(places)


def test_the_leaderboard_has_every_number(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    row = said[said.index("cross_attention+concat fusion") :]
    scores = "0.972 0.963 \u2013 0.980 0.976 0.967 \u2013 0.984"
    assert row.startswith(f"cross_attention+concat fusion nonlinear {scores} 187,000 4.2 s 0.41 ms n/a 0.003")


def test_roles_and_the_recommended_row_are_marked(comparison: Comparison) -> None:
    rows = [row["class"] for row in Page(to_html(comparison)).find("tr") if row.get("class")]
    board = [row for row in rows if row != "total"]
    assert board == ["fusion", "fusion chosen", "fusion", "baseline", "unimodal", "unimodal", "baseline"]
    assert Page(to_html(comparison)).words().count("★ recommended") == 1


def test_configuration_and_environment_are_shown(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "train.batch_size 64" in said
    assert "seeds [0, 1, 2, 3, 4]" in said
    assert "note null" in said
    assert "torch 2.15.0" in said


def test_nothing_is_loaded_from_anywhere(comparison: Comparison) -> None:
    page = to_html(comparison)
    found = Page(page)
    loading = [
        (name, value)
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name in LOADING and value != "data:,"
    ]
    assert loading == []
    assert not re.search(r"url\(|@import|https?:|//[a-z]", page.split("<body>")[0] + "".join(found.scripts))
    assert len(page) < 100_000


def test_only_the_own_script_may_run(comparison: Comparison) -> None:
    page = Page(to_html(comparison))
    (policy,) = (meta["content"] for meta in page.find("meta") if "http-equiv" in meta)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;größe"


def hostile(comparison: Comparison) -> Comparison:
    """The same comparison with markup in every text."""
    data = replace(
        comparison.data,
        name=HOSTILE,
        target=HOSTILE,
        modalities=(ModalitySummary(name=HOSTILE, kind=HOSTILE, shape=HOSTILE, missing=1),),
        rows={**comparison.data.rows, HOSTILE: 1},
        set_aside=((HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
    )
    best = replace(comparison.recommendation, name=HOSTILE, sentence=HOSTILE, best_fusion=HOSTILE)
    entries = (replace(comparison.entries[0], name=HOSTILE), *comparison.entries[1:])
    reliance = tuple(
        replace(r, model=HOSTILE, metric=HOSTILE, hidden={HOSTILE: 0.1}, shuffled={HOSTILE: 0.2})
        for r in comparison.reliance
    )
    return replace(
        comparison,
        data=data,
        metric=HOSTILE,
        entries=entries,
        recommendation=replace(best, best_unimodal=HOSTILE),
        reliance=reliance,
        command=HOSTILE,
        config={HOSTILE: HOSTILE, "list": [HOSTILE]},
        environment={HOSTILE: HOSTILE},
    )


def test_markup_in_a_name_is_text(comparison: Comparison) -> None:
    plain, odd = Page(to_html(comparison)), Page(to_html(hostile(comparison)))
    assert len(odd.scripts) == 1
    assert odd.find("img") == []
    assert not any(name.startswith("on") for _, attributes in odd.tags for name in attributes)
    assert {tag for tag, _ in odd.tags} == {tag for tag, _ in plain.tags}
    assert odd.words().count(HOSTILE) > 20


def test_characters_that_garble_a_page_are_replaced(comparison: Comparison) -> None:
    page = to_html(replace(comparison, command="a\x00b\u202ec\udce9d"))
    assert "a\ufffdb\ufffdc\ufffdd" in page
    assert page.encode("utf-8")


def test_one_seed_shows_no_interval_of_scores(comparison: Comparison) -> None:
    entries = tuple(
        replace(entry, test=Interval(mean=entry.test.mean), valid=Interval(mean=0.5), test_by_run=(0.5,))
        for entry in comparison.entries
    )
    page = Page(to_html(replace(comparison, seeds=1, entries=entries)))
    said = page.words()
    assert "once (one seed)" in said
    assert "No interval from one run" in said
    assert "Student" not in said
    assert page.find("small") == []


def test_folds_are_said_wherever_they_matter(comparison: Comparison) -> None:
    said = Page(to_html(replace(comparison, data=replace(comparison.data, folds=4)))).words()
    assert "on each of 4 folds, different splits of the same rows" in said
    assert "95 % interval over 4 folds" in said
    assert "on the test rows of 4 folds" in said
    assert "in the first of 4 folds" in said
    assert "A row that is tested in one fold validates in another" in said
    assert "seed" in said
    assert "never used to choose anything" not in said


def test_without_an_interval_of_the_gain_none_is_claimed(comparison: Comparison) -> None:
    best = replace(comparison.recommendation, gain=Interval(mean=-0.02))
    said = Page(to_html(replace(comparison, recommendation=best))).words()
    assert "-0.020" in said
    assert "bootstrap" not in said


def test_regression_reads_the_other_way_round(comparison: Comparison) -> None:
    best = replace(comparison.recommendation, verdict="these data cannot tell")
    board = replace(comparison, task="regression", metric="rmse", higher_is_better=False, recommendation=best)
    said = Page(to_html(board)).words()
    assert "The rmse is better the lower it is" in said
    assert "These data cannot tell" in said
    assert "test rmse (← better)" in said


def test_a_long_list_of_rows_is_cut_but_counted(comparison: Comparison) -> None:
    rows = tuple((f"big.csv:{index}", "broken") for index in range(1234))
    page = to_html(replace(comparison, data=replace(comparison.data, set_aside=rows)))
    assert "1,234 rows were set aside" in page
    assert page.count(">broken<") == 50
    assert "all 1,234 are in" in page


def test_nothing_set_aside_is_said(comparison: Comparison) -> None:
    page = to_html(replace(comparison, data=replace(comparison.data, set_aside=(), notes=())))
    assert "none was set aside" in page
    assert "What was inferred" not in page


def test_a_recommendation_outside_the_leaderboard_and_no_reliance_can_be_shown(
    comparison: Comparison,
) -> None:
    best = replace(comparison.recommendation, name="elsewhere")
    said = Page(to_html(replace(comparison, recommendation=best, reliance=()))).words()
    assert "★ recommended" not in said
    assert "lean on" not in said
    assert "What it costs" not in said


def test_forty_models_of_six_modalities_with_gaps(comparison: Comparison, make_entry: MakeEntry) -> None:
    modalities = tuple(f"modality_{k}" for k in range(6))
    entries = tuple(
        make_entry(
            f"{'a_very_long_name_of_a_fusion_' * (k % 4)}{k}",
            [0.5 + k / 100, 0.51 + k / 100],
            modalities=modalities,
            memory_mb=None if k % 2 else math.nan,
            train_s=math.nan if k == 3 else 5.0 * k,
            learning_rate=None if k % 5 == 0 else 1e-4,
        )
        for k in range(40)
    )
    page = Page(to_html(replace(comparison, entries=entries)))
    board = [row for row in page.find("tr") if (row.get("class") or "").startswith("fusion")]
    assert len(board) == 40
    assert "nan" not in page.words().split()


def test_the_page_can_be_read_without_eyes(comparison: Comparison) -> None:
    page = Page(to_html(comparison))
    assert page.find("html") == [{"lang": "en"}]
    assert all(head.get("scope") in {"row", "col"} for head in page.find("th"))
    for plot in page.find("svg"):
        assert (plot.get("role") == "img" and plot.get("aria-label")) or plot.get("aria-hidden") == "true"
    named = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    pointed = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert pointed == named
    assert "digits: which fusion?" in page.words()


def test_without_jinja2_the_install_command_is_named(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        to_html(comparison)
