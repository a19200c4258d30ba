import json

from fuseloom.train.metrics import metrics_csv, metrics_lines
from fuseloom.train.state import Progress


def test_a_loss_that_is_no_number_is_empty_in_both_files():
    progress = Progress().after((float("nan"), float("inf")), 1.0).after((0.25, 0.5), 2.0)
    lines = [json.loads(line) for line in metrics_lines(progress).splitlines()]
    assert lines[0] == {"epoch": 1, "train_loss": None, "valid_loss": None}
    assert lines[1] == {"epoch": 2, "train_loss": 0.25, "valid_loss": 0.5}
    assert metrics_csv(progress).splitlines() == ["epoch,train_loss,valid_loss", "1,,", "2,0.25,0.5"]


def test_the_metric_that_says_which_epoch_is_the_best_stands_beside_the_losses():
    progress = Progress().after((0.5, 0.75), 1.0, score=float("nan")).after((0.25, 0.5), 2.0, score=0.125)
    lines = [json.loads(line) for line in metrics_lines(progress).splitlines()]
    assert lines[0] == {"epoch": 1, "train_loss": 0.5, "valid_loss": 0.75, "valid_score": None}
    assert lines[1]["valid_score"] == 0.125
    assert metrics_csv(progress).splitlines()[0::2] == [
        "epoch,train_loss,valid_loss,valid_score",
        "2,0.25,0.5,0.125",
    ]
