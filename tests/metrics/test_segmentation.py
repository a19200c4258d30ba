"""Scores of label maps, beside those of torchmetrics and of the official codes."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.segmentation import confusion_counts, segmentation_scores

LABELS = 5


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    true = generator.integers(0, LABELS, (3, 12, 14))
    found = np.where(generator.random(true.shape) < 0.6, true, generator.integers(0, LABELS, true.shape))
    true[generator.random(true.shape) < 0.1] = 255
    return found, true


def test_the_scores_are_those_of_torchmetrics(maps: tuple[np.ndarray, np.ndarray]) -> None:
    found, true = maps
    counts = confusion_counts(found, true, LABELS)
    scores = segmentation_scores(counts)
    pair = torch.from_numpy(found), torch.from_numpy(true)
    options = {"num_classes": LABELS, "ignore_index": 255, "average": None}
    assert counts.tolist() == MulticlassConfusionMatrix(LABELS, ignore_index=255)(*pair).tolist()
    for metric, own in ((MulticlassJaccardIndex, scores.iou), (MulticlassAccuracy, scores.accuracy)):
        np.testing.assert_allclose(own, metric(**options)(*pair), rtol=1e-5)
    np.testing.assert_allclose(scores.f1, MulticlassF1Score(**options)(*pair), rtol=1e-5)
    assert scores.mean_iou == pytest.approx(scores.iou.mean())
    kept = true != 255
    assert scores.pixel_accuracy == pytest.approx((found == true)[kept].mean())


def test_pictures_are_counted_together(maps: tuple[np.ndarray, np.ndarray]) -> None:
    found, true = maps
    apart = sum(confusion_counts(one, other, LABELS) for one, other in zip(found, true, strict=True))
    np.testing.assert_array_equal(apart, confusion_counts(found, true, LABELS))


def test_a_label_that_no_pixel_is_counts_as_the_codes_have_it() -> None:
    # Label 1 is called and never there; label 2 is neither.
    counts = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 0]])
    skipped, zero = segmentation_scores(counts), segmentation_scores(counts, absent="zero")
    np.testing.assert_array_equal(skipped.iou, [0.75, 0, np.nan])
    np.testing.assert_array_equal(skipped.accuracy, [0.75, np.nan, np.nan])
    assert (skipped.mean_iou, skipped.mean_accuracy) == (0.375, 0.75)
    assert (zero.mean_iou, zero.mean_accuracy) == (0.25, 0.25)
    assert skipped.pixel_accuracy == zero.pixel_accuracy == 0.75


def test_no_pixels_have_no_score() -> None:
    scores = segmentation_scores(confusion_counts(np.array([0]), np.array([255]), 2))
    assert (scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou, scores.mean_f1) == (0, 0, 0, 0)


def test_small_types_do_not_overflow() -> None:
    found = true = np.full((20, 20), 199, dtype=np.uint8)
    assert confusion_counts(found, true, 200)[199, 199] == 400


def test_bad_input_is_answered() -> None:
    with pytest.raises(DataError, match=r"one shape, got \(2,\) and \(3,\)"):
        confusion_counts(np.zeros(2, int), np.zeros(3, int), 2)
    with pytest.raises(DataError, match=r"labels in \[0, 2\), got 2"):
        confusion_counts(np.array([2]), np.array([1]), 2)
    with pytest.raises(DataError, match=r"labels in \[0, 2\), got -1"):
        confusion_counts(np.array([-1]), np.array([1]), 2)
    with pytest.raises(DataError, match=r"counts must be \[K, K\], got shape \(2, 3\)"):
        segmentation_scores(np.zeros((2, 3), int))
    with pytest.raises(OptionError, match="absent must be 'skip' or 'zero', got 'none'"):
        segmentation_scores(np.eye(2, dtype=int), absent="none")  # type: ignore[arg-type]
