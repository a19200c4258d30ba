import pytest
import torch
from torch.nn import functional as F

from fuseloom.nn import sum_of_linears


@pytest.mark.parametrize("places", [(), (3,), (3, 4)], ids=["vectors", "tokens", "map"])
@pytest.mark.parametrize("widths", [(5,), (2, 3, 4)], ids=["one", "three"])
def test_it_is_the_linear_map_of_the_concatenation(places: tuple[int, ...], widths: tuple[int, ...]) -> None:
    values = [torch.randn(2, *places, width) for width in widths]
    weights, bias = [torch.randn(6, width) for width in widths], torch.randn(6)
    joined = F.linear(torch.cat(values, -1), torch.cat(weights, 1), bias)
    torch.testing.assert_close(sum_of_linears(values, weights, bias), joined, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sum_of_linears(values, weights), joined - bias, rtol=1e-5, atol=1e-5)


def test_values_without_a_weight_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        sum_of_linears([torch.ones(1, 2), torch.ones(1, 2)], [torch.ones(3, 2)])
