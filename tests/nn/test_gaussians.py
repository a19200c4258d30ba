import numpy as np
import pytest
import torch
from torch import Tensor

from fuseloom.nn import product_of_gaussians


def on_a_grid(mean: list[float], log_variance: list[float]) -> tuple[float, float]:
    """Mean and variance of the normalised product of densities, by numerical integration."""
    grid = np.linspace(-30, 30, 200_001)
    log_density = -sum(
        (grid - m) ** 2 / np.exp(v) / 2 for m, v in zip(mean, log_variance, strict=True)
    ) * np.ones_like(grid)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    center = float((density * grid).sum())
    return center, float((density * (grid - center) ** 2).sum())


@pytest.mark.parametrize("prior", [False, True])
def test_it_is_the_product_of_the_densities(prior: bool) -> None:
    means, log_variances = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    present = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [False] * 3])
    mean, log_variance, shares = product_of_gaussians(means, log_variances, present, prior=prior)
    for row, column in np.ndindex(4, 2):
        experts = [(0.0, 0.0)] if prior else []
        kept = present[row]
        pairs = zip(means[row, kept, column].tolist(), log_variances[row, kept, column].tolist(), strict=True)
        experts = experts + list(pairs)
        expected = on_a_grid(*map(list, zip(*experts, strict=True))) if experts else (0.0, 1.0)
        found = mean[row, column].item(), log_variance[row, column].exp().item()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    precision = torch.where(present[..., None], (-log_variances).exp(), 0)
    total = (precision.sum(1, keepdim=True) + prior).clamp(min=1e-30)
    torch.testing.assert_close(shares, precision / total)


def test_without_a_mask_all_experts_count() -> None:
    means, log_variances = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    everyone = torch.ones(4, 3, dtype=torch.bool)
    for found, expected in zip(
        product_of_gaussians(means, log_variances),
        product_of_gaussians(means, log_variances, everyone),
        strict=True,
    ):
        assert found.equal(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("prior", [False, True])
def test_the_surest_expert_decides_however_sure_it_is(dtype: torch.dtype, prior: bool) -> None:
    means = torch.tensor([[[3.0], [-2.0]]], dtype=dtype)
    extreme = torch.tensor([[[-400.0], [300.0]]], dtype=dtype, requires_grad=True)
    mean, log_variance, shares = product_of_gaussians(means, extreme, prior=prior)
    assert (mean.item(), log_variance.item()) == (3.0, -400.0)
    assert shares.flatten().tolist() == [1.0, 0.0]
    assert mean.dtype == log_variance.dtype == shares.dtype == dtype
    (gradient,) = torch.autograd.grad((mean + log_variance).sum(), extreme)
    assert gradient.flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("prior", [False, True])
def test_gradients_stay_finite_and_off_absent_experts(prior: bool) -> None:
    given: list[Tensor] = [torch.randn(3, 2, 4, requires_grad=True) for _ in range(2)]
    present = torch.tensor([[True, True], [False, True], [False, False]])
    mean, log_variance, _ = product_of_gaussians(*given, present, prior=prior)
    for gradient in torch.autograd.grad((mean.square() + log_variance).sum(), given):
        assert gradient.isfinite().all()
        assert not gradient[~present].any()
        assert gradient[present].all()
