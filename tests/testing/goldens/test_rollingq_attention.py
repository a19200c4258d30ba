import pytest
import torch

from fuseloom.errors import DataError
from fuseloom.testing.goldens.rollingq_attention import stored_rotation


def test_a_stored_rotation_counts_only_where_it_turns() -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert len(stored_rotation(torch.eye(2), 2)) == 0
    rotation = stored_rotation(turn, 2)
    assert len(rotation) == 1
    assert rotation.matrix()[0].float().equal(turn)


def test_a_rotation_of_several_heads_is_refused() -> None:
    assert stored_rotation(torch.eye(2), 6).dim == 6
    with pytest.raises(
        DataError, match=r"rotate must be the identity where there are several heads, got 2 rows"
    ):
        stored_rotation(-torch.eye(2), 6)
