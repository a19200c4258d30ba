from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.errors import OptionError
from fuseloom.models import FusionSpec
from fuseloom.models.spec import PlacedPart, stages_run


def test_interaction_is_the_highest_of_the_parts():
    assert FusionSpec.parse("sum").interaction == "additive"
    assert FusionSpec.parse("low_rank").interaction == "multiplicative"
    assert FusionSpec.parse("cross_attention + sum").interaction == "nonlinear"


def test_stages_behind_a_part_make_what_it_mixed_nonlinear():
    assert FusionSpec.parse("channel_exchange@late+sum@late").interaction == "additive"
    assert FusionSpec.parse("channel_exchange@middle+sum").interaction == "nonlinear"
    assert FusionSpec.parse("sum@early").interaction == "nonlinear"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lowrank", "got merge 'lowrank' in 'lowrank'. Did you mean 'low_rank'"),
        ("sum+cross_attention", "got exchange 'sum'"),
        ("cross_attention", "got merge 'cross_attention'"),
        ("crossattention@early+sum", "got exchange 'crossattention' in .* Did you mean 'cross_attention'"),
        ("sum@earl", r"depth must be one of \['early', 'middle', 'late'\], got 'earl' in .* mean 'early'"),
        ("sum@", "depth must be one of .* got '' in 'sum@'"),
        ("sum@early@late", "depth must be one of .* got 'early@late'"),
        (
            "cross_attention@late+sum@middle",
            "must stand before the merge, got cross_attention@late and sum@mid",
        ),
        ("cross_attention+sum@early", "must stand before the merge, got cross_attention and sum@early"),
    ],
)
def test_a_spec_of_unknown_parts_or_in_another_order_is_refused(text, message):
    with pytest.raises(OptionError, match=message):
        FusionSpec.parse(text)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("sum", "sum"),
        (" cross_attention + sum ", "cross_attention+sum"),
        ("cross_attention @ early+ sum@middle", "cross_attention@early+sum@middle"),
        ("cross_attention@early+cross_attention@late+sum", "cross_attention@early+cross_attention@late+sum"),
    ],
)
def test_a_spec_is_spelled_in_one_way(text, spelled):
    assert str(FusionSpec.parse(text)) == spelled
    assert FusionSpec.parse(spelled) == FusionSpec.parse(text)


def test_only_late_spelled_out_asks_for_tokens():
    asked = {
        text: FusionSpec.parse(text).wants_tokens
        for text in (
            "cross_attention+sum",
            "cross_attention@late+sum",
            "sum@late",
            "cross_attention@early+sum",
        )
    }
    assert list(asked.values()) == [False, True, True, False]


@pytest.mark.parametrize(("stages", "middle"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)])
def test_depths_are_stages(stages, middle):
    found = [PlacedPart(name="sum", depth=depth).stage(stages) for depth in ("early", "middle", "late", None)]
    assert found == [0, middle, stages - 1, stages - 1]


@given(depth=st.integers(1, 30), share=st.integers(1, 30))
def test_stages_are_spread_evenly(depth, share):
    count = min(share, depth)
    run = [stages_run(count, behind=stage, depth=depth) for stage in range(-1, depth)]
    steps = [after - before for before, after in pairwise(run)]
    assert (run[0], run[1], run[-1]) == (0, 1, count)
    assert set(steps) <= {0, 1}
    assert all(abs(done - count * (stage + 1) / depth) < 1 for stage, done in enumerate(run[1:]))
