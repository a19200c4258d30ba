from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.data import Dataset, Schema, make_splits
from fuseloom.errors import DataError, OptionError


def dataset(target, split=None) -> Dataset:
    return Dataset(
        name="rows",
        modalities={},
        target=np.array(target),
        ids=[str(i) for i in range(len(target))],
        split=None if split is None else np.array(split),
        schema=Schema(source_format="arrays", modalities={}),
    )


def counts(split) -> dict[str, int]:
    return {name: int((split == name).sum()) for name in ("train", "valid", "test")}


def test_shares_are_a_fifth_and_a_fifth_of_the_rest() -> None:
    assert counts(*make_splits(dataset(np.arange(100.0)), stratify=False, seed=0)) == {
        "train": 64,
        "valid": 16,
        "test": 20,
    }


@given(st.lists(st.integers(0, 4), min_size=20, max_size=80), st.integers(0, 5))
def test_classes_keep_their_shares(target: list[int], seed: int) -> None:
    target += [0, 1] * 10
    (split,) = make_splits(dataset(target), stratify=True, seed=seed)
    for label in set(target):
        members = split[np.array(target) == label]
        assert abs((members == "test").sum() - 0.2 * len(members)) <= 1
        assert (members == "train").sum() >= len(members) / 4
    assert sum(counts(split).values()) == len(target)


def test_a_class_of_one_row_stays_in_training() -> None:
    target = ["rare", *["a", "b"] * 20]
    for seed in range(20):
        (split,) = make_splits(dataset(target), stratify=True, seed=seed)
        assert split[0] == "train"
        assert min(counts(split).values()) > 0


def test_the_draw_follows_its_seed_and_nothing_else() -> None:
    rows = dataset(np.arange(50.0))
    (first,) = make_splits(rows, stratify=False, seed=1)
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(make_splits(rows, stratify=False, seed=1)[0], first)
    assert (make_splits(rows, stratify=False, seed=2)[0] != first).any()


def test_rows_sorted_by_class_are_shuffled() -> None:
    (split,) = make_splits(dataset([0] * 50 + [1] * 50), stratify=False, seed=0)
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
        make_splits(dataset(target), stratify=True, seed=0)


@given(st.lists(st.integers(0, 3), min_size=12, max_size=60), st.integers(3, 6))
def test_made_folds_test_each_row_once_and_keep_the_shares_of_classes(target: list[int], folds: int) -> None:
    splits = make_splits(dataset(target), stratify=True, seed=0, folds=folds)
    for name in ("test", "valid"):
        assert (sum((split == name).astype(int) for split in splits) == 1).all()
    for split in splits:
        for label in set(target):
            members = split[np.array(target) == label]
            assert abs((members == "test").sum() - len(members) / folds) < 1


def test_the_validation_fold_is_the_next_test_fold() -> None:
    splits = make_splits(dataset(np.arange(20.0)), stratify=False, seed=3, folds=5)
    for one, after in zip(splits, [*splits[1:], splits[0]], strict=True):
        np.testing.assert_array_equal(one == "valid", after == "test")


def test_given_folds_are_kept_and_completed() -> None:
    folds = [np.array(["train"] * 15 + ["test"] * 5), np.array(["test"] * 5 + ["train"] * 15)]
    splits = make_splits(replace(dataset(np.arange(20.0)), folds=folds), stratify=False, seed=0)
    assert [counts(split) for split in splits] == [{"train": 12, "valid": 3, "test": 5}] * 2
    assert (splits[1][:5] == "test").all()


def test_folds_are_not_made_besides_given_splits() -> None:
    with pytest.raises(DataError, match="folds must be None where rows gives splits, got 3"):
        make_splits(dataset([1.0] * 9, ["train"] * 9), stratify=False, seed=0, folds=3)


@pytest.mark.parametrize("folds", [2, 10])
def test_too_few_or_too_many_folds_are_refused(folds: int) -> None:
    with pytest.raises(OptionError, match=f"folds must be 3 to 9, the number of rows, got {folds}"):
        make_splits(dataset([1.0] * 9), stratify=False, seed=0, folds=folds)
