"""Measures of similarity against their definitions written out, and against what they must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom.metrics import similarity
from fuseloom.metrics.similarity import (
    canonical_maps,
    column_correlations,
    linear_cka,
    modality_gap,
    nearest,
    neighbour_overlap,
    retrieval_hits,
    unit_rows,
)


def drawn(seed=0, count=50, widths=(4, 4)):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, widths[0]))
    y = x @ generator.normal(size=widths) + generator.normal(size=(count, widths[1]))
    return x + 0.3, y - 0.2


def rotation(width, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def test_cka_is_the_alignment_of_the_centred_kernels():
    x, y = drawn(widths=(3, 7))
    centre = np.eye(50) - 1 / 50
    one, other = (centre @ (z @ z.T) @ centre for z in (x, y))
    expected = np.sum(one * other) / np.sqrt(np.sum(one * one) * np.sum(other * other))
    assert linear_cka(x, y) == pytest.approx(expected)
    assert np.isnan(linear_cka(x, np.ones((50, 2))))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.floats(0.1, 10))
def test_cka_does_not_depend_on_rotation_scale_and_place_but_on_the_pairing(seed, scale):
    x, y = drawn(seed)
    moved = scale * y @ rotation(4, seed) + 3
    assert linear_cka(x, moved) == pytest.approx(linear_cka(x, y))
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y))
    assert linear_cka(x, x @ rotation(4, seed)) == pytest.approx(1)
    assert linear_cka(x, np.roll(y, 1, axis=0)) < linear_cka(x, y)


def test_canonical_correlations_without_a_regulariser_are_the_cosines_of_the_column_spaces():
    x, y = drawn(widths=(3, 5))
    maps = canonical_maps(x, y, regularisers=[1e-12], num_pairs=3)[0]
    bases = [np.linalg.qr(z - z.mean(0))[0] for z in (x, y)]
    expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    np.testing.assert_allclose(column_correlations(x @ maps.x, y @ maps.y), expected, atol=1e-6)
    one = x @ maps.x
    np.testing.assert_allclose(np.cov(one.T, bias=True), np.eye(3), atol=1e-6)


def test_a_regulariser_shrinks_towards_directions_that_vary_much():
    """Two directions correlate; the narrow one more. With enough regularisation the wide one comes first."""
    generator = np.random.default_rng(0)
    shared, narrow, *noise = generator.normal(size=(4, 500))
    x = np.stack([10 * shared, 0.1 * narrow], axis=1)
    y = np.stack([10 * (shared + noise[0]), 0.1 * narrow], axis=1)
    loose, tight = canonical_maps(x, y, regularisers=[1e-9, 1.0], num_pairs=1)
    assert column_correlations(x @ loose.x, narrow[:, None])[0] ** 2 > 0.99
    assert column_correlations(x @ tight.x, shared[:, None])[0] ** 2 > 0.99


def test_few_rows_for_the_width_have_maps_nevertheless():
    x, y = drawn(count=20, widths=(30, 40))
    maps = canonical_maps(x, y, regularisers=[0.1], num_pairs=5)[0]
    assert (column_correlations(x @ maps.x, y @ maps.y) > 0.9).all()


def test_columns_that_do_not_vary_correlate_with_nothing():
    x, y = drawn()
    x[:, 1] = 7.0
    found = column_correlations(x, y)
    assert found[1] == 0
    assert found[0] == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1])


@pytest.mark.parametrize("block", [7, 512])
def test_hits_are_those_of_a_full_ranking(monkeypatch, block):
    monkeypatch.setattr(similarity, "_BLOCK", block)
    x, y = drawn()
    pairings = np.stack([np.arange(50), np.random.default_rng(1).permutation(50)])
    hits = retrieval_hits(x, y, partners=pairings)
    cosines = unit_rows(x) @ unit_rows(y).T
    for place, pairing in enumerate(pairings):
        rank = (cosines > cosines[np.arange(50), pairing][:, None]).sum(1)
        for k, depth in enumerate((1, 5, 10)):
            np.testing.assert_array_equal(hits[place, :, k], rank < depth)


def test_embeddings_that_are_all_the_same_are_retrieved_as_often_as_by_chance():
    same = np.ones((40, 3)) * np.linspace(1, 2, 40)[:, None]  # scales do not count
    hits = retrieval_hits(same, same, partners=np.arange(40)[None])
    np.testing.assert_allclose(hits[0].mean(0), [1 / 40, 5 / 40, 10 / 40], rtol=1e-6)


def test_rows_that_are_twice_there_share_a_hit():
    x = np.repeat(np.eye(4), 2, axis=0)
    hits = retrieval_hits(x, x, partners=np.arange(8)[None], depths=[1, 2])
    np.testing.assert_allclose(hits[0], np.tile([0.5, 1.0], (8, 1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500))
def test_hits_do_not_depend_on_the_length_of_rows_or_a_rotation_of_both(seed):
    x, y = drawn(seed)
    lengths = np.random.default_rng(seed).uniform(0.5, 2, size=(50, 1))
    turn = rotation(4, seed)
    pairing = np.arange(50)[None]
    np.testing.assert_array_equal(
        retrieval_hits(x, y, partners=pairing), retrieval_hits(lengths * x @ turn, y @ turn, partners=pairing)
    )


def test_the_gap_is_the_distance_of_the_means_on_the_sphere():
    x, y = drawn()
    one, other = (z / np.sqrt((z**2).sum(1, keepdims=True)) for z in (x, y))
    assert modality_gap(x, y) == pytest.approx(np.sqrt(((one.mean(0) - other.mean(0)) ** 2).sum()))
    assert modality_gap(x, 3 * x) == pytest.approx(0)


@pytest.mark.parametrize("block", [7, 512])
def test_neighbours_are_the_rows_of_highest_cosine(monkeypatch, block):
    monkeypatch.setattr(similarity, "_BLOCK", block)
    x, _ = drawn()
    cosines = unit_rows(x) @ unit_rows(x).T
    np.fill_diagonal(cosines, -np.inf)
    expected = np.sort(np.argsort(-cosines, axis=1)[:, :6], axis=1)
    np.testing.assert_array_equal(np.sort(nearest(x, 6), axis=1), expected)
    np.testing.assert_array_equal(np.sort(nearest(x, 6, seed=3), axis=1), expected)


def test_neighbours_that_are_equally_near_are_taken_by_chance():
    same = np.ones((100, 2))
    pairs = [(nearest(same, 10, seed=2 * s), nearest(same, 10, seed=2 * s + 1)) for s in range(100)]
    overlap = np.mean([neighbour_overlap(*pair).mean() for pair in pairs])
    assert overlap == pytest.approx(10 / 99, abs=0.03)


def test_overlap_counts_shared_neighbours_in_any_order():
    one, other = np.array([[1, 2, 3], [0, 2, 3]]), np.array([[3, 1, 9], [5, 6, 7]])
    np.testing.assert_allclose(neighbour_overlap(one, other), [2 / 3, 0])
