"""What a finished comparison leaves behind, for every kind of target."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.run import run_comparison
from fuseloom.data import read_rows
from fuseloom.errors import OptionError
from fuseloom.train.saved import SavedModel


@pytest.fixture
def quick():
    return CompareConfig(
        fusions=("sum", "late"), folds=1, seeds=1, learning_rates=(1e-2,), max_epochs=30, dim=8, dropout=0.0
    )


def stored(out):
    with (out / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_lists_of_classes_are_compared_and_predicted(product_rows, dataset, quick, tmp_path):
    rows, _ = product_rows
    flags = [rows["a"][:, 0] > 0, rows["b"][:, 0] > 0, rows["a"][:, 1] + rows["b"][:, 1] > 0]
    names = np.array(["calm", "joy", "noise"])
    target = np.array([";".join(names[list(row)]) for row in zip(*flags, strict=True)], dtype=object)
    config = replace(quick, class_weight="balanced", modality_dropout=0.1)
    result = run_comparison(replace(dataset, target=target), tmp_path, config)
    assert (result.task, result.metric) == ("multilabel", "map")
    assert "classes of a row are split at ';'" in result.data.notes
    assert "class weights: balanced over the training rows, in the loss and in no metric" in result.data.notes
    scores = {entry.name: entry.test.mean for entry in result.entries}
    assert max(scores["sum"], scores["late"]) > max(scores["a"], scores["b"], 0.9)
    saved = SavedModel.load(tmp_path / "model")
    predicted = saved.predict(read_rows(rows, saved.schema))
    for row in stored(tmp_path):
        place = dataset.ids.index(row["id"])
        assert row["target"] == target[place]
        assert row["prediction"] == predicted["prediction"][place]
        assert row["p_joy"] == f"{predicted['p_joy'][place]:.6g}"


def test_several_numbers_are_compared_by_their_mean_or_by_one_of_them(product_rows, dataset, quick, tmp_path):
    rows, _ = product_rows
    target = np.stack([10 + rows["a"][:, 0], 100 * rows["b"][:, 0]], axis=1).astype(float)
    target[::9, 0] = np.nan
    several = replace(dataset, target=target)
    result = run_comparison(several, tmp_path / "mean", quick)
    assert (result.task, result.metric) == ("regression", "r2")
    scores = {entry.name: entry.test.mean for entry in result.entries}
    assert scores["sum"] > 0.8 > 0.6 > max(scores["a"], scores["b"])
    one = run_comparison(several, tmp_path / "one", replace(quick, metric="r2_1"))
    scores = {entry.name: entry.test.mean for entry in one.entries}
    assert scores["b"] > 0.8 > 0.1 > scores["a"]
    lines = stored(tmp_path / "mean")
    assert list(lines[0]) == ["id", "target_0", "target_1", "prediction_0", "prediction_1"]
    errors = [abs(float(row["target_1"]) - float(row["prediction_1"])) for row in lines]
    assert np.median(errors) < 50


@pytest.mark.parametrize(("how", "word"), [("pretrained", "start from"), ("pretrained-frozen", "frozen")])
def test_report_and_model_card_say_where_encoders_come_from(dataset, quick, tmp_path, how, word):
    result = run_comparison(dataset, tmp_path, replace(quick, max_epochs=1, encoders=how))
    (note,) = [note for note in result.data.notes if note.startswith("encoders: ")]
    assert word in note
    assert f"- E{note[1:]}\n" in (tmp_path / "model" / "README.md").read_text()
    assert result.config["encoders"] == how
    parameters = {entry.name: entry.parameters for entry in result.entries}
    assert (parameters["late"] < parameters["a"]) == (how == "pretrained-frozen")


def test_numbers_with_balanced_classes_are_refused_before_anything_is_written(dataset, quick, tmp_path):
    numbers = replace(dataset, target=np.linspace(0.5, 9.7, len(dataset)))
    with pytest.raises(OptionError, match="class_weight must be 'none' for regression, got 'balanced'"):
        run_comparison(numbers, tmp_path / "run", replace(quick, class_weight="balanced"))
    assert not (tmp_path / "run").exists()
