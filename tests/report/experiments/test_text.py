from collections.abc import Callable

from fuseloom.comparison.sweep import Course, Sweep
from fuseloom.comparison.variants import Variants
from fuseloom.report.experiments.text import sweep_text, variants_text


def test_columns_stand_below_each_other_and_the_optimum_of_each_data_set_follows(
    make_course: Callable[..., Course], make_sweep: Callable[..., Sweep]
) -> None:
    scores = {("0.1",): 0.84, ("0.25",): 0.82}
    shown = sweep_text(make_sweep(make_course(scores), make_course(scores, data="views")))
    table, note, first, second = shown.split("\n\n")
    head, *rows = table.splitlines()
    assert len(rows) == 4
    ends = {row.index("0.840") if "0.840" in row else row.index("0.820") for row in rows}
    assert ends == {head.index("test accuracy") + len("test accuracy") - 5}
    assert note.startswith("Means over 3 seeds")
    assert first.startswith("digits: best by validation is theta=0.1")
    assert second.startswith("views: best by validation is theta=0.1")


def test_variants_show_their_table_and_what_it_is_over(make_variants: Callable[..., Variants]) -> None:
    table, note = variants_text(make_variants()).split("\n\n")
    assert len(table.splitlines()) == 7
    assert note.startswith("Against whole: plus is better")


def test_a_name_cannot_garble_the_terminal(
    make_course: Callable[..., Course], make_sweep: Callable[..., Sweep]
) -> None:
    shown = sweep_text(make_sweep(make_course({("\x1b[31mred",): 0.5})))
    assert "\x1b" not in shown
    assert "red" in shown
