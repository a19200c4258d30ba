from collections.abc import Callable
from dataclasses import replace

from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.variants import Variant, Variants
from fuseloom.report.experiments.text import variants_text
from fuseloom.report.experiments.watched import watched_table


def seen(one: Variant, last: float) -> Variant:
    def watched(run: RecipeResult) -> RecipeResult:
        course = [{"epoch": 1, "norm": 1e-4}, {"epoch": 2, "norm": last + 1e-5 * run.seed}]
        return replace(run, watched={"gradient-norms": course})

    return replace(one, runs=tuple(watched(run) for run in one.runs))


def watched_variants(variants: Variants) -> Variants:
    tables = [
        replace(
            table, variants=tuple(seen(one, 2e-4 * (1 + place)) for place, one in enumerate(table.variants))
        )
        for table in variants.tables
    ]
    return replace(variants, tables=tuple(tables))


def test_small_numbers_keep_their_digits_and_the_reference_has_no_difference(
    make_variants: Callable[..., Variants],
) -> None:
    variants = watched_variants(make_variants())
    table = watched_table(variants)
    assert table is not None
    assert len(table.rows) == sum(len(one.variants) for one in variants.tables)
    assert table.head[-2:] == (f"against {variants.reference}", "95 % interval")
    rows = {row[2]: row for row in table.rows if row[0] == table.rows[0][0]}
    assert rows[variants.reference][-2:] == ("", "")
    other = next(row for name, row in rows.items() if name != variants.reference)
    assert other[3] == "0.000100 [0.000100, 0.000100]"
    assert other[-2].startswith(("+0.000", "\N{MINUS SIGN}0.000"))


def test_the_table_of_variants_is_followed_by_what_was_seen(make_variants: Callable[..., Variants]) -> None:
    plain = make_variants()
    assert watched_table(plain) is None
    shown = variants_text(watched_variants(plain))
    assert shown.startswith(variants_text(plain))
    assert "First, middle and last: epochs of each run" in shown
