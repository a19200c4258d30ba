import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fuseloom.metrics.information.entropy import coupling_entropy, entropy, miller_madow, mutual_information

MASSES = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@given(arrays(np.int64, (4, 3), elements=st.integers(0, 9)).filter(np.any))
def test_information_is_what_two_entropies_share(table):
    shared = entropy(table.sum(1)) + entropy(table.sum(0)) - entropy(table)
    assert mutual_information(table) == pytest.approx(shared, abs=1e-12)


@given(MASSES, MASSES, st.integers(0, 1000))
def test_no_coupling_has_less_entropy(first, second, seed):
    """Couplings that fill cells one after another, in any order, have as few cells as there can be."""
    first, second = np.array(first) / sum(first), np.array(second) / sum(second)
    bound = coupling_entropy(first, second)
    assert bound >= max(entropy(first), entropy(second)) - 1e-9
    generator = np.random.default_rng(seed)
    rest = [generator.permutation(first), generator.permutation(second)]
    cells, places = [], [0, 0]
    while all(place < len(one) for place, one in zip(places, rest, strict=True)):
        mass = min(one[place] for place, one in zip(places, rest, strict=True))
        cells.append(mass)
        for which in (0, 1):
            rest[which][places[which]] -= mass
            places[which] += rest[which][places[which]] <= 1e-12
    assert entropy(np.array(cells)) >= bound - 1e-9


def test_the_correction_removes_the_bias_of_independent_rows():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(400):
        counts = generator.multinomial(300, np.full(12, 1 / 12)).reshape(4, 3)
        found.append([mutual_information(counts), mutual_information(counts) - miller_madow(counts)])
    plain, corrected = np.mean(found, axis=0)
    assert plain == pytest.approx(6 / 600, rel=0.15)
    assert abs(corrected) < 0.1 * plain
