import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.nn import PolynomialFeatures, count_monomials


@pytest.mark.parametrize("constant", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("num", [1, 4])
def test_inner_products_are_the_polynomial_kernel(num: int, degree: int, constant: float) -> None:
    features = PolynomialFeatures(num, degree, gamma=0.7, constant=constant)
    left, right = (torch.randn(count, num, dtype=torch.float64) for count in (6, 9))
    kernel = (0.7 * left @ right.T + constant) ** degree
    torch.testing.assert_close(features(left) @ features(right).T, kernel)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_each_monomial_occurs_once_with_its_multinomial_coefficient(degree: int) -> None:
    values = torch.rand(3, dtype=torch.float64) + 0.5
    factors = [*(math.sqrt(0.4) * values).tolist(), math.sqrt(2.0)]
    expected = []
    for chosen in combinations_with_replacement(range(4), degree):
        orders = math.factorial(degree) / math.prod(math.factorial(chosen.count(i)) for i in range(4))
        expected.append(math.sqrt(orders) * math.prod(factors[i] for i in chosen))
    features = PolynomialFeatures(3, degree, gamma=0.4, constant=2.0)
    assert features.size == len(expected) == count_monomials(3, degree)
    np.testing.assert_allclose(sorted(features(values).tolist()), sorted(expected), rtol=1e-12)


@pytest.mark.parametrize("places", [(), (3,), (3, 4, 2)])
def test_every_place_has_monomials_of_its_own(places: tuple[int, ...]) -> None:
    features, values = PolynomialFeatures(4, 3), torch.randn(*places, 4)
    rows = [features(row) for row in values.reshape(-1, 4)]
    torch.testing.assert_close(features(values), torch.stack(rows).view(*places, features.size))


def test_the_indices_are_built_where_modules_have_no_storage_yet() -> None:
    with torch.device("meta"):
        features = PolynomialFeatures(4, 3)
    values = torch.randn(5, 4)
    torch.testing.assert_close(features(values), PolynomialFeatures(4, 3)(values))
    assert features.state_dict() == {}


@pytest.mark.parametrize(("num", "degree", "count"), [(1, 1, 2), (24, 2, 325), (768, 2, 296_065)])
def test_monomials_are_counted(num: int, degree: int, count: int) -> None:
    assert count_monomials(num, degree) == count
    assert count_monomials(num, degree, constant=False) == count - count_monomials(num, degree - 1)


@pytest.mark.parametrize(
    ("degree", "options", "message"),
    [
        (0, {}, r"^degree must be at least 1, got 0\.$"),
        (2, {"gamma": 0.0}, r"^gamma must be positive, got 0\.0\.$"),
        (2, {"gamma": math.nan}, r"^gamma must be positive, got nan\.$"),
        (2, {"constant": -0.5}, r"^constant must not be negative, got -0\.5\.$"),
    ],
)
def test_options_out_of_range_are_refused(degree: int, options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PolynomialFeatures(3, degree, **options)
