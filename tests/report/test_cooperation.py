"""Tables and figure of what remedies do."""

from dataclasses import replace
from xml.etree.ElementTree import fromstring

import pytest

from fuseloom.comparison.cooperation import Cooperation, NoiseCurve, Treatment
from fuseloom.comparison.result import Comparison
from fuseloom.metrics.interval import Interval
from fuseloom.report import leaderboard_text, to_html
from fuseloom.report.as_json import from_json, to_json
from fuseloom.report.cooperation import (
    cooperation_figures,
    cooperation_tables,
    gains_table,
    treated_fusions,
)


def about(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 0.02, high=mean + 0.02)


def treatment(fusion: str, remedy: str, gain: float, *, attends: bool = True) -> Treatment:
    noise = NoiseCurve(
        modality="text", corruption="drop", severities=(0.0, 0.4, 0.8), scores=(0.8, 0.7, 0.5 + gain)
    )
    return Treatment(
        name=f"{fusion} with {remedy}" if remedy else fusion,
        fusion=fusion,
        remedy=remedy,
        learning_rate=1e-3,
        valid=about(0.8 + gain),
        test=about(0.8 + gain),
        gain=about(gain) if remedy else None,
        verdict=("helps" if gain > 0.02 else "these data cannot tell") if remedy else "untreated",
        train_s=1.5,
        imbalance=(0.5, 0.4, 0.1 + gain) if attends else (),
        imbalance_rate=about(0.1 + gain) if attends else None,
        mass={"text": about(0.75), "image": about(0.25)} if attends else {},
        quality={"text": about(gain)} if attends else {},
        gradient_share={"text": about(0.9), "image": about(0.1)},
        noise=(noise,),
        not_told={} if attends else {"attention": "It files none."},
    )


@pytest.fixture
def found() -> Cooperation:
    return Cooperation(
        sentence="ogm and cml were tried on concat and attention_pool. concat with cml: helps.",
        treatments=(
            treatment("concat", "", 0.0, attends=False),
            treatment("concat", "ogm", -0.01, attends=False),
            treatment("concat", "cml", 0.05, attends=False),
            treatment("attention_pool", "", 0.0),
            *(treatment("attention_pool", f"remedy_{n}", n / 100) for n in range(1, 8)),
        ),
    )


def test_each_fusion_comes_first_without_a_remedy_and_then_by_gain(found: Cooperation) -> None:
    groups = treated_fusions(found)
    assert [one.remedy for one in groups["concat"]] == ["", "cml", "ogm"]
    assert [one.remedy for one in groups["attention_pool"]][:2] == ["", "remedy_7"]


def test_a_gain_that_is_not_finite_stands_last(found: Cooperation) -> None:
    lost = replace(treatment("concat", "agm", 0.0), gain=Interval(mean=float("nan")))
    groups = treated_fusions(replace(found, treatments=(lost, *found.treatments)))
    assert [one.remedy for one in groups["concat"]] == ["", "cml", "ogm", "agm"]


def test_gains_say_what_helps(found: Cooperation) -> None:
    rows = gains_table(treated_fusions(found)["concat"], "accuracy", 3).rows
    assert rows[0][:4] == ("without a remedy", "n/a", "0.800", "n/a")
    assert rows[1][:5] == ("cml", "helps", "0.850", "+0.050", "+0.030 to +0.070")
    assert rows[2][1] == "these data cannot tell"


def test_attention_has_columns_where_the_fusion_attends(found: Cooperation) -> None:
    groups = treated_fusions(found)
    (_, plain), (_, noise) = cooperation_tables(groups["concat"], "accuracy", 3)
    assert plain.head == ("Remedy", "gradient: text", "gradient: image")
    assert noise.head == ("Remedy", "as they are", "text 0.4", "text 0.8")
    assert noise.rows[1] == ("cml", "0.800", "0.700", "0.550")
    (_, attending), _ = cooperation_tables(groups["attention_pool"], "accuracy", 3)
    shown = dict(zip(attending.head, attending.rows[1], strict=True))
    assert (shown["AIR"], shown["attention: text"], shown["follows text"]) == ("+0.17", "0.75", "+0.07")
    assert shown["follows image"] == "n/a"


def test_what_was_looked_at_nowhere_has_no_table(found: Cooperation) -> None:
    blind = [replace(one, gradient_share={}, noise=()) for one in treated_fusions(found)["concat"]]
    assert cooperation_tables(blind, "accuracy", 3) == []


def test_the_figure_draws_the_rates_of_the_five_that_differ_most(found: Cooperation) -> None:
    groups = treated_fusions(found)
    ((title, drawing),) = cooperation_figures(groups["attention_pool"])
    assert title == "Imbalance rate of attention over the epochs"
    root = fromstring(drawing)
    label = root.get("aria-label") or "".join(root.itertext())
    assert "without a remedy +0.50 to +0.10; remedy_7 +0.50 to +0.17" in label
    assert "remedy_3" not in drawing
    assert cooperation_figures(groups["concat"]) == []


def test_the_figure_begins_where_rates_are_known(found: Cooperation) -> None:
    group = treated_fusions(found)["attention_pool"][:2]
    later = [replace(one, imbalance=(float("nan"), *one.imbalance)) for one in group]
    ((_, drawing),) = cooperation_figures(later)
    assert "epoch 1:" not in drawing
    assert "epoch 2:" in drawing
    assert "without a remedy +0.50 to +0.10" in drawing


def test_page_text_and_json_hold_it(comparison: Comparison, found: Cooperation) -> None:
    whole = replace(comparison, findings=replace(comparison.findings, cooperation=found))
    page, text = to_html(whole), leaderboard_text(whole)
    assert 'id="cooperation"' in page
    assert page.count("without a remedy") > 4
    assert found.sentence in page
    assert "Remedies: ogm and cml were tried" in text
    assert max(map(len, text.splitlines())) <= 100
    assert from_json(to_json(whole)) == whole
    assert 'id="cooperation"' not in to_html(comparison)
