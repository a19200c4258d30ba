import base64
import hashlib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.comparison.findings import Findings
from fuseloom.comparison.result import Comparison, Entry, ModalitySummary
from fuseloom.errors import MissingExtraError
from fuseloom.metrics.interval import Interval
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
    said = said[said.index("Recommendation") :]
    order = [
        "Fusing pays",
        comparison.recommendation.sentence,
        "+0.061",
        "Leaderboard",
        "How far apart are they?",
        "Which are as good as the best?",
        "What does a better score cost?",
        "Which modality does the model lean on?",
        "How good is it without some modalities?",
        "Did training go well?",
        "What is taken for what?",
        "Can its probabilities be believed?",
        "Where the modalities disagree",
        "Do the modalities interact?",
        "The model uses interactions between top and bottom",
        "Together top and bottom tell 2.920 of the 3.321 bits",
        "Where does it look?",
        "Do the modalities share a space?",
        "What would break it?",
        "Where does fusing help, where does it harm?",
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
        if name in LOADING
        and not (value or "").startswith(("data:,", "data:image/png;base64,"))
        and not (name == "href" and (value or "").startswith("#"))
    ]
    assert loading == []
    assert not re.search(r"url\(|@import|https?:|//[a-z]", page.split("<body>")[0] + "".join(found.scripts))
    assert len(page) < 200_000


def test_only_the_own_script_may_run(comparison: Comparison) -> None:
    page = Page(to_html(comparison))
    (policy,) = (meta["content"] for meta in page.find("meta") if "http-equiv" in meta)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;größe"


def hostile_diagnosis(found: Diagnosis) -> Diagnosis:
    rows, curves, space = found.complementarity, found.robustness, found.shared_space[0]
    assert rows is not None
    assert curves is not None
    samples = tuple(replace(one, row=HOSTILE, alone={HOSTILE: 1.0}) for one in rows.samples)
    return replace(
        found,
        model=HOSTILE,
        modalities=(HOSTILE,),
        complementarity=replace(rows, alone={HOSTILE: Interval(mean=0.5)}, samples=samples),
        robustness=replace(
            curves,
            metric=HOSTILE,
            curves=tuple(replace(one, modalities=(HOSTILE,), corruption=HOSTILE) for one in curves.curves),
        ),
        shared_space=(replace(space, layer=HOSTILE, modalities=(HOSTILE, HOSTILE)),),
        not_told={"interaction_orders": HOSTILE},
    )


def hostile_findings(found: Findings) -> Findings:
    guess = replace(found.disagreements[0].fused, model=HOSTILE, prediction=HOSTILE)
    row = replace(found.disagreements[0], row=HOSTILE, target=HOSTILE, alone=(guess, guess), fused=guess)
    pair = replace(found.health.duplicates[0], row=HOSTILE, other=HOSTILE, split=HOSTILE)
    scores = tuple(replace(one, modalities=(HOSTILE, HOSTILE)) for one in found.subsets[0].scores)
    confused = tuple(replace(one, true=HOSTILE, predicted=HOSTILE) for one in found.confusion[0].pairs)
    return replace(
        found,
        subsets=tuple(replace(one, model=HOSTILE, metric=HOSTILE, scores=scores) for one in found.subsets),
        curves=tuple(replace(one, model=HOSTILE) for one in found.curves),
        calibration=tuple(replace(one, model=HOSTILE) for one in found.calibration),
        confusion=tuple(
            replace(one, model=HOSTILE, classes=(HOSTILE,) * 3, pairs=confused) for one in found.confusion
        ),
        disagreements=(row,),
        diagnosis=tuple(map(hostile_diagnosis, found.diagnosis)),
        health=replace(
            found.health,
            balance={HOSTILE: {"train": 1}},
            missing={HOSTILE: {"train": 1}},
            constant={HOSTILE: (HOSTILE,)},
            duplicates=(pair,) * 3,
        ),
    )


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
        replace(r, model=HOSTILE, metric=HOSTILE, hidden={HOSTILE: Interval(mean=0.1)}, shuffled={}, noise={})
        for r in comparison.reliance
    )
    return replace(
        comparison,
        data=data,
        findings=hostile_findings(comparison.findings),
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
    assert [one["src"] for one in odd.find("img")] == [one["src"] for one in plain.find("img")]
    assert not any(name.startswith("on") for _, attributes in odd.tags for name in attributes)
    assert {tag for tag, _ in odd.tags} == {tag for tag, _ in plain.tags}
    assert odd.words().count(HOSTILE) > 20


def test_characters_that_garble_a_page_are_replaced(comparison: Comparison) -> None:
    page = to_html(replace(comparison, command="a\x00b\u202ec\udce9d"))
    assert "a\ufffdb\ufffdc\ufffdd" in page
    assert page.encode("utf-8")


def test_scores_without_an_interval_claim_none(comparison: Comparison) -> None:
    entries = tuple(
        replace(entry, test=Interval(mean=entry.test.mean), valid=Interval(mean=0.5), test_by_run=(0.5,))
        for entry in comparison.entries
    )
    page = Page(to_html(replace(comparison, seeds=1, entries=entries)))
    said = page.words()
    assert "once (one seed)" in said
    assert "repeat with several seeds for that" in said
    board = said[said.index("low_rank fusion") : said.index("Interaction: the most")]
    assert not re.search(r"\d \u2013 \d", board)
    tile = said[said.index("Its test accuracy") : said.index("Best fusion over")]
    assert "interval" not in tile


def test_folds_are_said_wherever_they_matter(comparison: Comparison) -> None:
    said = Page(to_html(replace(comparison, data=replace(comparison.data, folds=4)))).words()
    assert "on each of 4 folds, different splits of the same rows" in said
    assert "trained on each of 4 folds" in said
    assert "in the first of 4 folds" in said
    assert "its best run of the first fold" in said
    assert "a row that is tested in one may validate in another" in said
    assert "seed" in said
    assert "never used to choose anything" not in said


def test_without_an_interval_of_the_gain_none_is_claimed(comparison: Comparison) -> None:
    best = replace(comparison.recommendation, gain=Interval(mean=-0.02))
    said = Page(to_html(replace(comparison, recommendation=best))).words()
    assert "-0.020" in said
    assert "Its 95 % interval" not in said


def test_regression_reads_the_other_way_round(comparison: Comparison) -> None:
    best = replace(comparison.recommendation, verdict="these data cannot tell")
    board = replace(comparison, task="regression", metric="rmse", higher_is_better=False, recommendation=best)
    said = Page(to_html(board)).words()
    assert "The rmse is better the lower it is" in said
    assert "These data cannot tell" in said
    assert "test rmse (← better)" in said


def test_set_aside_rows_are_shown_page_by_page_in_full(comparison: Comparison) -> None:
    rows = tuple((f"big.csv:{index}", f"broken in way {index}") for index in range(1, 121))
    page = Page(to_html(replace(comparison, data=replace(comparison.data, set_aside=rows))))
    said = page.words()
    assert "120 rows were set aside" in said
    for first, last in ((1, 50), (51, 100), (101, 120)):
        assert f"Rows {first} to {last}" in said
    assert "big.csv 77 broken in way 77 big.csv 78" in said
    assert sum("open" in one for one in page.find("details")) == 1
    assert "report.json ." not in said


def test_more_rows_than_a_page_can_hold_are_counted(comparison: Comparison) -> None:
    rows = tuple((f"big.csv:{index}", "broken") for index in range(1234))
    page = to_html(replace(comparison, data=replace(comparison.data, set_aside=rows)))
    assert "1,234 rows were set aside" in page
    assert page.count(">broken<") == 1000
    assert "The first 1,000 are shown; all 1,234 are in" in page


def test_a_place_without_a_row_is_all_file(comparison: Comparison) -> None:
    data = replace(comparison.data, set_aside=(("images/a:b.png", "no picture"),))
    page = to_html(replace(comparison, data=data))
    assert '<tr><th scope="row">images/a:b.png</th><td data-label="Row"><span></span></td>' in page


def test_subsets_are_shown_with_their_intervals_and_what_was_trained_alone(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "top 0.800 +0.175 +0.120 to +0.210 0.881" in said
    assert "top + bottom 0.975 +0.000 \u2013" in said


def test_confusion_has_counts_and_shades_rows_by_their_share(comparison: Comparison) -> None:
    page = Page(to_html(comparison))
    assert "one 110 \u00b7 10 two 3 117 \u00b7 seven 7 1 112" in page.words()
    cells = [cell for cell in page.find("td") if "--share" in (cell.get("style") or "")]
    shares = [float(str(cell["style"]).split(":")[1].rstrip("% ")) for cell in cells[:3]]
    assert shares == pytest.approx([45 * 110 / 120, 0, 45 * 10 / 120], abs=0.06)
    assert ["right" in str(cell["class"]).split() for cell in cells[:9]] == [
        True,
        False,
        False,
        False,
    ] * 2 + [True]
    assert "one seven 10 8.3 %" in page.words()


def test_of_too_many_classes_the_pairs_alone_are_shown(comparison: Comparison) -> None:
    found = comparison.findings
    many = replace(found.confusion[0], classes=tuple(map(str, range(1000))), counts=())
    said = Page(to_html(replace(comparison, findings=replace(found, confusion=(many,))))).words()
    assert "There are 1,000 classes, too many for a table" in said
    assert "one seven 10 8.3 %" in said
    none = replace(comparison.findings.confusion[0], pairs=())
    said = Page(to_html(replace(comparison, findings=replace(found, confusion=(none,))))).words()
    assert "No test row is taken for another class" in said


def test_calibration_says_before_and_after(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "Temperature 1.73" in said
    assert "Calibration error (ECE) 0.094 0.012" in said
    assert "bins of equal mass 0.087 0.013" in said
    assert "Log-loss 0.412 0.357" in said


def test_rows_of_which_modalities_disagree_are_shown(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "row 1627 seven one 85 % sure seven \u2713 97 % sure seven \u2713 99 % sure" in said


def test_the_health_of_the_data_is_told(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "seven 383 33.3 % 96 33.3 % 120 33.3 %" in said
    assert "bottom 4 1 2" in said
    assert "3 rows stand in two splits" in said
    assert "row 7 (test) and row 3 (train), row 8" in said
    assert "top has 2 columns with one value in all training rows: feature 0, feature 31." in said
    assert "bottom has" not in said
    fine = replace(comparison.findings.health, num_duplicates=0, duplicates=(), constant={"top": ()})
    said = Page(to_html(replace(comparison, findings=replace(comparison.findings, health=fine)))).words()
    assert "No row stands in two splits." in said
    assert "No column has one value only." in said


def test_numbers_have_their_own_plots_and_tables(numbers: Comparison) -> None:
    said = Page(to_html(numbers)).words()
    assert "Predicted against true" in said
    assert "3 of 1,234 rows, drawn at random" in said
    assert "train -2.5 0.25 7.125 1.5" in said
    assert "row 1627 3.5 1.25 seven" in said
    for absent in ("What is taken for what?", "Can its probabilities be believed?", "Rows of each class"):
        assert absent not in said


def test_contenders_are_shown_against_the_best(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "each model against the best, low_rank: as good where" in said
    assert "concat -0.002 -0.007 to +0.003 0.002 yes" in said
    assert "top -0.097 -0.110 to -0.080 1 not shown" in said
    alone = replace(comparison.recommendation, contenders=(), rows_needed=3000)
    said = Page(to_html(replace(comparison, recommendation=alone))).words()
    assert "Which are as good as the best?" not in said
    assert "about 3,000 test rows would" in said


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
    linked = {str(a["href"]).removeprefix("#") for a in page.find("a")}
    assert pointed <= named
    assert pointed - linked == {"answer"}
    assert linked <= named
    assert "digits: which fusion?" in page.words()


def test_without_jinja2_the_install_command_is_named(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        to_html(comparison)


def test_what_each_modality_is_worth_stands_with_its_reliance(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    reliance, later = (
        said.index("Which modality does the model lean on?"),
        said.index("without some modalities?"),
    )
    assert "What is each modality worth?" not in said
    assert (
        reliance < said.index("A closer look at low_rank") < said.index("Shared fairly, the accuracy") < later
    )
    assert said.index("More than chance?") < later
    alone = Page(to_html(replace(comparison, reliance=()))).words()
    assert alone.index("Do the modalities interact?") < alone.index("What is each modality worth?")


def test_a_comparison_without_a_diagnosis_shows_none(comparison: Comparison) -> None:
    bare = replace(comparison, findings=replace(comparison.findings, diagnosis=()))
    page = Page(to_html(bare))
    assert "closer look" not in page.words()
    anchors = {a["href"] for a in page.find("a")}
    assert not anchors & {"#interaction", "#worth", "#attention", "#space", "#robustness", "#rescues"}


def test_two_diagnoses_have_anchors_of_their_own(comparison: Comparison) -> None:
    (one,) = comparison.findings.diagnosis
    two = replace(comparison.findings, diagnosis=(one, replace(one, model="concat")))
    page = Page(to_html(replace(comparison, findings=two)))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"interaction", "interaction-2", "robustness-2"} <= set(ids)
    assert page.words().count("A closer look at concat on 360 rows") == 7


def test_class_names_stand_in_the_rows_that_fusing_rescues(comparison: Comparison) -> None:
    said = Page(to_html(comparison)).words()
    assert "row 12 rescued seven one two seven +0.610" in said
    assert "row 99 harmed one one absent two +0.300" in said
