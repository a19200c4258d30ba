from collections.abc import Callable
from dataclasses import replace

from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.variants import Variant, Variants
from fuseloom.report.experiments.costs import costs_table
from fuseloom.report.experiments.text import variants_text

STEP, MEMORY = "step of 8, ms", "peak MB"


def costly(one: Variant, factor: float) -> Variant:
    """Three epochs, of which the first is slow; each seed a little slower than the one before."""

    def watched(run: RecipeResult) -> RecipeResult:
        times = [9000.0, 10 * factor + run.seed, 12 * factor + run.seed]
        seen = [{"epoch": epoch + 1, STEP: ms, MEMORY: 50.0} for epoch, ms in enumerate(times)]
        return replace(run, watched={"costs": seen})

    return replace(one, parameters=round(1000 * factor), runs=tuple(watched(run) for run in one.runs))


def costly_variants(variants: Variants) -> Variants:
    tables = [
        replace(table, variants=tuple(costly(one, 1 + place) for place, one in enumerate(table.variants)))
        for table in variants.tables
    ]
    return replace(variants, tables=tuple(tables))


def test_each_variant_is_a_row_with_its_median_epoch_beside_the_reference(
    make_variants: Callable[..., Variants],
) -> None:
    table = costs_table(costly_variants(make_variants()))
    assert table is not None
    assert table.head == ("data", "variant", "parameters", "/ whole", STEP, "/ whole", MEMORY, "/ whole")
    assert [row[:2] for row in table.rows[:4]] == [
        ("first", "whole"),
        ("first", "no captions"),
        ("first", "no exchange"),
        ("second", "whole"),
    ]
    assert table.rows[0][2:6] == ("1,000", "1.00", "13.00 [10.52, 15.48]", "1.00")
    assert table.rows[1][2:6] == ("2,000", "2.00", "25.00 [22.52, 27.48]", "1.92")
    assert table.rows[1][6:] == ("50.00 [50.00, 50.00]", "1.00")


def test_what_was_not_seen_is_said_to_be_missing(make_variants: Callable[..., Variants]) -> None:
    variants = costly_variants(make_variants(seeds=1))
    (first, second), rest = variants.tables[0].variants[:2], variants.tables[0].variants[2:]
    silent = replace(second, runs=tuple(replace(run, watched={}) for run in second.runs))
    changed = replace(variants.tables[0], variants=(first, silent, *rest))
    table = costs_table(replace(variants, tables=(changed,)))
    assert table is not None
    assert table.rows[0][2:] == ("1,000", "1.00", "12.00", "1.00", "50.00", "1.00")
    assert table.rows[1][2:] == ("2,000", "2.00", "n/a", "n/a", "n/a", "n/a")
    assert "over seeds" not in table.note


def test_costs_stand_below_the_scores_and_not_among_what_changes(
    make_variants: Callable[..., Variants],
) -> None:
    plain = make_variants()
    assert costs_table(plain) is None
    shown = variants_text(costly_variants(plain))
    assert shown.count(STEP) == 1
    assert "First, middle and last" not in shown
