import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.train.remedies._min_norm import min_norm_weights


@st.composite
def grams(draw):
    """Of vectors that may be few-dimensional, repeated, zero, huge or tiny."""
    count, width = draw(st.integers(3, 7)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    vectors = torch.randn(count, width, generator=generator, dtype=torch.float64)
    vectors = vectors + draw(st.sampled_from([0.0, 0.5, 3.0]))
    vectors = vectors * 10.0 ** draw(st.sampled_from([-6, 0, 6]))
    for place in draw(st.sets(st.integers(1, count - 1), max_size=2)):
        vectors[place] = vectors[0] * draw(st.sampled_from([1.0, 0.0, -1.0, 2.0]))
    return vectors @ vectors.T


@given(grams())
def test_no_vector_could_shorten_the_mixture(gram):
    shares = min_norm_weights(gram)
    assert (shares >= 0).all()
    assert shares.sum().item() == pytest.approx(1)
    # The mixture is the shortest where its product with every vector is its own square at least.
    slack = (gram @ shares).min() - shares @ gram @ shares
    assert slack >= -1e-9 * gram.diagonal().max()


@given(st.integers(0, 10**6), st.integers(3, 6))
def test_the_nearest_point_of_a_simplex_is_that_of_the_closed_form(seed, count):
    point = 2 * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ordered = point.sort(descending=True).values
    heights = (ordered.cumsum(0) - 1) / torch.arange(1, count + 1)
    level = heights[(ordered > heights).nonzero()[-1, 0]]
    corners = torch.eye(count, dtype=torch.float64) - point
    torch.testing.assert_close(min_norm_weights(corners @ corners.T), (point - level).clamp(min=0))


@pytest.mark.parametrize("least", [0.0, 0.001, 0.25])
@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ([2.0, 0.0], [0.0, 1.0], 0.2),
        ([1.0, 0.0], [-1.0, 0.0], 0.5),
        ([1.0, 0.0], [3.0, 0.0], 1.0),
        ([3.0, 0.0], [1.0, 0.0], 0.0),
        ([1.0, 1.0], [1.0, 1.0], 1.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0),
        ([1.0, 0.0], [0.0, 0.0], 0.0),
    ],
)
def test_of_two_vectors_the_shares_are_the_closed_form(least, first, second, share):
    vectors = torch.tensor([first, second])
    wanted = {1.0: 1 - least, 0.0: least}.get(share, share)
    shares = min_norm_weights(vectors @ vectors.T, least=least)
    assert shares.tolist() == pytest.approx([wanted, 1 - wanted], abs=1e-6)


@given(st.integers(0, 10**6))
def test_no_other_mixture_of_two_is_shorter(seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    shares = min_norm_weights(vectors @ vectors.T, least=0.0)
    steps = torch.linspace(0, 1, 201, dtype=torch.float64)
    others = steps[:, None] * vectors[0] + (1 - steps[:, None]) * vectors[1]
    assert (shares @ vectors).norm() <= others.norm(dim=1).min() + 1e-12


def test_vectors_around_the_origin_cancel():
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [5.0, 5.0]])
    shares = min_norm_weights(vectors @ vectors.T)
    torch.testing.assert_close(shares @ vectors, torch.zeros(2), atol=1e-6, rtol=0)
    assert shares.dtype == torch.float32


def test_one_vector_is_all_there_is():
    assert min_norm_weights(torch.tensor([[4.0]])).tolist() == [1.0]


def test_vectors_of_length_zero_are_the_shortest():
    assert min_norm_weights(torch.zeros(3, 3)).sum() == 1
    assert min_norm_weights(torch.diag(torch.tensor([2.0, 0.0, 3.0]))).tolist() == [0, 1, 0]
