import numpy as np
import pytest

from fuseloom.diagnose import symbols
from fuseloom.diagnose.symbols import held_out_gain, symbolise
from fuseloom.errors import MissingExtraError, OptionError


def clouds(count=1200, width=6, seed=0):
    """Two sources of two clouds each; the label is their exclusive or, so neither source alone tells it."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(2, size=(2, count))
    values = {name: generator.normal(size=(count, width)) for name in "ab"}
    for name, one in zip("ab", bits, strict=True):
        values[name][:, 0] += 8 * one
    return values, bits, bits[0] ^ bits[1]


def test_clusters_are_chosen_for_what_both_sources_tell():
    values, bits, labels = clouds()
    found = symbolise(values, labels)
    assert found.clustered == ("a", "b")
    for name, bit in zip("ab", bits, strict=True):
        counts = np.histogram2d(found.codes[name], bit, bins=(found.counts[name], 2))[0]
        assert counts.max(1).sum() > 0.98 * len(bit)


def test_a_count_that_is_given_is_used():
    values, _, labels = clouds()
    assert symbolise(values, labels, num_clusters=5).counts == {"a": 5, "b": 5}


def test_few_different_values_are_symbols_as_they_are():
    generator = np.random.default_rng(0)
    coins = generator.integers(3, size=(300, 2)).astype(float)
    found = symbolise({"a": coins, "b": generator.normal(size=(300, 2))}, coins[:, 0].astype(int))
    assert found.clustered == ("b",)
    assert found.counts["a"] == 9
    pairs = {tuple(row): set() for row in coins}
    for row, code in zip(coins, found.codes["a"], strict=True):
        pairs[tuple(row)].add(code)
    assert all(len(codes) == 1 for codes in pairs.values())


def test_many_rows_are_clustered_by_some_of_them(monkeypatch):
    values, bits, labels = clouds()
    monkeypatch.setattr(symbols, "_MOST_FITTED", 100)
    found = symbolise(values, labels, num_clusters=2)
    assert len(found.codes["a"]) == 1200
    assert abs(np.corrcoef(found.codes["a"], bits[0])[0, 1]) > 0.99


def test_units_of_a_column_do_not_matter():
    values, _, labels = clouds()
    scaled = {name: one * np.array([1e6, 1, 1, 1e-6, 1, 1]) + 5 for name, one in values.items()}
    for name, codes in symbolise(scaled, labels, num_clusters=4).codes.items():
        np.testing.assert_array_equal(codes, symbolise(values, labels, num_clusters=4).codes[name])


def test_symbols_that_say_nothing_do_not_gain():
    generator = np.random.default_rng(0)
    labels, fold = generator.integers(2, size=2000), np.arange(2000) % 5
    few, many = (generator.integers(size, size=2000) for size in (2, 30))
    gains = [held_out_gain([codes, codes], labels, fold) for codes in (labels, few, many)]
    assert gains[0] > gains[1] > gains[2]


def test_options():
    values, _, labels = clouds(30)
    with pytest.raises(OptionError, match="num_clusters must be from 2 to 30, the rows, got 1"):
        symbolise(values, labels, num_clusters=1)


def test_without_scikit_learn_the_command_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.cluster", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[workbench\]'"):
        symbolise(clouds(30)[0], clouds(30)[2])
