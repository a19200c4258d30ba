import numpy as np
import pytest
import torch

from fuseloom.nn import route


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("batch", [(6,), (2, 3)])
def test_each_source_votes_for_the_concepts_that_agree_with_it(
    iterations: int, batch: tuple[int, ...]
) -> None:
    votes, gates = torch.randn(*batch, 5, 3, 4), torch.rand(*batch, 5)
    concepts, shares = route(votes, gates, iterations=iterations)
    for at in np.ndindex(batch):
        u, p = votes[at].double().numpy(), gates[at].double().numpy()
        c = np.ones((3, 4))
        for _ in range(iterations):
            r = np.zeros((5, 3))
            for i in range(5):
                agreement = np.exp([u[i, j] @ c[j] for j in range(3)])
                r[i] = agreement / agreement.sum()
            c = np.stack([sum(p[i] * r[i, j] * u[i, j] for i in range(5)) for j in range(3)])
        np.testing.assert_allclose(shares[at], r, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(concepts[at], c, rtol=1e-3, atol=1e-4)


def test_a_source_with_a_closed_gate_has_no_influence() -> None:
    votes, gates = torch.randn(2, 3, 4, 5), torch.rand(2, 3)
    gates[:, 1] = 0
    others = torch.tensor([0, 2])
    concepts, shares = route(votes, gates, iterations=4)
    expected, expected_shares = route(votes[:, others], gates[:, others], iterations=4)
    torch.testing.assert_close(concepts, expected)
    torch.testing.assert_close(shares[:, others], expected_shares)


def test_where_all_gates_are_closed_the_concepts_are_zero_and_gradients_finite() -> None:
    votes = torch.randn(2, 3, 4, 5, requires_grad=True)
    concepts, shares = route(votes, torch.zeros(2, 3), iterations=3)
    assert not concepts.any()
    torch.testing.assert_close(shares, torch.full((2, 3, 4), 0.25))
    (gradient,) = torch.autograd.grad(concepts.sum(), votes)
    assert not gradient.any()
