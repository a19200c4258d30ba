import csv
import io

import numpy as np

from fuseloom.train.predictions import predictions_csv


def test_a_cell_that_needs_quotes_survives():
    text = predictions_csv(
        ['a,"b'], {"prediction": np.array(["yes\nno"], dtype=object), "p": np.array([0.5])}
    )
    assert list(csv.reader(io.StringIO(text))) == [["id", "prediction", "p"], ['a,"b', "yes\nno", "0.5"]]


def test_numbers_have_six_digits():
    text = predictions_csv(["1", "2"], {"prediction": np.array([123456.789, np.float32(1e-9)])})
    assert text.splitlines()[1:] == ["1,123457", "2,1e-09"]
