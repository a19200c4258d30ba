import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.sources import TargetClasses, read_sources
from fuseloom.errors import DataError, OptionError


def test_tokens_are_pooled_and_maps_flattened_where_they_are_real():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [np.nan, 8.0]]])
    maps = torch.arange(8.0).reshape(2, 1, 2, 2)
    masks = {"t": torch.tensor([[True, True], [True, False]]), "m": torch.ones(2, 2, 2, dtype=torch.bool)}
    masks["m"][1, 0, 0] = False
    found = read_sources(Batch(inputs={"t": tokens, "m": maps}, masks=masks))
    assert found["t"].tolist() == [[2, 3], [5, 6]]
    assert found["m"].tolist() == [[0, 1, 2, 3], [0, 5, 6, 7]]


def test_several_modalities_are_one_source_and_absence_is_a_value():
    rows = Batch(inputs={name: torch.ones(2, 1) for name in "abc"}, masks={"c": torch.tensor([True, False])})
    found = read_sources(rows, ["b", ("a", "c")])
    assert {name: values.tolist() for name, values in found.items()} == {
        "b": [[1], [1]],
        "a+c": [[1, 1, 1], [1, 0, 0]],
    }


@pytest.mark.parametrize("sources", [None, ["a"], ["a", "a"], ["a", "z"], ["a", ("b", "a")], ["a", ()]])
def test_there_must_be_two_sources(sources):
    rows = Batch(inputs={name: torch.ones(2, 1) for name in "abc"})
    with pytest.raises(
        OptionError, match=r"sources must be two different modalities, .* of \['a', 'b', 'c'\]"
    ):
        read_sources(rows, sources)


def test_values_must_be_finite_where_they_are_real():
    rows = Batch(inputs={"a": torch.ones(2, 1), "b": torch.tensor([[1.0], [np.inf]])})
    with pytest.raises(DataError, match="b must be finite where it is real"):
        read_sources(rows)


def test_numbers_fall_into_bins_that_hold_equally_many_rows():
    target = torch.from_numpy(np.random.default_rng(0).normal(size=400))
    classes = TargetClasses.of(Batch(inputs={}, target=target), num_bins=4)
    assert np.bincount(classes.labels).tolist() == [100] * 4
    np.testing.assert_array_equal(classes.of_predictions(target.numpy()), classes.labels)


def test_classes_stay_and_predictions_are_the_likeliest():
    classes = TargetClasses.of(Batch(inputs={}, target=torch.tensor([2, 0])))
    assert classes.labels.tolist() == [2, 0]
    assert classes.of_predictions(np.array([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])).tolist() == [2, 1]


def test_targets_and_predictions_of_another_form_are_refused():
    with pytest.raises(DataError, match=r"target must have one class or number per row, \[N\], got none"):
        TargetClasses.of(Batch(inputs={}))
    with pytest.raises(DataError, match=r"got shape \[2, 3\]"):
        TargetClasses.of(Batch(inputs={}, target=torch.zeros(2, 3)))
    with pytest.raises(OptionError, match="num_bins must be at least 2, got 1"):
        TargetClasses.of(Batch(inputs={}, target=torch.zeros(2)), num_bins=1)
    classes = TargetClasses.of(Batch(inputs={}, target=torch.tensor([0, 1])))
    with pytest.raises(DataError, match=r"predictions must be \[N, K\] probabilities of the 2 rows"):
        classes.of_predictions(np.zeros(2))
