import re
from collections.abc import Callable

from fuseloom.comparison.sweep import Course, Sweep
from fuseloom.report.experiments.page import to_sweep_html

MakeCourse = Callable[..., Course]
MakeSweep = Callable[..., Sweep]
THETA = {("0.1",): 0.84, ("0.2",): 0.82}
GRID = {("1", "0"): 0.9, ("1", "10"): 0.7, ("2", "0"): 0.8, ("2", "10"): 0.6}


def squares(page: str) -> list[tuple[float, str]]:
    """Strength of the colour and text of each square of the maps."""
    found = re.findall(r'<td class="n right" style="--share: ([\d.]+)%"[^>]*>([^<]*)</td>', page)
    return [(float(share), text) for share, text in found]


def test_one_setting_of_numbers_is_drawn_for_each_data_set(
    make_course: MakeCourse, make_sweep: MakeSweep
) -> None:
    page = to_sweep_html(
        make_sweep(make_course(THETA), make_course(THETA, data="a/views"), summary="Which theta?")
    )
    assert page.count("<svg") == 2
    assert "<h3>views</h3>" in page
    assert page.count('class="said"') == 2
    assert "Which theta?" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert not squares(page)


def test_two_settings_are_a_map_whose_darkest_square_is_the_best(
    make_course: MakeCourse, make_sweep: MakeSweep
) -> None:
    course = make_course(GRID, ("alpha", "beta"), contenders=(("2", "0"),))
    page = to_sweep_html(make_sweep(course))
    assert squares(page) == [(45.0, "★ 0.900"), (15.0, "0.700"), (30.0, "○ 0.800"), (0.0, "0.600")]
    assert "<svg" not in page
    assert "alpha (down), beta (across)" in page


def test_of_an_error_the_least_is_the_darkest(make_course: MakeCourse, make_sweep: MakeSweep) -> None:
    page = to_sweep_html(make_sweep(make_course(GRID, ("alpha", "beta"), metric="rmse", higher=False)))
    assert max(squares(page)) == (45.0, "★ 0.600")


def test_words_and_three_settings_stand_in_the_table_alone(
    make_course: MakeCourse, make_sweep: MakeSweep
) -> None:
    words = to_sweep_html(make_sweep(make_course({("sum",): 0.5, ("film",): 0.6})))
    three = to_sweep_html(make_sweep(make_course({("1", "2", "3"): 0.5}, ("a", "b", "c"))))
    for page in (words, three):
        assert "<svg" not in page
        assert not squares(page)
        assert "All combinations" in page


def test_one_seed_is_not_said_to_have_intervals(make_course: MakeCourse, make_sweep: MakeSweep) -> None:
    page = to_sweep_html(make_sweep(make_course(THETA, seeds=1)))
    assert "interval of the mean" not in page
    assert "One seed: nothing is known of other runs" in page


def test_markup_in_a_name_is_text(make_course: MakeCourse, make_sweep: MakeSweep) -> None:
    odd = "<img src=x>"
    page = to_sweep_html(make_sweep(make_course({(odd,): 0.5}, data=odd), name=odd, summary=odd))
    assert odd not in page
    assert page.count("&lt;img src=x&gt;") > 3
