import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fuseloom.errors import DataError, MaskError, OptionError
from fuseloom.losses import cca_loss


def correlations(first: Tensor, second: Tensor, ridge: float) -> np.ndarray:
    """Canonical correlations by inverse square roots, as the method is written down."""
    x, y = (values.double().numpy() - values.double().numpy().mean(0) for values in (first, second))
    roots = []
    for values in (x, y):
        eigenvalues, vectors = np.linalg.eigh(np.cov(values.T) + ridge * np.eye(values.shape[1]))
        roots.append(vectors @ np.diag(eigenvalues**-0.5) @ vectors.T)
    cross = x.T @ y / (len(x) - 1)
    return np.linalg.svd(roots[0] @ cross @ roots[1], compute_uv=False)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    shared = torch.randn(30, 2)
    first = torch.cat([shared, torch.randn(30, 3)], 1) @ torch.randn(5, 5)
    return first, torch.cat([shared + 0.3 * torch.randn(30, 2), torch.randn(30, 1)], 1) + 5


@pytest.mark.parametrize("top", [None, 1, 2, 3])
@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_the_loss_is_the_sum_of_the_largest_correlations(
    pair: tuple[Tensor, Tensor], top: int | None, ridge: float
) -> None:
    expected = -correlations(*pair, ridge)[:top].sum()
    assert cca_loss(*pair, top=top, ridge=ridge).item() == pytest.approx(expected, rel=1e-6)
    assert cca_loss(*pair[::-1], top=top, ridge=ridge).item() == pytest.approx(expected, rel=1e-6)


def test_one_feature_each_gives_the_correlation_of_pearson(pair: tuple[Tensor, Tensor]) -> None:
    first, second = (values[:, :1] for values in pair)
    expected = -abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1])
    assert cca_loss(first, second, ridge=1e-12).item() == pytest.approx(expected, rel=1e-6)


def test_invertible_maps_change_nothing_where_there_is_next_to_no_ridge(pair: tuple[Tensor, Tensor]) -> None:
    first, second = pair
    mapped = first @ (torch.randn(5, 5) + 3 * torch.eye(5)) - 7
    torch.testing.assert_close(
        cca_loss(mapped, second, ridge=1e-9), cca_loss(first, second, ridge=1e-9), rtol=1e-4, atol=0
    )


def test_faithful_adds_the_ridge_to_the_squared_correlations(pair: tuple[Tensor, Tensor]) -> None:
    expected = -np.sqrt(correlations(*pair, 0.01)[:2] ** 2 + 0.01).sum()
    assert cca_loss(*pair, top=2, ridge=0.01, faithful=True).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_are_those_of_finite_differences(pair: tuple[Tensor, Tensor]) -> None:
    inputs = [values.double().requires_grad_() for values in pair]
    torch.autograd.gradcheck(lambda a, b: cca_loss(a, b, top=2).double(), inputs)


def test_masked_rows_do_not_count_and_get_no_gradient(pair: tuple[Tensor, Tensor]) -> None:
    mask = torch.arange(30) % 3 > 0
    dirty = [
        values.masked_fill(~mask[:, None], poison).requires_grad_()
        for values, poison in zip(pair, (torch.nan, torch.inf), strict=True)
    ]
    loss = cca_loss(*dirty, mask=mask)
    assert loss.item() == pytest.approx(cca_loss(*(values[mask] for values in pair)).item(), rel=1e-6)
    loss.backward()
    for values in dirty:
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert values.grad.abs().sum(1).gt(0).equal(mask)


@pytest.mark.parametrize("kept", [0, 1])
def test_too_few_rows_to_correlate_give_zero_and_finite_gradients(
    pair: tuple[Tensor, Tensor], kept: int
) -> None:
    inputs = [values.clone().requires_grad_() for values in pair]
    loss = cca_loss(*inputs, mask=torch.arange(30) < kept)
    loss.backward()
    assert loss.item() == 0
    assert all(values.grad is not None and values.grad.isfinite().all() for values in inputs)


def test_gradients_stay_finite_where_eigenvalues_coincide_and_features_are_constant() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(2, 1)
    white = torch.cat([signs, torch.ones(8, 1)], 1).requires_grad_()
    loss = cca_loss(white, white.detach().clone())
    loss.backward()
    assert loss.item() == pytest.approx(-2, abs=3e-3)
    assert white.grad is not None
    assert white.grad.isfinite().all()


def test_bfloat16_is_computed_wide(pair: tuple[Tensor, Tensor]) -> None:
    low = [values.bfloat16() for values in pair]
    loss = cca_loss(*low)
    assert loss.dtype == torch.float32
    assert loss.equal(cca_loss(*(values.float() for values in low)))


@pytest.mark.compile
def test_it_compiles_whole(pair: tuple[Tensor, Tensor]) -> None:
    compiled = torch.compile(cca_loss, fullgraph=True, backend="aot_eager")
    mask = torch.arange(30) > 2
    torch.testing.assert_close(compiled(*pair, mask=mask), cca_loss(*pair, mask=mask))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (torch.ones(9, 2, 2), torch.ones(9, 2), r"must be \[B, D_1\] and .* got \[9, 2, 2\] and \[9, 2\]"),
        (torch.ones(9, 2), torch.ones(8, 2), r"of one batch, got \[9, 2\] and \[8, 2\]"),
        (torch.ones(4, 2), torch.ones(4, 4), r"more rows than features, got \[4, 2\] and \[4, 4\]\. Fewer"),
    ],
)
def test_values_that_cannot_be_correlated_are_refused(first: Tensor, second: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cca_loss(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top must be from 1 to 3, the narrower width, got 0"),
        ({"top": 4}, "top must be from 1 to 3, the narrower width, got 4"),
        ({"ridge": 0.0}, "ridge must be above 0, got 0.0"),
        ({"ridge": math.nan}, "ridge must be above 0, got nan"),
        ({"faithful": True}, "top must be given with faithful=True, got None"),
    ],
)
def test_options_out_of_range_are_refused(
    pair: tuple[Tensor, Tensor], options: dict[str, float], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        cca_loss(*pair, **options)


@pytest.mark.parametrize("mask", [torch.ones(30), torch.ones(29, dtype=torch.bool)])
def test_a_mask_that_does_not_fit_is_refused(pair: tuple[Tensor, Tensor], mask: Tensor) -> None:
    with pytest.raises(MaskError, match=r"mask must be bool of shape \[30\], got torch\."):
        cca_loss(*pair, mask=mask)
