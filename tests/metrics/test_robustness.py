import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from fuseloom.metrics.robustness import effective_robustness, relative_robustness, rescaled

CURVES = st.lists(st.floats(0, 1), min_size=2, max_size=10).map(np.array)


def test_the_raw_numbers_of_the_official_code_are_reproduced(goldens_dir):
    case = load_file(goldens_dir / "lecture" / "mb_robustness__n10.safetensors")
    curve, late = case["input.curve"], case["input.late_fusion_curve"]
    area = relative_robustness(curve, np.arange(10) / 10)
    assert area == pytest.approx(case["output.relative_area"][0], rel=1e-10)
    assert effective_robustness(curve, late) == pytest.approx(case["output.effective_sum"][0], rel=1e-10)


@given(CURVES, st.floats(-1, 1))
def test_a_curve_keeps_nothing_beyond_itself_wherever_it_starts(curve, shift):
    assert effective_robustness(curve, curve + shift) == pytest.approx(0, abs=1e-9)


@given(CURVES)
def test_curves_of_resamples_are_taken_one_by_one(curve):
    severities = np.linspace(0, 1, len(curve))
    many = np.stack([curve, 2 * curve], 1)
    area = relative_robustness(curve, severities)
    assert relative_robustness(many, severities) == pytest.approx([area, 2 * area])


def test_a_score_that_stays_has_its_height_times_the_width_as_area():
    assert relative_robustness(np.full(4, 0.5), np.array([0, 0.1, 0.5, 0.8])) == pytest.approx(0.4)


def test_rescaled_runs_from_the_worst_to_the_best():
    others = np.array([1.0, 3.0])
    assert [rescaled(value, others) for value in (0.5, 2.0, 3.0)] == [0, 0.5, 1]
    assert [rescaled(value, others, higher_is_better=False) for value in (0.5, 2.0, 4.0)] == [1, 0.5, 0]
    assert rescaled(2.0, np.array([2.0])) == 1
