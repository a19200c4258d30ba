"""What the generated sets share: splits, even classes and the mapping."""

from collections import Counter

import numpy as np
import pytest

from fuseloom.data import make_imbalanced, make_interactions, make_views
from fuseloom.data.generated import GeneratedRows, even_classes, in_splits


@pytest.mark.parametrize("num_rows", [5, 11, 2_000])
def test_rows_stand_in_splits_one_after_the_other(num_rows: int) -> None:
    split = in_splits(num_rows)
    found = Counter(split)
    assert list(found) == ["train", "valid", "test"], "in this order"
    assert found["train"] == pytest.approx(0.6 * num_rows, abs=0.5)
    assert found["valid"] == pytest.approx(0.2 * num_rows, abs=0.5)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_classes_are_even_in_every_split_and_in_random_order(num_classes: int) -> None:
    split = in_splits(211)
    classes = even_classes(split, num_classes, np.random.default_rng(0))
    for name in ("train", "valid", "test"):
        often = np.bincount(classes[split == name], minlength=num_classes)
        assert often.max() - often.min() <= 1
    again = even_classes(split, num_classes, np.random.default_rng(1))
    assert (classes != again).any()


@pytest.mark.parametrize(
    "rows", [make_views(num_rows=20), make_imbalanced(num_rows=20), make_interactions(num_rows=20)], ids=type
)
def test_rows_are_a_mapping_of_equally_long_columns(rows: GeneratedRows) -> None:
    assert len(rows) == len(list(rows)) == len(rows.streams) + 2
    assert list(rows)[-2:] == ["target", "split"]
    assert {len(rows[name]) for name in rows} == {20}
    with pytest.raises(KeyError):
        rows["nothing"]
