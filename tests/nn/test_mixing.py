import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.nn.mixing import ConstantShare, GatedShare, LearnedShare
from fuseloom.nn.partners import Pairs
from fuseloom.types import Alignment


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(OptionError, match=r"^mix must be in \[0, 1\], got"):
        ConstantShare(share)


def test_shares_are_between_nothing_and_everything() -> None:
    own, other = 10 * torch.randn(2, 7, 4), 10 * torch.randn(2, 3, 4)
    pairs = Pairs.take(Alignment.from_pairs([[(0, 6), (2, 1)], [(1, 1)]]), other, 7)
    half = torch.lerp(own[0, 6], other[0, 0], 0.5)
    for part, share in ((ConstantShare(0.5), 0.5), (LearnedShare(), 0.5)):
        mixed, found = part(own, pairs)
        assert found.tolist() == [share]
        torch.testing.assert_close(mixed[0, 6], half)
        assert mixed[1, 2:].equal(own[1, 2:])
    mixed, gated = GatedShare(4)(own, pairs)
    assert ((gated > 0) & (gated < 1)).all()
    assert gated.std() > 0.01
    torch.testing.assert_close(mixed[0, 6], torch.lerp(own[0, 6], other[0, 0], gated[0, 6]))
    assert mixed[1, 2:].equal(own[1, 2:])
