"""The task of labels at pixels."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fuseloom.errors import DataError, OptionError
from fuseloom.losses.hard_pixels import hard_pixel_loss
from fuseloom.metrics.segmentation import confusion_counts, segmentation_scores
from fuseloom.tasks import infer_task
from fuseloom.tasks.segmentation import Segmentation


@dataclass(frozen=True)
class Given:
    """A map of labels in memory."""

    labels: NDArray[np.uint8]
    names: tuple[str, ...] = ()

    def read(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        assert size is None or size == self.labels.shape, "these are not resized"
        return self.labels


def maps(*arrays: list[list[int]], names: tuple[str, ...] = ()) -> NDArray[np.object_]:
    items = np.empty(len(arrays), dtype=object)
    items[:] = [Given(np.array(one, dtype=np.uint8), names) for one in arrays]
    return items


TASK = Segmentation(["road", "sky", "tree"], size=(4, 6))
rng = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(3, 3, 2, 3, generator=rng)
TARGET = torch.randint(0, 3, (3, 4, 6), generator=rng).to(torch.uint8)
TARGET[0, :2] = 255


def test_labels_are_learnt_from_maps_and_named_where_their_names_are_known() -> None:
    given = maps([[0, 2, 255]], [[1, 1, 0]])
    assert infer_task(given) == "segmentation"
    learnt = Segmentation.learn(given)
    assert (learnt.labels, learnt.size, learnt.num_outputs) == (("0", "1", "2"), (1, 3), 3)
    assert learnt.encode(given).tolist() == [[[0, 2, 255]], [[1, 1, 0]]]
    named = Segmentation.learn(maps([[0, 0]], names=("road", "sky")))
    assert named.labels == ("road", "sky")
    assert Segmentation.from_state(learnt.state()).state() == learnt.state()
    assert learnt.resized(5, 7).size == (5, 7)


def test_the_loss_is_the_mean_over_pixels_that_count() -> None:
    wide = F.interpolate(OUTPUTS, (4, 6), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(wide, TARGET.long(), ignore_index=255)
    torch.testing.assert_close(TASK.loss(OUTPUTS, TARGET), expected)
    torch.testing.assert_close(TASK.loss(OUTPUTS.requires_grad_(), TARGET), expected)
    OUTPUTS.requires_grad_(False)
    rows = [F.cross_entropy(wide[[row]], TARGET[[row]].long(), ignore_index=255) for row in range(3)]
    torch.testing.assert_close(TASK.losses(OUTPUTS, TARGET), torch.stack(rows))
    weight = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(TASK.loss(OUTPUTS, TARGET, weight), rows[0])
    leaf = OUTPUTS.clone().requires_grad_()
    torch.testing.assert_close(TASK.loss(leaf, TARGET, weight), rows[0])
    torch.testing.assert_close(TASK.losses(leaf, TARGET), torch.stack(rows))


def test_losses_of_several_predictions_are_added() -> None:
    several = torch.stack([OUTPUTS, -OUTPUTS], 1).requires_grad_()
    expected = TASK.loss(OUTPUTS, TARGET) + TASK.loss(-OUTPUTS, TARGET)
    torch.testing.assert_close(TASK.loss(several, TARGET), expected)


def test_hard_pixels_alone_may_be_learnt_from() -> None:
    hard = TASK.configured({"hard": 0.7})
    several = torch.stack([OUTPUTS, -OUTPUTS], 1).requires_grad_()
    wide = [F.interpolate(one, (4, 6), mode="bilinear", align_corners=False) for one in (OUTPUTS, -OUTPUTS)]
    expected = sum(hard_pixel_loss(one, TARGET.long(), threshold=0.7) for one in wide)
    torch.testing.assert_close(hard.loss(several, TARGET), expected)
    torch.testing.assert_close(hard.loss(OUTPUTS, TARGET), TASK.loss(OUTPUTS, TARGET))
    assert Segmentation.from_state(hard.state()).hard == 0.7
    with pytest.raises(OptionError, match=r"hard must be a probability in \(0, 1\), got 2"):
        TASK.configured({"hard": 2})
    with pytest.raises(OptionError, match=r"must be of \['hard'\], got 'hrd'.*hard"):
        TASK.configured({"hrd": 0.7})


def test_balanced_labels_weigh_alike_in_sum() -> None:
    balanced = TASK.balanced(TARGET.numpy())
    assert balanced.weights is not None
    counts = np.bincount(TARGET.numpy().reshape(-1), minlength=256)[:3]
    weighed = np.array(balanced.weights) * counts
    np.testing.assert_allclose(weighed, counts.sum() / 3)
    weights = torch.tensor(balanced.weights)
    wide = F.interpolate(OUTPUTS, (4, 6), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(wide, TARGET.long(), weight=weights, ignore_index=255)
    torch.testing.assert_close(balanced.loss(OUTPUTS, TARGET), expected)
    missing = TASK.balanced(np.zeros((1, 4, 6), dtype=np.uint8))
    assert missing.weights == (1.0, 1.0, 1.0)


def test_predictions_are_labels_and_their_scores_those_of_counted_pixels() -> None:
    found = TASK.predict(OUTPUTS.numpy())
    wide = F.interpolate(OUTPUTS, (4, 6), mode="bilinear", align_corners=False)
    assert found.dtype == np.uint8
    assert found.tolist() == wide.argmax(1).tolist()
    scores = segmentation_scores(confusion_counts(found, TARGET.numpy(), 3))
    for name, expected in {
        "miou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "pixel_error": 1 - scores.pixel_accuracy,
        "mean_accuracy": scores.mean_accuracy,
        "mean_f1": scores.mean_f1,
        "iou_tree": scores.iou[2],
    }.items():
        assert TASK.metrics[name].function(found, TARGET.numpy()) == pytest.approx(expected)
    none = np.full_like(TARGET.numpy(), 255)
    assert np.isnan(TASK.metrics["iou_sky"].function(found, none))


def test_a_class_knows_the_names_of_its_metrics_alone() -> None:
    assert Segmentation.metrics.keys() < TASK.metrics.keys()
    directions = {name: one.higher_is_better for name, one in TASK.metrics.items()}
    assert all(one.higher_is_better == directions[name] for name, one in Segmentation.metrics.items())
    with pytest.raises(OptionError, match="must be of a task that knows their number"):
        Segmentation.metrics["miou"].function(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))


def test_a_row_of_a_table_tells_the_share_of_each_label() -> None:
    columns = TASK.columns(np.array([[[0, 0], [0, 2]]], dtype=np.uint8))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "prediction": ["road"],
        "share_road": [0.75],
        "share_sky": [0.0],
        "share_tree": [0.25],
    }
    small = Segmentation(["road", "sky", "tree"], size=(1, 3))
    assert small.target_columns(maps([[1, 1, 255]]))["target"].tolist() == ["sky"]


def test_what_cannot_be_learnt_from_is_answered() -> None:
    with pytest.raises(DataError, match=r"map of labels in every row, got 'a.png'\. Name the column"):
        Segmentation.learn(np.array(["a.png"], dtype=object))
    with pytest.raises(DataError, match="a pixel whose label counts, got none"):
        Segmentation.learn(maps([[255]]))
    with pytest.raises(DataError, match="got no row"):
        Segmentation.learn(np.array([], dtype=object))
    with pytest.raises(DataError, match="the 3 labels of training, got 7"):
        Segmentation(["a", "b", "c"], size=(1, 2)).encode(maps([[0, 7]]))
    with pytest.raises(OptionError, match="segmentation has none"):
        TASK.baseline_predict(None, None)
    assert (TASK.baselines(0), TASK.baseline_name) == ([], "none")
