from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.data import Dataset, Schema, make_splits
from fuseloom.data.splits import FEW_ROWS
from fuseloom.errors import DataError, OptionError


def dataset(target, split=None, groups=None) -> Dataset:
    return Dataset(
        name="rows",
        modalities={},
        target=np.array(target),
        ids=[str(i) for i in range(len(target))],
        split=None if split is None else np.array(split),
        schema=Schema(source_format="arrays", modalities={}),
        groups=None if groups is None else np.array(groups, dtype=object),
    )


def counts(split) -> dict[str, int]:
    return {name: int((split == name).sum()) for name in ("train", "valid", "test")}


def only(rows: Dataset, *, stratify: bool = False, seed: int = 0):
    """A single split."""
    (split,) = make_splits(rows, stratify=stratify, seed=seed, folds=1)
    return split


def test_shares_are_a_fifth_and_a_fifth_of_the_rest() -> None:
    assert counts(only(dataset(np.arange(100.0)))) == {"train": 64, "valid": 16, "test": 20}


@given(st.lists(st.integers(0, 4), min_size=20, max_size=80), st.integers(0, 5))
def test_classes_keep_their_shares(target: list[int], seed: int) -> None:
    target += [0, 1] * 10
    split = only(dataset(target), stratify=True, seed=seed)
    for label in set(target):
        members = split[np.array(target) == label]
        assert abs((members == "test").sum() - 0.2 * len(members)) <= 1
        assert (members == "train").sum() >= len(members) / 4
    assert sum(counts(split).values()) == len(target)


def test_a_class_of_one_row_stays_in_training() -> None:
    target = ["rare", *["a", "b"] * 20]
    for seed in range(20):
        split = only(dataset(target), stratify=True, seed=seed)
        assert split[0] == "train"
        assert min(counts(split).values()) > 0


def test_the_draw_follows_its_seed_and_nothing_else() -> None:
    rows = dataset(np.arange(50.0))
    first = only(rows, seed=1)
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(only(rows, seed=1), first)
    assert (only(rows, seed=2) != first).any()


def test_rows_sorted_by_class_are_shuffled() -> None:
    split = only(dataset([0] * 50 + [1] * 50))
    assert 0 < (split[:50] == "test").sum() < 20


def test_given_splits_are_kept_and_completed() -> None:
    given_split = ["train"] * 20 + ["test"] * 5
    (split,) = make_splits(dataset(np.arange(25.0), given_split), stratify=False, seed=0)
    assert counts(split) == {"train": 16, "valid": 4, "test": 5}
    assert (split[20:] == "test").all()
    (split,) = make_splits(dataset(np.arange(10.0), ["train"] * 9 + ["valid"]), stratify=False, seed=0)
    assert split[9] == "valid"
    assert counts(split) == {"train": 7, "valid": 1, "test": 2}


def test_the_given_splits_are_not_changed() -> None:
    rows = dataset(np.arange(20.0), ["train"] * 20)
    make_splits(rows, stratify=False, seed=0)
    assert (rows.split == "train").all()


def test_splits_without_training_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"rows must have training rows, got splits \['test', 'valid'\]"):
        make_splits(dataset([1.0, 2.0], ["valid", "test"]), stratify=False, seed=0)


@pytest.mark.parametrize("target", [["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_too_few_rows_are_refused(target: list[str]) -> None:
    with pytest.raises(DataError, match="must have enough rows for train, valid and test"):
        make_splits(dataset(target), stratify=True, seed=0, folds=1)


@given(st.lists(st.integers(0, 3), min_size=12, max_size=60), st.integers(2, 6))
def test_made_folds_validate_each_row_that_is_not_tested_once(target: list[int], folds: int) -> None:
    splits = make_splits(dataset(target), stratify=True, seed=0, folds=folds)
    tested = splits[0] == "test"
    assert len(splits) == folds
    assert all(((split == "test") == tested).all() for split in splits)
    assert (sum((split == "valid").astype(int) for split in splits) == ~tested).all()


@given(st.lists(st.integers(0, 3), min_size=12, max_size=60), st.integers(2, 6))
def test_made_folds_keep_the_shares_of_classes(target: list[int], folds: int) -> None:
    for split in make_splits(dataset(target), stratify=True, seed=0, folds=folds):
        for label in set(target):
            members = split[np.array(target) == label]
            left = (members != "test").sum()
            assert abs((members == "test").sum() - 0.2 * len(members)) <= 1
            assert abs((members == "valid").sum() - left / folds) < 1


def test_the_test_rows_do_not_depend_on_the_number_of_folds() -> None:
    rows = dataset(np.arange(80.0))
    tested = [make_splits(rows, stratify=False, seed=3, folds=folds)[0] == "test" for folds in (1, 2, 5)]
    assert (tested[0] == tested[1]).all()
    assert (tested[1] == tested[2]).all()


@pytest.mark.parametrize(("rows", "folds"), [(FEW_ROWS - 1, 5), (FEW_ROWS, 1)])
def test_few_rows_are_folded_by_default(rows: int, folds: int) -> None:
    assert len(make_splits(dataset(np.arange(float(rows))), stratify=False, seed=0)) == folds
    given_split = ["train"] * (rows - 2) + ["test", "valid"]
    assert len(make_splits(dataset(np.arange(float(rows)), given_split), stratify=False, seed=0)) == 1


def test_given_folds_are_kept_and_completed() -> None:
    folds = [np.array(["train"] * 15 + ["test"] * 5), np.array(["test"] * 5 + ["train"] * 15)]
    splits = make_splits(replace(dataset(np.arange(20.0)), folds=folds), stratify=False, seed=0)
    assert [counts(split) for split in splits] == [{"train": 12, "valid": 3, "test": 5}] * 2
    assert (splits[1][:5] == "test").all()


def test_folds_are_made_of_the_training_rows_where_test_rows_are_given() -> None:
    rows = dataset(np.arange(30.0), ["train"] * 24 + ["test"] * 6)
    splits = make_splits(rows, stratify=False, seed=0, folds=4)
    assert [counts(split) for split in splits] == [{"train": 18, "valid": 6, "test": 6}] * 4
    assert all((split[24:] == "test").all() for split in splits)


def test_folds_are_not_made_besides_given_ones() -> None:
    rows = dataset([1.0] * 9, ["train"] * 7 + ["valid", "test"])
    with pytest.raises(OptionError, match="folds must be None where rows gives validation rows, got 3"):
        make_splits(rows, stratify=False, seed=0, folds=3)
    folded = replace(dataset([1.0] * 9), folds=[np.array(["train"] * 8 + ["test"])])
    with pytest.raises(OptionError, match="folds must be None where rows gives folds, got 1"):
        make_splits(folded, stratify=False, seed=0, folds=1)


def test_too_few_or_too_many_folds_are_refused() -> None:
    with pytest.raises(OptionError, match="folds must be 1 or more, got 0"):
        make_splits(dataset([1.0] * 9), stratify=False, seed=0, folds=0)
    with pytest.raises(
        OptionError, match="folds must be 1 to 7, the number of rows that are not tested, got 8"
    ):
        make_splits(dataset([1.0] * 9), stratify=False, seed=0, folds=8)
    with pytest.raises(OptionError, match="folds must be 1 to 3, the number of groups that are not tested"):
        make_splits(dataset([1.0] * 8, groups=[0, 1, 2, 3] * 2), stratify=False, seed=0, folds=4)


@given(st.lists(st.integers(0, 12), min_size=30, max_size=120), st.integers(1, 4), st.integers(0, 3))
def test_no_group_is_in_two_splits(groups: list[int], folds: int, seed: int) -> None:
    groups = [*groups, *range(13)]
    rows = dataset(np.arange(len(groups)) % 3, groups=groups)
    for split in make_splits(rows, stratify=True, seed=seed, folds=folds):
        for group in set(groups):
            assert len(set(split[np.array(groups) == group])) == 1
        assert min(counts(split).values()) > 0


def test_groups_are_dealt_so_that_sizes_and_classes_are_even() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(60, size=1200)
    classes = (generator.random(60) < 0.3).astype(int)[groups]
    splits = make_splits(dataset(classes, groups=groups), stratify=True, seed=0, folds=4)
    for split in splits:
        for label in (0, 1):
            members = split[classes == label]
            assert abs((members == "test").mean() - 0.2) < 0.05
            assert abs((members == "valid").mean() - 0.2) < 0.05


def test_a_large_group_is_trained_on() -> None:
    groups = ["large"] * 60 + [f"small{k}" for k in range(40)]
    for seed in range(10):
        split = only(dataset(np.arange(100.0), groups=groups), seed=seed)
        assert (split[:60] == "train").all()


def test_which_groups_are_tested_depends_on_the_seed() -> None:
    rows = dataset(np.arange(90.0), groups=np.repeat(np.arange(30), 3))
    tested = [frozenset(np.flatnonzero(only(rows, seed=seed) == "test")) for seed in range(5)]
    assert len(set(tested)) == 5


def test_given_splits_that_divide_a_group_are_refused() -> None:
    rows = dataset([1.0] * 4, ["train", "test", "train", "valid"], groups=["ann", "ann", "bob", "cem"])
    with pytest.raises(DataError, match="groups must each be in one split, got 'ann' in test and train"):
        make_splits(rows, stratify=False, seed=0)


def test_two_groups_are_too_few() -> None:
    with pytest.raises(DataError, match="rows must have at least 3 groups for train, valid and test, got 2"):
        make_splits(dataset([1.0] * 8, groups=[0, 1] * 4), stratify=False, seed=0, folds=1)
