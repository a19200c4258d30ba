from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.gradients import GradientCourse
from fuseloom.metrics.interval import Interval
from fuseloom.report.gradients import gradient_figures, gradients_caption, gradients_saying, gradients_table


@pytest.fixture
def course(diagnosis: Diagnosis) -> GradientCourse:
    assert diagnosis.gradients is not None
    return diagnosis.gradients


def standing(course: GradientCourse, place: int = -1) -> GradientCourse:
    look = course.gradients[place]
    return replace(course, learnt_from=False, epochs=(), kept=None, gradients=(look,))


def with_cosines(course: GradientCourse, *cosines: tuple[float, float]) -> GradientCourse:
    """The course with the ends of the interval of its one cosine at each look."""
    looks = []
    for look, (low, high) in zip(course.gradients, cosines, strict=True):
        cosine = Interval(mean=(low + high) / 2, low=low, high=high)
        looks.append(replace(look, conflicts=(replace(look.conflicts[0], cosine=cosine),)))
    return replace(course, gradients=tuple(looks))


def with_shares(course: GradientCourse, first: float, last: float) -> GradientCourse:
    """The course with shares of the one modality at its ends, known to 0.02."""

    def shares(top: float) -> dict[str, Interval]:
        both = {"top": top, "bottom": 1 - top}
        return {name: Interval(mean=one, low=one - 0.02, high=one + 0.02) for name, one in both.items()}

    start, *middle, end = course.gradients
    looks = (replace(start, shares=shares(first)), *middle, replace(end, shares=shares(last)))
    return replace(course, gradients=looks)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (0.82, 0.61, "Training works most on top: it takes 82 % of the gradient after the first epoch and "),
        (0.51, 0.49, "These rows do not show that training works on one modality most, neither after "),
        (0.71, 0.38, "After the first epoch training works most on top (71 % of the gradient), after the "),
        (0.5, 0.4, "After the first epoch training works most on none that these rows show, after the last"),
    ],
)
def test_what_training_works_on_first_and_last(
    course: GradientCourse, first: float, last: float, said: str
) -> None:
    sentence = gradients_saying(with_shares(course, first, last))
    assert sentence.startswith(said)
    assert "the last (epoch 9)" in sentence


def test_of_a_model_as_it_stands_it_is_what_training_further_would_work_on(course: GradientCourse) -> None:
    sentence = gradients_saying(standing(course))
    assert sentence.startswith("Training this model further would work most on bottom (62 % of the gradient)")
    assert sentence.endswith("; top and bottom pull against each other.")
    assert gradients_saying(standing(course, 3)).startswith(
        "These rows do not show that training this model further would work on one modality most; that the"
    )


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.1, 0.3), "what the modalities ask of the parts they share always pulls one way."),
        ((-0.1, 0.1), "that the modalities pull against each other on the parts they share is not shown."),
        ((-0.3, -0.1), "top and bottom pull against each other after 6 of the 6 epochs looked at."),
    ],
)
def test_whether_modalities_pull_one_way(
    course: GradientCourse, ends: tuple[float, float], said: str
) -> None:
    assert gradients_saying(with_cosines(course, *[ends] * 6)).endswith(f"; {said}")


def test_epochs_of_conflict_are_counted(course: GradientCourse) -> None:
    assert gradients_saying(course).endswith(
        "top and bottom pull against each other after 1 of the 6 epochs looked at."
    )


def test_what_there_is_not_is_said(course: GradientCourse) -> None:
    look = course.gradients[-1]
    bare = replace(look, norms={}, shares={}, with_fused={}, untrained=("top", "bottom"), conflicts=())
    sentence = gradients_saying(replace(course, gradients=(bare,) * 6))
    assert sentence == (
        "No two modalities have encoders of their own with a gradient to compare; top and bottom have no "
        "encoders of their own that are trained; the modalities share no parameters on which they could pull "
        "against each other."
    )
    assert gradient_figures(replace(course, gradients=(bare,) * 6)) == []
    assert gradient_figures(standing(replace(course, gradients=(bare,)))) == []
    one = replace(look, untrained=("sound",))
    assert "; sound has no encoder of its own that is trained; " in gradients_saying(
        replace(course, gradients=(one,) * 6)
    )


def test_the_table_has_the_first_the_kept_and_the_last_epoch(course: GradientCourse) -> None:
    table = gradients_table(replace(course, note="It was another."))
    assert [row[0] for row in table.rows] == ["1"] * 5 + ["6 (kept)"] * 5 + ["9"] * 5
    assert table.rows[0] == ("1", "share of top", "0.710", "0.690 to 0.730")
    assert table.rows[2] == ("1", "cosine of top and bottom", "0.400", "0.300 to 0.500")
    assert table.rows[3] == ("1", "cosine of top alone and all", "0.900", "0.880 to 0.920")
    assert table.note == ("On 256 training rows, in 8 parts, over which the intervals are. It was another.")
    held_out = gradients_table(standing(course))
    assert {row[0] for row in held_out.rows} == {"as it stands"}
    assert held_out.note.startswith("On 256 of these rows, which the training should not have seen")
    last_kept = gradients_table(replace(course, kept=9))
    assert [row[0] for row in last_kept.rows] == ["1"] * 5 + ["9 (kept)"] * 5


def lines(drawing: str) -> list[Element]:
    groups = [one for one in fromstring(drawing).iter("g") if "decay" in one.attrib.get("class", "")]
    return [group for group in groups if group.find("circle") is not None]


def test_shares_and_cosines_are_lines_over_the_epochs(course: GradientCourse) -> None:
    figures = dict(gradient_figures(course))
    assert {title: len(lines(one)) for title, one in figures.items()} == {
        "Share of the gradient": 2,
        "Cosine of what two ask for": 1,
    }
    top, bottom = lines(figures["Share of the gradient"])
    heights = [float(circle.attrib["cy"]) for circle in top.iter("circle")]
    assert heights == sorted(heights)  # its share falls
    assert heights[0] < float(next(bottom.iter("circle")).attrib["cy"])
    rings = [c for c in top.iter("circle") if c.attrib["class"] == "best"]
    assert [ring.findtext("title") for ring in rings] == ["epoch 6: 0.480 [0.460, 0.500]"]
    places = [float(circle.attrib["cx"]) for circle in top.iter("circle")]
    assert places[2] - places[1] == pytest.approx(2 * (places[1] - places[0]), abs=0.2)
    label = fromstring(figures["Cosine of what two ask for"]).attrib["aria-label"]
    assert "top and bottom 0.400 to -0.200" in label


def test_cosines_that_are_not_known_leave_a_gap(course: GradientCourse) -> None:
    looks = list(course.gradients)
    looks[2] = replace(looks[2], conflicts=(replace(looks[2].conflicts[0], cosine=None),))
    _, (_, drawing) = gradient_figures(replace(course, gradients=tuple(looks)))
    (line,) = lines(drawing)
    assert len(list(line.iter("circle"))) == 5
    assert ("1", "cosine of top and bottom", "n/a", "n/a") in gradients_table(
        replace(course, gradients=(looks[2], *looks[1:]))
    ).rows


def test_of_many_pairs_those_that_lie_lowest_are_drawn(course: GradientCourse) -> None:
    def pairs() -> GradientCourse:
        looks = []
        for look in course.gradients:
            found = tuple(
                replace(look.conflicts[0], second=f"m{k}", cosine=Interval(mean=(k * 3 % 10) / 10 - 0.3))
                for k in range(10)
            )
            looks.append(replace(look, conflicts=found))
        return replace(course, gradients=tuple(looks))

    _, (_, drawing) = gradient_figures(pairs())
    names = [one.text for one in fromstring(drawing).iter("text") if one.attrib["class"] == "name"]
    assert names == [f"top and m{k}" for k in (0, 7, 4, 1, 8, 5)]


def test_one_look_is_drawn_as_estimates(course: GradientCourse) -> None:
    figures = dict(gradient_figures(standing(course)))
    assert list(figures) == ["Share of the gradient", "Cosine of what two ask for"]
    assert "top 0.380 [0.360, 0.400]" in fromstring(figures["Share of the gradient"]).attrib["aria-label"]


def test_the_caption_says_on_which_rows_and_what_is_drawn(course: GradientCourse) -> None:
    over = gradients_caption(replace(course, note="It was another."))
    assert over.startswith("Shades: 95 % intervals. Rings: the epoch whose weights were kept. Below zero")
    assert over.endswith("On 256 training rows, in 8 parts, over which the intervals are. It was another.")
    assert gradients_caption(standing(course)).startswith("Lines: 95 % intervals. Below zero")
    whole = replace(course.gradients[-1], parts=1)
    assert "On 256 training rows, in one part." in gradients_caption(replace(course, gradients=(whole,) * 6))
