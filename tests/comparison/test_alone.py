"""The models of one modality alone stay with a comparison, so that its model can be looked at beside them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.comparison.alone import alone_folder, predict_alone
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.run import run_comparison
from fuseloom.data import load
from fuseloom.errors import RunError
from fuseloom.train.saved import SavedModel


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison on numbers that add up, its folder and the file of its data."""
    folder = tmp_path_factory.mktemp("compared")
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 300, 3)).astype(np.float32)
    target = np.where(a[:, 0] + b[:, 0] > 0, "over", "under")
    np.savez(folder / "rows.npz", a=a, b=b, target=target)
    config = CompareConfig(
        fusions=("sum",), folds=1, seeds=1, learning_rates=(1e-2,), max_epochs=15, dim=8, dropout=0.0
    )
    data = load(folder / "rows.npz")
    result = run_comparison(data, folder / "run", config)
    assert result.recommendation.name == "sum"
    return result, data, folder


def test_they_are_saved_models_that_score_what_the_leaderboard_says(compared):
    result, data, folder = compared
    entries = {entry.name: entry for entry in result.entries}
    tested = {
        line.split(",")[0] for line in (folder / "run" / "predictions.csv").read_text().splitlines()[1:]
    }
    rows = np.array([row in tested for row in data.ids])
    for name in ("a", "b"):
        own = SavedModel.load(alone_folder(folder / "run", name))
        assert own.summary.startswith(
            f"# {name} for rows.npz\n\nOf {name} alone: what fusing is compared with."
        )
        hits = own.predict(data)["prediction"][rows] == data.target[rows]
        assert entries[name].test.mean == pytest.approx(hits.mean())


def test_their_predictions_are_those_they_make_themselves(compared):
    _, data, folder = compared
    saved = SavedModel.load(folder / "run" / "model")
    found = predict_alone(folder / "run", saved, saved.encode(data))
    assert list(found) == ["a", "b"]
    for name, probabilities in found.items():
        columns = SavedModel.load(alone_folder(folder / "run", name)).predict(data)
        assert np.allclose(probabilities[:, 0], columns["p_over"])
    assert not np.allclose(found["a"], found["b"])


def test_a_folder_without_them_has_none(compared, tmp_path):
    _, data, folder = compared
    saved = SavedModel.load(folder / "run" / "model")
    assert predict_alone(tmp_path, saved, saved.encode(data)) == {}


def test_one_of_another_run_is_refused(compared, tmp_path):
    _, data, folder = compared
    saved = SavedModel.load(folder / "run" / "model")
    shutil.copytree(alone_folder(folder / "run", "b"), alone_folder(tmp_path, "a"))
    with pytest.raises(RunError, match=r"alone.a must be of the run it stands in, got a model that was"):
        predict_alone(tmp_path, saved, saved.encode(data))
    own = SavedModel.load(alone_folder(folder / "run", "b"))
    other = replace(own, preprocessors={"b": saved.preprocessors["a"]})
    other.save(alone_folder(tmp_path / "mixed", "b"))
    with pytest.raises(RunError, match="Remove it, or compare again"):
        predict_alone(tmp_path / "mixed", saved, saved.encode(data))


def test_diagnose_looks_at_the_model_beside_them_and_shows_its_rows(compared, tmp_path):
    result, _, folder = compared
    arguments = ["diagnose", str(folder / "run"), str(folder / "rows.npz"), "--only", "complementarity"]
    done = CliRunner().invoke(fuseloom, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "Fusing is right on" in done.stdout
    found = json.loads((tmp_path / "diagnosis.json").read_text())["complementarity"]
    (compare,) = result.findings.diagnosis
    assert found["rows"] == compare.complementarity.rows == 60
    assert found["rescued"]["rows"] == compare.complementarity.rescued.rows
    shown = [sample for sample in found["samples"] if sample["inputs"]]
    assert shown
    assert shown[0]["inputs"]["a"]["words"].startswith("3 numbers from ")
    assert 'class="gallery"' in (tmp_path / "diagnosis.html").read_text()
    done = CliRunner().invoke(fuseloom, [*arguments, "--hide-rows", "--json"])
    assert not any(sample["inputs"] for sample in json.loads(done.stdout)["complementarity"]["samples"])
