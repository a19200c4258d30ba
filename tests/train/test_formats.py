"""Models that older versions saved are read as they were; a folder per format is kept beside this file."""

from pathlib import Path

import pytest

from fuseloom.data import read_rows
from fuseloom.train.predictions import predictions_csv
from fuseloom.train.saved import MODEL_FORMAT, SavedModel

HERE = Path(__file__).parent


@pytest.mark.parametrize("version", range(1, MODEL_FORMAT + 1))
def test_a_model_of_every_format_predicts_what_it_predicted(version):
    folder = HERE / f"format_{version}"
    saved = SavedModel.load(folder / "model")
    rows = read_rows(str(folder / "rows.csv"), saved.schema)
    assert predictions_csv(rows.ids, saved.predict(rows)) == (folder / "predictions.csv").read_text("utf-8")
