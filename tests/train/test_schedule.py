import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.train.schedule import rate_share, scheduled


def rates(steps, **options):
    return [rate_share(step, steps=steps, **options) for step in range(steps)]


def test_a_constant_rate_is_the_very_same_number_in_every_step():
    assert rates(5) == [1.0] * 5


def test_a_warm_up_rises_evenly_to_the_peak():
    assert rates(8, warmup=0.5) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_a_linear_fall_would_be_zero_behind_the_last_step():
    assert rates(5, schedule="linear") == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert rate_share(5, steps=5, schedule="linear") == 0.0
    assert rate_share(50, steps=5, schedule="linear") == 0.0


def test_a_cosine_falls_along_half_a_wave_behind_the_warm_up():
    wanted = [0.5, 1.0] + [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert rates(6, schedule="cosine", warmup=1 / 3) == pytest.approx(wanted)


def test_a_power_of_what_is_left_stays_where_the_last_step_was():
    wanted = [((5 - step) / 5) ** 0.9 for step in range(5)]
    assert rates(5, schedule="poly") == pytest.approx(wanted)
    assert rate_share(50, steps=5, schedule="poly") == pytest.approx(wanted[-1])


def test_a_warm_up_from_a_share_reaches_the_peak_behind_its_last_step():
    assert rates(6, warmup=0.5, warmup_from=0.1) == pytest.approx([0.1, 0.4, 0.7, 1.0, 1.0, 1.0])


def test_a_fall_may_be_counted_from_the_first_step():
    found = rates(4, schedule="linear", warmup=0.5, warmup_from=0.0, fall_from="start")
    assert found == pytest.approx([0.0, 0.5, 0.5, 0.25])
    assert rates(4, schedule="cosine", fall_from="start") == rates(4, schedule="cosine")


@given(
    steps=st.integers(1, 200),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(["constant", "cosine", "linear", "poly"]),
)
def test_a_rate_is_positive_rises_once_falls_once_and_reaches_its_peak(steps, warmup, schedule):
    shares = rates(steps, schedule=schedule, warmup=warmup)
    peak = shares.index(max(shares))
    assert max(shares) == 1.0
    assert min(shares) > 0
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)


def optimizer_and_schedule(**options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    return optimizer, scheduled(optimizer, steps=9, schedule="cosine", warmup=0.4, **options)


def test_a_schedule_that_goes_on_gives_the_rates_of_one_that_never_stopped():
    optimizer, schedule = optimizer_and_schedule()
    whole = []
    for _ in range(9):
        whole.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert whole == [0.1 * share for share in rates(9, schedule="cosine", warmup=0.4)]
    for done in range(9):
        optimizer, schedule = optimizer_and_schedule(done=done)
        rest = []
        for _ in range(done, 9):
            rest.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert rest == whole[done:]
