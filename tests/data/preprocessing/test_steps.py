import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.data.dataset import Series
from fuseloom.data.preprocessing import SeriesPreprocessor
from fuseloom.errors import DataError

NAN = np.nan


def series(values, time=None, mask=None) -> Series:
    values = np.array(values, dtype=np.float32)
    return Series(
        values=values,
        mask=~np.isnan(values).all(-1) if mask is None else np.array(mask),
        time=None if time is None else np.array(time, dtype=np.float64),
    )


def test_channels_are_standardised_over_real_training_steps_and_holes_stay() -> None:
    modality = series([[[1, 10], [3, NAN], [NAN, NAN]], [[5, 30], [NAN, 20], [99, 99]], [[7, 7]] * 3])
    masked = series(modality.values, mask=[[True, True, False], [True, True, False], [True] * 3])
    fitted = SeriesPreprocessor.fit(masked, np.array([0, 1]))
    assert fitted.mean == (3, 20)
    np.testing.assert_allclose(fitted.std, [np.std([1, 3, 5]), np.std([10, 30, 20])])
    values, mask = fitted.apply(masked)
    np.testing.assert_allclose(values[0], [[-1.2247449, -1.2247449], [0, NAN], [0, 0]], rtol=1e-6)
    assert mask[:2].tolist() == [[True, True, False]] * 2
    assert fitted.encoder_options() == {"in_dim": 2, "timed": False}


def test_infinite_cells_are_holes_and_large_values_keep_their_digits() -> None:
    values = np.array([[[1e7 + i] for i in range(4)] + [[np.inf]]])
    fitted = SeriesPreprocessor.fit(series(values, mask=np.ones((1, 5), bool)), np.array([0]))
    assert fitted.std[0] == pytest.approx(np.std(range(4)))
    assert np.isnan(fitted.apply(series(values, mask=np.ones((1, 5), bool)))[0][0, 4, 0])


def test_times_are_since_the_first_step_in_median_steps() -> None:
    modality = series(np.ones((2, 4, 1)), time=[[100, 102, 104, 110], [7, 9, NAN, 3]])
    modality = series(modality.values, modality.time, mask=[[True] * 4, [True, True, False, False]])
    fitted = SeriesPreprocessor.fit(modality, np.arange(2))
    assert fitted.step == 2
    values, _ = fitted.apply(modality)
    assert values[..., 1].tolist() == [[0, 1, 2, 5], [0, 1, 0, 0]]
    assert fitted.encoder_options() == {"in_dim": 2, "timed": True}


@given(st.floats(0.001, 1e6), st.floats(-1e6, 1e6))
def test_neither_the_unit_nor_the_beginning_of_time_matters(unit: float, start: float) -> None:
    time = np.array([[0.0, 1, 3, 4], [2, 3, 4, 9]])
    values = np.ones((2, 4, 1))
    first, second = (
        SeriesPreprocessor.fit(modality, np.arange(2)).apply(modality)[0]
        for modality in (series(values, time), series(values, time * unit + start))
    )
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3 + 1e-9 * abs(start) / unit)


def test_single_steps_have_no_distance() -> None:
    modality = series(np.ones((2, 1, 1)), time=[[5], [6]])
    fitted = SeriesPreprocessor.fit(modality, np.arange(2))
    assert fitted.step == 1
    assert fitted.apply(modality)[0][..., 1].tolist() == [[0], [0]]


def test_an_absent_series_is_masked_in_the_width_of_training() -> None:
    fitted = SeriesPreprocessor.fit(series(np.ones((2, 3, 2)), time=np.ones((2, 3))), np.arange(2))
    values, mask = fitted.apply(
        Series(values=np.zeros((4, 1, 0), np.float32), mask=np.zeros((4, 1), np.bool_))
    )
    assert values.tolist() == [[[0, 0, 0]]] * 4
    assert not mask.any()


def test_another_width_or_missing_times_are_refused() -> None:
    fitted = SeriesPreprocessor.fit(series(np.ones((2, 3, 2))), np.arange(2))
    with pytest.raises(DataError, match=r"\[N, T, 2\] without times as in training, got \(2, 3, 1\) without"):
        fitted.apply(series(np.ones((2, 3, 1))))
    with pytest.raises(DataError, match=r"got \(2, 3, 2\) with times"):
        fitted.apply(series(np.ones((2, 3, 2)), time=np.ones((2, 3))))
