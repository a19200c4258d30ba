import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.merge.concat import Concat, convert_concat

DIMS = {"text": 3, "audio": 1, "image": 2}


def test_a_linear_map_of_the_concatenation_is_converted() -> None:
    linear = nn.Linear(6, 4)
    merge = Concat(DIMS, 4)
    merge.load_state_dict(convert_concat(linear.weight, linear.bias, DIMS))
    streams = {name: torch.randn(5, width) for name, width in DIMS.items()}
    expected = linear(torch.cat([streams[name] for name in DIMS], dim=1))
    torch.testing.assert_close(merge(streams), expected)


def test_converted_parts_share_no_memory() -> None:
    state = convert_concat(torch.ones(4, 6), torch.ones(4), DIMS)
    assert all(value.is_contiguous() for value in state.values())
    assert len({value.untyped_storage().data_ptr() for value in state.values()}) == len(state)


@pytest.mark.parametrize("shape", [(4, 5), (6,)])
def test_columns_must_be_those_of_dims(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match=r"weight must have shape \[dim, 6\], the sum of dims"):
        convert_concat(torch.ones(shape), torch.ones(4), DIMS)
