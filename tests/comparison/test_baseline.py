import numpy as np
import torch

from fuseloom import Batch
from fuseloom.comparison.baseline import run_baseline
from fuseloom.comparison.features import features
from fuseloom.comparison.jobs import Rows
from fuseloom.tasks.classification import Classification
from fuseloom.train.journal import RunFolder


def text_rows(texts, length=16):
    values = torch.zeros(len(texts), length, dtype=torch.uint8)
    for row, text in enumerate(texts):
        read = torch.tensor(list(text.encode()))
        values[row, : len(read)] = read
    return values, values > 0


def make(kind, value, mask, options=None):
    split = {name: torch.arange(len(value)) for name in ("train", "valid", "test")}
    rows = Rows(
        all=Batch(inputs={"m": value}, masks={"m": mask}, target=torch.arange(len(value)) % 2), split=split
    )
    return rows, {"m": {"kind": kind, **(options or {})}}


def test_vectors_are_taken_as_they_are_and_sequences_averaged_over_what_is_real():
    value = torch.tensor([[1.0, 2.0], [torch.nan, 0.0]])
    rows, encoders = make("embedding", value, torch.tensor([True, False]))
    np.testing.assert_array_equal(features(rows, encoders).toarray(), [[1, 2], [0, 0]])
    tokens = torch.tensor([[[1.0], [3.0], [99.0]]])
    rows, encoders = make("embedding", tokens, torch.tensor([[True, True, False]]))
    np.testing.assert_array_equal(features(rows, encoders).toarray(), [[2]])


def test_missing_numbers_get_a_flag_and_categories_are_one_hot():
    row = torch.tensor([[0.5, 1.0], [torch.nan, 2.0]])
    rows, encoders = make("table", row, torch.ones(2).bool(), {"num_numbers": 1, "cardinalities": [3]})
    np.testing.assert_array_equal(features(rows, encoders).toarray(), [[0.5, 0, 0, 1, 0], [0, 1, 0, 0, 1]])


def test_text_is_told_apart_by_its_ngrams_and_a_set_without_text_is_zeros():
    rows, encoders = make("text", *text_rows(["good film", "bad film", "grün"]))
    found = features(rows, encoders).toarray()
    assert np.abs(found[0] - found[1]).sum() > 0.1
    blank = torch.zeros(3, 4, dtype=torch.uint8)
    rows, encoders = make("text", blank, blank.bool())
    assert not features(rows, encoders).toarray().any()


def test_it_learns_what_is_linear_and_is_not_fitted_twice(tmp_path):
    values = torch.randn(200, 2, dtype=torch.float64)
    rows, encoders = make("embedding", values, torch.ones(200).bool())
    rows = Rows(
        all=Batch(inputs=rows.all.inputs, masks=rows.all.masks, target=(values[:, 0] > 0).long()),
        split={"train": torch.arange(100), "valid": torch.arange(100, 150), "test": torch.arange(150, 200)},
    )
    task, folder = Classification(["a", "b"]), RunFolder.open(tmp_path, {})
    first = run_baseline(rows, task, encoders, folder)
    target = rows.all.target[150:].numpy()
    assert (first.predictions["test"].argmax(1) == target).mean() > 0.95
    assert first.parameters == 3
    folder.file("baseline").write_bytes(folder.file("baseline").read_bytes())
    again = run_baseline(
        rows, task, {}, RunFolder.open(tmp_path, {})
    )  # without encoders nothing could be fitted
    np.testing.assert_array_equal(again.predictions["valid"], first.predictions["valid"])


def test_it_weighs_classes_alike_by_its_training_rows(tmp_path):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(300, 2, dtype=torch.float64, generator=generator)
    target = (values[:, 0] + torch.randn(300, generator=generator) > 1.8).long()
    rows, encoders = make("embedding", values, torch.ones(300).bool())
    split = {"train": torch.arange(200), "valid": torch.arange(200, 250), "test": torch.arange(250, 300)}
    rows = Rows(all=Batch(inputs=rows.all.inputs, masks=rows.all.masks, target=target), split=split)
    task, found = Classification(["a", "b"]), {}
    for weight in ("none", "balanced"):
        folder = RunFolder.open(tmp_path / weight, {})
        found[weight] = run_baseline(rows, task, encoders, folder, class_weight=weight).predictions["test"]
    assert found["balanced"][:, 1].mean() > 1.5 * found["none"][:, 1].mean() > 0


def test_pictures_are_small_and_absent_ones_nothing():
    value = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    value[:, 0] = 255
    rows, encoders = make("image", value, torch.tensor([True, False]))
    found = features(rows, encoders).toarray()
    np.testing.assert_array_equal(found[0, :256], 1)
    np.testing.assert_array_equal(found[0, 256:], -1)
    assert not found[1].any()


def test_a_course_is_its_mean_and_deviation_over_what_is_known():
    value = torch.tensor([[[1.0, torch.nan], [3.0, 5.0], [99.0, 99.0]]])
    rows, encoders = make("series", value, torch.tensor([[True, True, False]]))
    np.testing.assert_allclose(features(rows, encoders).toarray(), [[2, 5, 1, 0]])


def test_tokens_are_counted_as_words():
    ids = torch.tensor([[5, 6, 0], [6, 6, 7]])
    rows, encoders = make("hf", ids, torch.tensor([[True, True, False], [True, True, True]]))
    found = features(rows, encoders).toarray()
    assert found.shape == (2, 3)
    assert (found[0] > 0).tolist() == [True, True, False]
    assert (found[1] > 0).tolist() == [False, True, True]
