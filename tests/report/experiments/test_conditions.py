from collections.abc import Callable
from dataclasses import replace

from fuseloom.comparison.variants import Variant, Variants
from fuseloom.report.experiments.conditions import conditions_table
from fuseloom.report.experiments.text import variants_text


def under_fog(one: Variant, score: float | None) -> Variant:
    runs = (replace(run, scores={**run.scores, "weather fog": {"accuracy": score}}) for run in one.runs)
    return replace(one, runs=tuple(runs))


def test_scores_under_conditions_have_a_table_of_their_own(make_variants: Callable[..., Variants]) -> None:
    variants = make_variants()
    assert conditions_table(variants) is None
    tables = [
        replace(
            table,
            variants=tuple(
                under_fog(one, 0.25 if place else None) for place, one in enumerate(table.variants)
            ),
        )
        for table in variants.tables
    ]
    foggy = replace(variants, tables=tuple(tables))
    found = conditions_table(foggy)
    assert found is not None
    assert found.head == ("data", "variant", "weather fog")
    assert [row[2] for row in found.rows[: len(tables[0].variants)]] == [
        "n/a",
        *["0.250"] * (len(tables[0].variants) - 1),
    ]
    assert "weather fog" in variants_text(foggy)
    assert "under conditions, means over" in variants_text(foggy)
