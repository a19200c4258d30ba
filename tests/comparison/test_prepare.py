import re
from dataclasses import replace

import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.prepare import fingerprint, prepare
from fuseloom.data import ReadOptions, load
from fuseloom.errors import DataError
from fuseloom.train.recipe import list_recipes


def test_preprocessing_is_learnt_from_training_rows_only(product_rows):
    rows, target = product_rows
    (ready,) = prepare(load(rows, target=target), CompareConfig(folds=1))
    train, test = ready.rows.split["train"], ready.rows.split["test"]
    a = ready.rows.all.inputs["a"]
    np.testing.assert_allclose(a[train].mean(0), 0, atol=1e-6)
    assert a[test].mean(0).abs().max() > 1e-3
    assert sorted(len(rows) for rows in ready.rows.split.values()) == [64, 80, 256]


def test_fingerprint_changes_with_a_value_a_target_and_a_split(product_rows):
    rows, target = product_rows
    config = CompareConfig()

    def print_of(rows, target, config=config):
        return fingerprint(prepare(load(rows, target=target), config))

    first = print_of(rows, target)
    assert print_of(rows, target) == first
    other = rows["a"].copy()
    other[0, 0] += 1
    swapped = target.copy()
    swapped[[0, 1]] = ["same", "different"] if target[0] == "different" else ["different", "same"]
    assert print_of({**rows, "a": other}, target) != first
    assert print_of(rows, swapped) != first
    assert print_of(rows, target, replace(config, split_seed=1)) != first


def test_notes_say_what_was_inferred_and_what_was_given(product_rows):
    rows, target = product_rows
    dataset = load(rows, target=target)
    assert "task: classification (told from the target)" in prepare(dataset, CompareConfig())[0].notes
    single = prepare(dataset, CompareConfig(split_seed=3, folds=1))
    assert "splits: made with seed 3" in single[0].notes
    (note,) = [note for note in prepare(dataset, CompareConfig())[0].notes if note.startswith("splits")]
    assert note == (
        "splits: 5 folds with the same test rows, in each of which another part of the other rows is for "
        "validation, made with seed 0, as there are fewer than 1,000 rows"
    )
    given = replace(dataset, split=np.array(["train", "valid", "test", "train"] * 100))
    assert "splits: given by the data" in prepare(given, CompareConfig(task="classification"))[0].notes
    folds = prepare(dataset, CompareConfig(folds=4, split_seed=2))
    assert all(any(note.endswith("made with seed 2") for note in fold.notes) for fold in folds)
    two = replace(dataset, folds=(given.split, given.split[::-1]))
    assert "splits: 2 folds, given by the data" in prepare(two, CompareConfig())[0].notes


def test_each_fold_learns_its_preprocessing_from_its_own_training_rows(product_rows):
    rows, target = product_rows
    folds = prepare(load(rows, target=target), CompareConfig(folds=3))
    assert len({tuple(fold.rows.split["test"].tolist()) for fold in folds}) == 1
    assert len({tuple(fold.rows.split["valid"].tolist()) for fold in folds}) == 3
    for fold in folds:
        train = fold.rows.all.inputs["a"][fold.rows.split["train"]]
        np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    tested = folds[0].rows.split["test"].tolist()
    validated = np.concatenate([fold.rows.split["valid"] for fold in folds]).tolist()
    assert sorted(tested + validated) == list(range(len(target)))


def test_folds_share_inputs_whose_preprocessing_is_the_same(product_rows):
    rows, target = product_rows
    pictures = np.random.default_rng(0).integers(0, 255, size=(len(target), 8, 8, 3)).astype(np.uint8)
    data = load({"a": rows["a"], "picture": pictures}, ReadOptions(kinds={"picture": "image"}), target=target)
    first, second = prepare(data, CompareConfig(folds=2))
    assert first.rows.all.inputs["picture"] is second.rows.all.inputs["picture"]
    assert first.rows.all.inputs["a"] is not second.rows.all.inputs["a"]


def test_rows_are_drawn_by_their_group_where_they_have_one(product_rows):
    rows, target = product_rows
    dataset = load(rows, target=target)
    (ready,) = prepare(dataset, CompareConfig(folds=1))
    assert ready.units.tolist() == list(range(400))
    speakers = np.array([f"speaker {k % 40}" for k in range(400)], dtype=object)
    (grouped,) = prepare(replace(dataset, groups=speakers), CompareConfig(folds=1))
    assert len(set(grouped.units.tolist())) == 40
    assert grouped.units[0] == grouped.units[40] != grouped.units[1]
    tested = {speakers[row] for row in grouped.rows.split["test"].tolist()}
    assert not tested & {speakers[row] for row in grouped.rows.split["train"].tolist()}


def test_what_cannot_be_compared_is_refused(product_rows):
    rows, target = product_rows
    with pytest.raises(
        DataError, match=r"at least two modalities to compare fusions, got only 'a'\. Of a table"
    ):
        prepare(load({"a": rows["a"]}, target=target), CompareConfig())
    dataset = load(rows, target=target)
    with pytest.raises(DataError, match=r"target must be given.*--target"):
        prepare(replace(dataset, target=None), CompareConfig())
    with pytest.raises(DataError, match=r"at least two classes, got only 'same'"):
        prepare(load(rows, target=["same"] * 400), CompareConfig())
    split = np.array(["train"] * 398 + ["valid", "test"])
    with pytest.raises(DataError, match=r"at least two rows each, got .*'valid' is too small"):
        prepare(replace(dataset, split=split), CompareConfig())
    with pytest.raises(DataError, match=r"numbers for regression, got text\. Use --task classification"):
        prepare(dataset, CompareConfig(task="regression"))


def test_a_task_of_positions_is_not_compared_but_trained():
    target = np.empty(2, dtype=object)
    target[:] = [("B-PER", "O"), ("O", "O")]
    rows = load(
        {"text": np.array(["Ann sings", "so what"], dtype=object), "x": np.ones((2, 3))}, target=[0, 1]
    )
    with pytest.raises(
        DataError, match=r"must be of a task of whole rows, got tagging\. Train one model"
    ) as error:
        prepare(replace(rows, target=target), CompareConfig())
    assert "entities" in str(error.value)
    for task in ("tagging", "segmentation", "translation"):
        with pytest.raises(DataError, match=f"got {task}. Train one model") as error:
            prepare(rows, CompareConfig(task=task))
        (recipe,) = re.findall(r"fuseloom train (\S+) --data SOURCE", str(error.value))
        assert recipe in list_recipes()
