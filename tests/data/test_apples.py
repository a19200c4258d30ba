import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom.data.apples import GRADES, make_apples
from fuseloom.errors import OptionError


def agreement(told: np.ndarray, grade: tuple[str, ...]) -> float:
    """Share of grades that a threshold at the median gets right."""
    return float(np.mean((told > np.median(told)) == (np.array(grade) == "juice")))


def bruised(photo: np.ndarray) -> np.ndarray:
    """Share of brown pixels: darker than the table, and not of a skin's red."""
    return ((photo[..., 0] < 130) & (photo[..., 1] < 90)).mean(axis=(1, 2))


def test_picture_and_days_each_tell_a_part_of_the_grade_and_together_more() -> None:
    apples = make_apples(2000, seed=1)
    seen, old = bruised(apples.photo), apples.days.astype(float)
    alone = [agreement(told, apples.grade) for told in (seen, old)]
    together = agreement(seen / seen.std() + old / old.std(), apples.grade)
    assert all(0.57 < one < 0.75 for one in alone)
    assert together > max(alone) + 0.03


def test_the_words_tell_a_part_and_the_orchard_none() -> None:
    apples = make_apples(2000, seed=1)
    juice = np.array(apples.grade) == "juice"
    soft = np.array(["mealy" in note.lower() or "soft all" in note.lower() for note in apples.note])
    assert juice[soft].mean() > juice.mean() + 0.15
    for orchard in set(apples.orchard):
        assert abs(juice[np.array(apples.orchard) == orchard].mean() - juice.mean()) < 0.06


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 40), seed=st.integers(0, 99))
def test_equal_seeds_draw_equal_apples(rows: int, seed: int) -> None:
    one, same = make_apples(rows, seed=seed), make_apples(rows, seed=seed)
    np.testing.assert_array_equal(one.photo, same.photo)
    assert (one.note, one.grade, one.days.tolist()) == (same.note, same.grade, same.days.tolist())
    assert {len(one.photo), len(one.note), len(one.orchard), len(one.weight)} == {rows}
    assert set(one.grade) <= set(GRADES)


def test_no_apples_are_refused() -> None:
    with pytest.raises(OptionError, match="rows must be positive, got 0"):
        make_apples(0)
