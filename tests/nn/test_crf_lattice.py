import pytest
import torch
from torch import Tensor

from fuseloom.nn.crf_lattice import Chain, Lattice, lowest
from fuseloom.nn.tag_scheme import tag_constraints

MASK = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])


def chain(num_tags: int, dtype: torch.dtype = torch.float32) -> Chain:
    return Chain(
        start=torch.randn(num_tags, dtype=dtype),
        transitions=torch.randn(num_tags, num_tags, dtype=dtype),
        end=torch.randn(num_tags, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_lowest_score_stays_finite_and_below_all_sums_of_others(dtype: torch.dtype) -> None:
    low = torch.tensor(lowest(dtype), dtype=dtype)
    assert (low * 1_000_000).isfinite()
    assert low + 1e12 < -1e30


def test_half_precision_is_laid_out_wide() -> None:
    low = chain(3, torch.float16)
    lattice = Lattice.of(low, torch.ones(2, 4, 3, dtype=torch.bfloat16))
    assert {
        value.dtype for value in (lattice.start, lattice.transitions, lattice.end, lattice.emissions)
    } == {torch.float32}
    restricted = low.restrict(tag_constraints(["O", "B-A", "I-A"]))
    assert restricted.transitions[0, 2] == lowest(torch.float32)
    assert restricted.transitions[1].equal(low.transitions[1].float())


def test_what_is_masked_is_zero_whatever_stood_there() -> None:
    emissions = torch.randn(3, 4, 2).masked_fill(~MASK[..., None], float("nan"))
    lattice = Lattice.of(chain(2), emissions, MASK)
    expected: Tensor = emissions.nan_to_num().permute(1, 2, 0)
    assert lattice.emissions.equal(expected)
    assert lattice.last.tolist() == [3, 1, 0]


def test_turned_twice_real_values_are_as_they_were() -> None:
    emissions = torch.randn(3, 4, 2)
    lattice = Lattice.of(chain(2), emissions, MASK)
    turned = lattice.turn(lattice.emissions)
    assert turned[:, :, 0].equal(lattice.emissions[:, :, 0].flip(0))
    assert turned[:2, :, 1].equal(lattice.emissions[:2, :, 1].flip(0))
    again = lattice.turn(turned).masked_fill(~lattice.mask[:, None], 0)
    assert again.equal(lattice.emissions)


def test_both_ways_stand_beside_one_another() -> None:
    scores, emissions = chain(2), torch.randn(3, 4, 2)
    one = Lattice.of(scores, emissions, MASK)
    both = one.both_ways()
    assert both.emissions[:, :, 0].equal(one.emissions)
    assert both.emissions[:, :, 1].equal(one.turn(one.emissions))
    assert both.start[..., 0].T.equal(torch.stack([scores.start, scores.end]))
    assert both.end[..., 0].T.equal(torch.stack([scores.end, scores.start]))
    assert both.transitions[:, :, 0, 0].equal(scores.transitions.T)
    assert both.transitions[:, :, 1, 0].equal(scores.transitions)
