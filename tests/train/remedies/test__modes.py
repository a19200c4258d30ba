import pytest
from torch import nn

from fuseloom.train.remedies._modes import modes_kept


def change_and_stop(first, second):
    with modes_kept(first, second):
        first.eval()
        second.train()
        raise RuntimeError("stop")


def test_every_part_is_in_its_mode_again_even_behind_an_error():
    first, second = nn.Sequential(nn.Dropout(), nn.Dropout().eval()), nn.Dropout().eval()
    with pytest.raises(RuntimeError, match="stop"):
        change_and_stop(first, second)
    assert [first.training, first[0].training, first[1].training] == [True, True, False]
    assert not second.training
