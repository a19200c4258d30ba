from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.data.dataset import Embedding, Series, Table, Text
from fuseloom.diagnose.health import health

SPLIT = {"train": np.array([0, 1, 2]), "valid": np.array([3]), "test": np.array([4, 5])}


def named(**modalities):
    """A data set as far as its health reads it."""
    return SimpleNamespace(modalities=modalities, ids=[f"row {k}" for k in range(6)])


def table(**columns):
    numbers = {name: np.array(c, dtype=float) for name, c in columns.items() if not isinstance(c[-1], str)}
    categories = {name: np.array(c, dtype=object) for name, c in columns.items() if isinstance(c[-1], str)}
    return Table(numbers=numbers, categories=categories)


def look(*, inputs=None, masks=None, target=None, modalities=None):
    inputs = inputs if inputs is not None else {"a": torch.arange(6.0)[:, None]}
    target = target if target is not None else np.arange(6.0)
    rows = Batch(inputs=inputs, masks=masks or {})
    return health(named(**(modalities or {})), rows, SPLIT, target=target)


def test_classes_are_counted_by_split_most_rows_first():
    found = look(target=np.array(["x", "y", "y", "y", "x", "z"]))
    assert list(found.balance) == ["y", "x", "z"]
    assert found.balance["y"] == {"train": 2, "valid": 1, "test": 0}
    assert found.balance["z"] == {"train": 0, "valid": 0, "test": 1}
    assert found.spread == {}


def test_numbers_have_a_spread_by_split():
    found = look(target=np.array([1.0, 2.0, 6.0, 5.0, 0.0, 4.0]))
    train = found.spread["train"]
    assert (train.least, train.median, train.greatest, train.mean) == (1, 2, 6, 3)
    assert train.deviation == pytest.approx(np.std([1, 2, 6]))
    assert (found.spread["valid"].deviation, found.balance) == (0, {})


def test_rows_without_a_modality_are_counted_by_split():
    sequence = torch.ones(6, 2, dtype=torch.bool)
    sequence[[1, 4]] = False
    sequence[0, 1] = False  # the row is shorter, not missing
    inputs = {"a": torch.arange(6.0)[:, None], "b": torch.randn(6, 2, 3), "c": torch.randn(6, 1)}
    found = look(inputs=inputs, masks={"a": torch.arange(6) < 5, "b": sequence})
    assert found.missing == {
        "a": {"train": 0, "valid": 0, "test": 1},
        "b": {"train": 1, "valid": 0, "test": 1},
        "c": {"train": 0, "valid": 0, "test": 0},
    }


def test_what_never_changes_in_training_rows_is_named():
    values = np.arange(18, dtype=np.float32).reshape(6, 3)
    values[:3, 1] = 7
    sparse = values.copy()
    sparse[0, 0] = 99  # masked, so that feature 0 is that of two rows
    sparse[1:3, 0] = 5
    nan = float("nan")
    found = look(
        modalities={
            "table": table(
                same=[1, 1, 1, 2, 3, 4],
                gaps=[nan, nan, nan, 1, 1, 1],
                mixed=[nan, 1, 1, 1, 1, 1],
                city=["x"] * 6,
            ),
            "vector": Embedding(values=values, mask=np.ones(6, bool)),
            "sparse": Embedding(values=sparse, mask=np.arange(6) > 0),
            "series": Series(values=np.zeros((6, 2, 1), np.float32), mask=np.ones((6, 2), bool)),
            "text": Text(values=np.array(["same"] * 6, dtype=object)),
        }
    )
    assert found.constant == {
        "table": ("same", "gaps", "city"),
        "vector": ("feature 1",),
        "sparse": ("feature 0", "feature 1"),
        "series": ("feature 0",),
        "text": (),
    }


def test_a_row_of_two_splits_is_found_once_and_named():
    value = torch.tensor([[1.0], [2.0], [2.0], [3.0], [2.0], [3.0]])
    found = look(inputs={"a": value})
    assert found.num_duplicates == 2
    first, second = found.duplicates
    assert (first.row, first.split, first.other, first.other_split) == ("row 4", "test", "row 1", "train")
    assert (second.row, second.other, second.other_split) == ("row 5", "row 3", "valid")


def test_rows_that_differ_in_one_modality_or_in_what_is_there_are_not_the_same():
    same = torch.ones(6, 2)
    assert look(inputs={"a": same, "b": torch.arange(6)[:, None]}).num_duplicates == 0
    assert look(inputs={"a": same, "b": same}).num_duplicates == 3
    masks = {"a": torch.tensor([True, True, True, False, False, False])}
    assert look(inputs={"a": same}, masks=masks).num_duplicates == 2


def test_what_is_masked_does_not_count():
    value = torch.randn(6, 2, 3)
    value[0, 0] = value[4, 0]
    mask = torch.ones(6, 2, dtype=torch.bool)
    mask[[0, 4], 1] = False
    assert look(inputs={"a": value}, masks={"a": mask}).num_duplicates == 1
    maps = torch.randn(6, 2, 3, 3)
    maps[5] = maps[1]
    maps[5, :, 0] = 9
    hidden = torch.ones(6, 3, 3, dtype=torch.bool)
    hidden[[1, 5], 0] = False
    assert look(inputs={"a": maps}, masks={"a": hidden}).num_duplicates == 1


def test_many_duplicates_are_counted_and_fifty_shown():
    rows = Batch(inputs={"a": torch.zeros(4000, 1)}, masks={})
    split = {"train": np.arange(2000), "test": np.arange(2000, 4000)}
    dataset = SimpleNamespace(modalities={}, ids=[str(k) for k in range(4000)])
    found = health(dataset, rows, split, target=np.zeros(4000))
    assert (found.num_duplicates, len(found.duplicates)) == (2000, 50)
