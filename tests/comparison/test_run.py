"""The whole protocol on small data: what it answers, that a kill costs nothing, and that processes agree."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fuseloom.comparison import study, training
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.run import run_comparison
from fuseloom.data import load, read_rows
from fuseloom.data.preprocessing import Store
from fuseloom.errors import DataError, OptionError, RunError
from fuseloom.train.saved import SavedModel


def scores(result):
    return {e.name: (e.valid_by_run, e.test_by_run, e.learning_rate, e.parameters) for e in result.entries}


@pytest.fixture
def finished(dataset, small, tmp_path):
    return run_comparison(dataset, tmp_path / "run", small), tmp_path / "run"


def test_everything_is_compared_and_written(finished, small):
    result, out = finished
    assert {e.name: e.role for e in result.entries} == {
        "a": "unimodal",
        "b": "unimodal",
        "sum": "fusion",
        "low_rank": "fusion",
        "logistic regression": "baseline",
    }
    for entry in result.entries:
        assert all(0 <= s <= 1 for s in (*entry.valid_by_run, *entry.test_by_run))
        assert min(entry.parameters, entry.train_s, entry.latency_ms) > 0
        assert entry.role == "baseline" or (len(entry.test_by_run) == 2 and entry.memory_mb > 0)
    assert result.data.rows == {"train": 256, "valid": 64, "test": 80}
    assert result.reliance[0].model == result.recommendation.name
    assert {path.name for path in out.iterdir()} == {
        "alone",
        "config.json",
        "journal.jsonl",
        "model",
        "predictions.csv",
        "weights",
    }
    assert result.config == small.state()


@pytest.mark.slow
def test_folds_are_scored_together(dataset, small, tmp_path):
    config = replace(small, folds=3, seeds=2)
    result = run_comparison(dataset, tmp_path / "one", config)
    assert result.data.folds == 3
    entries = {entry.name: entry for entry in result.entries}
    for entry in entries.values():
        runs = 3 if entry.role == "baseline" else 6
        assert (len(entry.valid_by_run), len(entry.test_by_run)) == (runs, runs)
        assert entry.test.mean == pytest.approx(np.mean(entry.test_by_run))
        assert entry.test.low < entry.test.mean < entry.test.high
        assert entry.valid.low < entry.valid.mean < entry.valid.high
    with (tmp_path / "one" / "predictions.csv").open() as file:
        tested = [row["id"] for row in csv.DictReader(file)]
    assert len(set(tested)) == len(tested) == result.data.rows["test"] == 80
    two = run_comparison(dataset, tmp_path / "two", config, num_workers=2)
    assert scores(two) == scores(result)


def test_rows_of_given_folds_are_each_predicted_once(dataset, small, tmp_path):
    words = np.array(["train", "valid", "test"])
    given = [words[(np.arange(400) + fold) % 3] for fold in range(3)]
    folded = replace(dataset, folds=given)
    result = run_comparison(folded, tmp_path, replace(small, folds=None, seeds=1))
    with (tmp_path / "predictions.csv").open() as file:
        tested = [row["id"] for row in csv.DictReader(file)]
    assert sorted(tested) == sorted(dataset.ids)
    assert "splits: 3 folds, given by the data" in result.data.notes


def test_of_all_fusions_those_that_cannot_take_the_data_are_left_out(dataset, small, tmp_path):
    many = dict.fromkeys("abcd", dataset.modalities["a"])
    specs = dict.fromkeys(many, dataset.schema.modalities["a"])
    wide = replace(dataset, modalities=many, schema=replace(dataset.schema, modalities=specs))
    everyone, notes = taking_part(prepare(wide, small), replace(small, fusions=("all",)))
    names = [one.name for one in everyone[0]]
    assert "multiplicative_interactions" not in names
    assert {"a", "d", "sum", "mro", "late", "cross_attention+concat"} <= set(names)
    assert any(note.startswith("multiplicative_interactions does not take part: ") for note in notes)
    with pytest.raises(OptionError, match=r"multiplicative_interactions cannot take these data\. .* 2 to 3"):
        taking_part(prepare(wide, small), replace(small, fusions=("sum", "multiplicative_interactions")))


def test_interactions_are_found_where_they_are(dataset, tmp_path):
    config = CompareConfig(
        fusions=("sum", "low_rank"),
        seeds=1,
        learning_rates=(1e-2,),
        max_epochs=40,
        dropout=0.0,
        folds=1,
    )
    result = run_comparison(dataset, tmp_path, config)
    assert result.recommendation.name == "low_rank"
    assert result.recommendation.verdict == "fusing pays"
    leans = result.reliance[0]
    assert min(drop.low for drop in (*leans.hidden.values(), *leans.shuffled.values())) > 0.1


def test_what_finished_is_not_repeated_after_a_kill(dataset, small, tmp_path, monkeypatch):
    trained = []

    def interrupted(progress):
        lines = []

        def note(line):
            lines.append(line)
            if line.startswith("[4/"):
                raise KeyboardInterrupt
            if line.startswith("["):
                trained.append(line)

        return note

    with pytest.raises(KeyboardInterrupt):
        run_comparison(dataset, tmp_path / "killed", small, progress=interrupted(trained))
    before = len((tmp_path / "killed" / "journal.jsonl").read_text().splitlines())
    rest = []
    resumed = run_comparison(dataset, tmp_path / "killed", small, progress=rest.append)
    whole = run_comparison(dataset, tmp_path / "whole", small)
    assert before == 5  # the baseline and four runs
    assert sum(line.startswith("[") for line in rest) == 4
    assert scores(resumed) == scores(whole)


def test_processes_give_the_same_numbers(dataset, small, finished, tmp_path):
    here, _ = finished
    there = run_comparison(dataset, tmp_path / "two", small, num_workers=2)
    assert scores(there) == scores(here)
    assert not (tmp_path / "two" / "rows.safetensors").exists()


@pytest.mark.slow
def test_inputs_larger_than_the_memory_give_the_same_numbers(dataset, small, finished, tmp_path, monkeypatch):
    here, _ = finished
    monkeypatch.setattr(study, "Store", partial(Store, large=0))
    mapped = run_comparison(dataset, tmp_path / "mapped", small, num_workers=2)
    assert scores(mapped) == scores(here)
    assert not (tmp_path / "mapped" / "scratch").exists()


def test_data_that_cannot_be_compared_leave_no_folder_and_foreign_folders_as_they_are(
    dataset, small, tmp_path
):
    with pytest.raises(DataError, match="at least two modalities"):
        run_comparison(load({"a": np.ones((9, 2))}, target=np.arange(9) % 2), tmp_path / "new", small)
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match=r"must be a run folder or empty"):
        run_comparison(dataset, tmp_path, small)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_other_settings_in_the_same_folder_are_refused_unless_overwritten(dataset, small, finished):
    _, out = finished
    other = replace(small, seeds=1)
    with pytest.raises(RunError, match=r"other settings or data: config differ"):
        run_comparison(dataset, out, other)
    assert run_comparison(dataset, out, other, overwrite=True).seeds == 1


def test_the_saved_model_gives_the_predictions_that_were_measured(product_rows, dataset, finished):
    rows, _ = product_rows
    result, out = finished
    with (out / "predictions.csv").open() as file:
        stored = {row["id"]: row for row in csv.DictReader(file)}
    saved = SavedModel.load(out / "model")
    read = read_rows(rows, saved.schema)
    columns = saved.predict(read)
    assert len(stored) == result.data.rows["test"]
    for place, row_id in enumerate(read.ids):
        if row_id in stored:
            assert columns["prediction"][place] == stored[row_id]["prediction"]
            assert f"{columns['p_same'][place]:.6g}" == stored[row_id]["p_same"]
    hits = np.mean([row["prediction"] == row["target"] for row in stored.values()])
    entry = next(e for e in result.entries if e.name == result.recommendation.name)
    assert any(hits == pytest.approx(score) for score in entry.test_by_run)


def test_given_vectors_may_be_fused_as_they_are(dataset, small, tmp_path):
    result = run_comparison(dataset, tmp_path, replace(small, embedding_encoder="identity"))
    parameters = {entry.name: entry.parameters for entry in result.entries}
    assert parameters["a"] == (2 * 8 + 8) + (8 * 2 + 2)  # one linear map and the head
    assert len(SavedModel.load(tmp_path / "model").predict(dataset)["prediction"]) == 400


def test_regression_and_rows_without_a_modality(tmp_path, small):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 300, 2))
    target = 3 * a[:, 0] + b[:, 1] + 10
    b[::7] = np.nan
    config = replace(small, metric="rmse", max_epochs=20)
    result = run_comparison(load({"a": a, "b": b}, target=target), tmp_path, config)
    assert (result.task, result.metric, result.higher_is_better) == ("regression", "rmse", False)
    assert result.entries[0].valid.mean == min(e.valid.mean for e in result.entries)
    assert {m.name: m.missing for m in result.data.modalities} == {"a": 0, "b": 43}
    saved = SavedModel.load(tmp_path / "model")
    assert np.isfinite(saved.predict(read_rows({"a": a[:3]}, saved.schema))["prediction"]).all()


def test_a_run_that_diverges_is_said_so_and_loses(dataset, small, tmp_path):
    lines = []
    config = replace(small, learning_rates=(1e30, 3e-3), max_epochs=2)
    result = run_comparison(dataset, tmp_path, config, progress=lines.append)
    assert any("none (diverged)" in line for line in lines)
    assert {e.learning_rate for e in result.entries if e.role != "baseline"} == {3e-3}


def test_set_aside_rows_are_counted_and_told(tmp_path, small, product_rows):
    rows, target = product_rows
    path = tmp_path / "rows.csv"
    lines = [
        "a0,a1,b0,b1,y",
        *(f"{a[0]},{a[1]},{b[0]},{b[1]},{t}" for a, b, t in zip(rows["a"], rows["b"], target, strict=True)),
    ]
    path.write_text("\n".join([*lines, "1,2,3"]))
    from fuseloom import ReadOptions

    dataset = load(path, ReadOptions(target="y", tabular=("a=a0,a1", "b=b0,b1")))
    told = []
    result = run_comparison(dataset, tmp_path / "run", small, progress=told.append)
    assert len(result.data.set_aside) == 1
    assert any(line.startswith("set aside rows.csv:402") for line in told)


@pytest.mark.parametrize(("seconds", "text"), [(59.4, "59 s"), (61, "1 min 01 s"), (3600, "60 min 00 s")])
def test_durations_are_readable(seconds, text):
    assert training._duration(seconds) == text


def test_the_journal_is_json_lines(finished):
    _, out = finished
    entries = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    assert entries[0]["key"] == "baseline"
    assert all((out / "weights" / e["weights"]).is_file() for e in entries[1:])
