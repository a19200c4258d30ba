import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom import Batch
from fuseloom.train.feed import Feed


def rows(count=23, weight=None):
    extras = {} if weight is None else {"weight": weight}
    return Batch(inputs={"x": torch.arange(float(count))}, extras=extras)


def test_an_epoch_is_drawn_as_the_plain_loop_draws_it():
    torch.manual_seed(5)
    shuffled = torch.cat([piece.rows.inputs["x"] for piece in Feed(rows(), 4)])
    torch.manual_seed(5)
    assert shuffled.equal(torch.randperm(23).float())


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_the_pieces_of_a_step_add_up_to_its_mean(count, size, pieces, world, weighted):
    weight = torch.rand(count) + 0.1 if weighted else None
    order = torch.randperm(count)
    feeds = [
        Feed(rows(count, weight), size, mass=_mass, pieces=pieces, rank=rank, world=world)
        for rank in range(world)
    ]
    for feed in feeds:
        feed._order = lambda: order
    given_out = [list(feed) for feed in feeds]
    assert {len(one) for one in given_out} == {len(feeds[0])}
    for step in range(-(-count // size)):
        parts = [one[step * pieces + piece] for one in given_out for piece in range(pieces)]
        loss = sum(part.share * _mean(part.rows) for part in parts) / (pieces * world)
        whole = rows(count, weight).take(order[step * size : (step + 1) * size])
        torch.testing.assert_close(loss, _mean(whole))
        seen = torch.cat([part.rows.inputs["x"] for part in parts if part.share > 0])
        assert sorted(seen.tolist()) == sorted(whole.inputs["x"].tolist())


def _weight(batch):
    return batch.extras.get("weight", torch.ones(len(batch)))


def _mass(batch):
    return float(_weight(batch).sum())


def _mean(batch):
    return (batch.inputs["x"] * _weight(batch)).sum() / _weight(batch).sum()


@pytest.mark.parametrize("done", [0, 1, 7, 12])
def test_an_epoch_goes_on_where_it_stopped(done):
    torch.manual_seed(1)
    whole = [piece.rows.inputs["x"].tolist() for piece in Feed(rows(), 4, pieces=2)]
    torch.manual_seed(1)
    feed = Feed(rows(), 4, pieces=2)
    given_out = iter(feed)
    first = [next(given_out).rows.inputs["x"].tolist() for _ in range(done)]
    again = Feed(rows(), 4, pieces=2)
    again.load_state_dict(feed.state_dict())
    if done:
        torch.manual_seed(99)
    rest = [piece.rows.inputs["x"].tolist() for piece in again]
    if done == len(feed):  # the epoch was over, so the next one is drawn
        assert len(rest) == len(feed)
        assert rest != whole
    else:
        assert first + rest == whole


def test_each_epoch_has_an_order_of_its_own():
    feed = Feed(rows(), 23)
    first, second = (next(iter(list(feed))).rows.inputs["x"] for _ in range(2))
    assert not first.equal(second)
    assert first.sort().values.equal(second.sort().values)
