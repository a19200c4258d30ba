"""Distances between features of generated and real pictures."""

import pytest
import torch
from scipy import linalg
from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.generation import frechet_distance, kernel_distance


def features(count: int, width: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ torch.randn(
        width, width, generator=generator, dtype=torch.float64
    )


def test_the_frechet_distance_is_that_of_its_formula() -> None:
    found, real = features(80), features(50, seed=1) + 0.5
    root = linalg.sqrtm(torch.cov(found.mT).numpy() @ torch.cov(real.mT).numpy()).real
    expected = (found.mean(0) - real.mean(0)).square().sum() + torch.cov(found.mT).trace()
    expected += torch.cov(real.mT).trace() - 2 * root.trace()
    assert frechet_distance(found, real) == pytest.approx(float(expected), rel=1e-9)
    assert frechet_distance(found, real) == pytest.approx(frechet_distance(real, found), rel=1e-9)


def test_a_set_is_no_distance_from_itself_even_with_more_features_than_pictures() -> None:
    few = features(5, 12)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6 * float(torch.cov(few.mT).trace()))
    assert frechet_distance(features(9, 1), features(9, 1)) == pytest.approx(0, abs=1e-6)


def test_the_kernel_distance_is_that_of_its_formula() -> None:
    found, real = features(7), features(7, seed=2)

    def kernel(one: Tensor, other: Tensor) -> float:
        return float((one @ other / len(one) + 1) ** 3)

    within = [
        kernel(a, b)
        for each in (found, real)
        for i, a in enumerate(each)
        for j, b in enumerate(each)
        if i != j
    ]
    across = [kernel(a, b) for a in found for b in real]
    assert kernel_distance(found, real) == pytest.approx(sum(within) / 42 - 2 * sum(across) / 49, rel=1e-9)


def test_subsets_are_drawn_where_the_sets_are_larger_and_always_the_same() -> None:
    found, real = features(60), features(40, seed=3)
    one = kernel_distance(found, real, subsets=20, size=30)
    assert one == kernel_distance(found, real, subsets=20, size=30)
    assert one != kernel_distance(found, real, subsets=20, size=30, seed=1)
    drawn = [kernel_distance(found, real, subsets=1, size=30, seed=seed) for seed in range(40)]
    assert abs(one - torch.tensor(drawn).mean()) < 4 * torch.tensor(drawn).std() / 20**0.5


def test_single_precision_is_computed_in_double() -> None:
    found, real = features(30).float(), features(30, seed=1).float()
    assert frechet_distance(found, real) == frechet_distance(found.double(), real.double())
    assert kernel_distance(found, real) == kernel_distance(found.double(), real.double())


def test_bad_input_is_answered() -> None:
    with pytest.raises(DataError, match=r"\[N, D\] and \[M, D\], got \(4, 6\) and \(4, 5\)"):
        frechet_distance(features(4), features(4, 5))
    with pytest.raises(DataError, match="two pictures or more of each, got 1 and 4"):
        kernel_distance(features(1), features(4))
    with pytest.raises(OptionError, match="subsets must be 1 or more, and size 2 or more, got 0 and 1000"):
        kernel_distance(features(4), features(4), subsets=0)
