import re
from collections.abc import Callable
from dataclasses import replace

from fuseloom.comparison.variants import Variants
from fuseloom.report.experiments.variants_page import to_variants_html

MakeVariants = Callable[..., Variants]


def cells(page: str) -> list[str]:
    return re.findall(r"<td[^>]*><span>([^<]*)</span></td>", page)


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page)


def under(variants: Variants, condition: str, score: float) -> Variants:
    """The same, of which each run has a score under a condition besides."""
    tables = tuple(
        replace(
            table,
            variants=tuple(
                replace(
                    one,
                    runs=tuple(
                        replace(run, scores={**run.scores, condition: {table.metric: score}})
                        for run in one.runs
                    ),
                )
                for one in table.variants
            ),
        )
        for table in variants.tables
    )
    return replace(variants, tables=tables)


def test_gains_are_drawn_for_each_data_set_and_the_table_is_that_of_the_terminal(
    make_variants: MakeVariants,
) -> None:
    page = to_variants_html(replace(make_variants(), summary="What is it worth?"))
    assert page.count("<svg") == 2
    assert "<h3>second</h3>" in page
    assert "no captions: -0.020 [-0.025, -0.015]" in page.replace("\u2212", "-")
    assert "What is it worth?" in page
    assert "whole, seed by seed" in page
    assert cells(page)[:3] == ["whole", "0.900", "0.890 to 0.910"]
    assert headings(page) == ["What is each worth?", "All variants"]
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_scores_under_conditions_have_a_table_as_in_the_terminal(make_variants: MakeVariants) -> None:
    page = to_variants_html(under(make_variants(), "failure night", 0.25))
    assert headings(page) == ["What is each worth?", "All variants", "Under which conditions?"]
    assert page.count('data-label="failure night"') == 6
    assert cells(page).count("0.250") == 6


def test_the_reference_alone_and_one_seed_have_no_more_than_there_is(make_variants: MakeVariants) -> None:
    one = make_variants(seeds=1)
    assert "seed by seed, with the" not in to_variants_html(one)
    alone = replace(one, tables=tuple(replace(table, variants=table.variants[:1]) for table in one.tables))
    assert headings(to_variants_html(alone)) == ["All variants"]


def test_markup_in_a_name_is_text(make_variants: MakeVariants) -> None:
    odd = "<img src=x>"
    page = to_variants_html(replace(under(make_variants(), odd, 0.5), name=odd, summary=odd))
    assert odd not in page
    assert page.count("&lt;img src=x&gt;") > 3
