"""Donors along an alignment, and one of several."""

import pytest
import torch

from fuseloom.nn.donor import Donor, donor_by_position, donor_by_score
from fuseloom.types import Alignment


def donors(count, places, *, reals=None):
    """Donor ``k`` gives ``k`` everywhere; scores are random."""
    return [
        Donor(
            tokens=torch.full((2, places, 1), float(number)),
            real=None if reals is None else reals[number],
            score=torch.rand(2, places),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_turns_are_even_at_any_length_and_the_same_at_all(count):
    whose = donor_by_position(donors(count, 1000)).tokens[0, :, 0].long()
    blocks = whose[: 1000 - 1000 % count].view(-1, count)
    assert blocks.sort(-1).values.eq(torch.arange(count)).all()
    assert donor_by_position(donors(count, 64)).tokens[0, :, 0].long().equal(whose[:64])


@pytest.mark.parametrize("count", [2, 3, 4, 7])
@pytest.mark.parametrize("width", [7, 8, 13, 14, 16, 21, 32, 64])
def test_no_column_and_no_row_of_a_grid_has_one_donor(count, width):
    whose = donor_by_position(donors(count, 24 * width)).tokens[0, :, 0].view(24, width)
    assert not whose.eq(whose[0]).all(0).any()
    assert not whose.eq(whose[:, :1]).all(1).any()


def test_the_turn_of_a_donor_that_is_not_real_goes_to_the_next():
    reals = torch.ones(3, 2, 20, dtype=torch.bool)
    everyone = donor_by_position(donors(3, 20, reals=reals)).tokens[..., 0]
    reals[1, 0], reals[:, 1, 5] = False, False
    found = donor_by_position(donors(3, 20, reals=reals))
    expected = torch.where(everyone[0] == 1, 2.0, everyone[0])
    assert found.tokens[0, :, 0].equal(expected)
    assert found.tokens[1, :5, 0].equal(everyone[1, :5])
    assert found.real.equal(reals.any(0))
    one = donors(3, 20, reals=[reals[0], None, reals[2]])
    assert donor_by_position(one).real is None


def test_the_highest_score_of_the_real_wins():
    reals = torch.rand(3, 2, 20) < 0.5
    given = donors(3, 20, reals=reals)
    scores = torch.stack([donor.score for donor in given])
    found = donor_by_score(given)
    best = scores.masked_fill(~reals, -1).argmax(0)
    some = reals.any(0)
    assert found.real.equal(some)
    assert found.tokens[..., 0][some].equal(best[some].float())
    assert found.score[some].equal(scores.masked_fill(~reals, -1).amax(0)[some])


def test_a_place_gets_the_weighted_mean_of_the_real_tokens_aligned_to_it():
    donor = Donor(
        tokens=torch.tensor([[[1.0], [5.0], [0.0]]]),
        real=torch.tensor([[True, True, False]]),
        score=torch.tensor([[0.2, 0.6, 0.9]]),
    )
    pairs = Alignment.from_pairs(
        [[(0, 1, 3.0), (1, 1, 1.0), (2, 1, 9.0), (2, 2), (1, 3, 0.5), (-1, 0), (9, 0)]]
    )
    moved = donor.move(pairs, 4)
    assert moved.real.tolist() == [[False, True, False, True]]
    torch.testing.assert_close(moved.tokens[0, [1, 3], 0], torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(moved.score[0, [1, 3]], torch.tensor([0.3, 0.6]))
    assert donor.move(None, 3) is donor
