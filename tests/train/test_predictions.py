import csv
import io

import numpy as np

from fuseloom.train.predictions import predicted_rows, predictions_csv


def test_a_cell_that_needs_quotes_survives():
    text = predictions_csv(
        ['a,"b'], {"prediction": np.array(["yes\nno"], dtype=object), "p": np.array([0.5])}
    )
    assert list(csv.reader(io.StringIO(text))) == [["id", "prediction", "p"], ['a,"b', "yes\nno", "0.5"]]


def test_numbers_have_six_digits():
    text = predictions_csv(["1", "2"], {"prediction": np.array([123456.789, np.float32(1e-9)])})
    assert text.splitlines()[1:] == ["1,123457", "2,1e-09"]


def test_rows_of_a_file_are_found_again_among_all(tmp_path):
    path = tmp_path / "predictions.csv"
    target = np.array(["yes", "no", "yes"])
    path.write_text(predictions_csv(["b", "c"], {"target": target[1:], "prediction": target[:2]}))
    assert predicted_rows(path, ["a", "b", "c"], {"target": target}).tolist() == [False, True, True]


def test_a_file_of_other_rows_or_of_none_says_nothing(tmp_path):
    path = tmp_path / "predictions.csv"
    ids, target = ["a", "b"], np.array([1.5, 2.0])
    assert not predicted_rows(path, ids, {"target": target}).any()
    path.write_text(predictions_csv(["a"], {"target": np.array([1.25])}))
    assert not predicted_rows(path, ids, {"target": target}).any()
    path.write_text(predictions_csv(["a", "z"], {"target": target}))
    assert not predicted_rows(path, ids, {"target": target}).any()
