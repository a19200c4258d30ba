"""A run that is killed anywhere, in the middle of a write too, ends as one that never was."""

import contextlib
import json
import os
import random
import shutil
import signal
from dataclasses import replace

import pytest

from fuseloom import workbench
from fuseloom.comparison.baseline import run_baseline
from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.comparison.jobs import run_job
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.run import Stopped, run_comparison
from fuseloom.comparison.training import count_runs, train_all
from fuseloom.errors import RunError
from fuseloom.report import from_json, leaderboard_text
from fuseloom.train import files
from fuseloom.train.journal import RunFolder
from fuseloom.train.saved import SavedModel

TIMES = ("train_s", "latency_ms", "total_s")
"""What differs from run to run; every other byte of a result must not."""
CONFIG = CompareConfig(
    fusions=("sum",), seeds=2, learning_rates=(3e-3, 1e-2), max_epochs=2, search_epochs=1, dim=4, folds=1
)


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


class Laboratory:
    """Everything that is trained, without the scoring: small enough to be killed a hundred times."""

    def __init__(self, dataset):
        self.fold = prepare(dataset, CONFIG)[0]
        self.everyone = [candidates(self.fold.encoders, CONFIG)]
        self.total = 1 + count_runs(self.everyone, CONFIG)

    def run(self, path):
        """Start, or start again; gives the work that was done."""
        folder, done = RunFolder.open(path, {"seeds": 2}), []

        def train(jobs, report):
            for job in jobs:
                done.append(job.key)
                report(job, run_job(job, self.fold.rows, self.fold.task))

        if "baseline" not in folder.finished:
            done.append("baseline")
        run_baseline(self.fold.rows, self.fold.task, self.fold.encoders, folder)
        train_all(self.everyone, CONFIG, folder, train, lambda line: None)
        return done

    @staticmethod
    def result(path):
        lines = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]
        assert len({line["key"] for line in lines}) == len(lines)
        weights = {file.name: file.read_bytes() for file in (path / "weights").iterdir()}
        return {line["key"]: without_times(line) for line in lines}, weights


@pytest.fixture
def laboratory(dataset):
    return Laboratory(dataset)


@pytest.fixture
def undisturbed(laboratory, tmp_path):
    done = laboratory.run(tmp_path / "whole")
    assert len(done) == len(set(done)) == laboratory.total
    return laboratory.result(tmp_path / "whole")


class Camera:
    """Keeps what a folder holds at each moment that a write reaches the disk: what a kill would leave."""

    def __init__(self, folder, album, monkeypatch):
        self.folder, self.album, self.pictures = folder, album, []
        self.sync = os.fsync
        monkeypatch.setattr(files.os, "fsync", self)

    def __call__(self, handle):
        self.take()
        self.sync(handle)

    def take(self):
        picture = self.album / f"{len(self.pictures):03}"
        shutil.copytree(self.folder, picture)
        self.pictures.append(picture)


def torn(picture, number, draw):
    """The same moment with the write under way cut short: to nothing, anywhere, by a byte, or with zeros."""
    parts = sorted(picture.rglob("*.part"))
    target = parts[0] if parts else picture / "journal.jsonl"
    if not target.exists() or target.stat().st_size == 0:
        return picture
    whole = target.read_bytes()
    start = 0 if parts else whole[:-1].rfind(b"\n") + 1
    cut = [start, draw.randrange(start, len(whole)), len(whole) - 1, draw.randrange(start, len(whole))][
        number % 4
    ]
    target.write_bytes(whole[:cut] + (b"\0" * (len(whole) - cut) if number % 4 == 3 else b""))
    return picture


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_inside_any_write_costs_at_most_the_work_under_way(
    laboratory, undisturbed, tmp_path, monkeypatch
):
    draw = random.Random(0)
    (tmp_path / "run").mkdir()
    camera = Camera(tmp_path / "run", tmp_path / "album", monkeypatch)
    laboratory.run(tmp_path / "run")
    monkeypatch.undo()
    assert len(camera.pictures) > 4 * laboratory.total
    for number, picture in enumerate(camera.pictures):
        for kind in ("whole", "torn"):
            moment = tmp_path / f"{kind} moment"
            shutil.copytree(picture, moment)
            noted = whole_lines((moment if kind == "whole" else torn(moment, number, draw)) / "journal.jsonl")
            done = laboratory.run(moment)
            assert laboratory.result(moment) == undisturbed, (number, kind)
            assert sorted([*noted, *done]) == sorted(undisturbed[0]), (number, kind)
            shutil.rmtree(moment)


def whole_lines(journal):
    """Keys of the lines that are JSON; one may lack nothing but its end."""
    found = []
    for line in journal.read_bytes().split(b"\n") if journal.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line)["key"])
    return found


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_what_the_journal_names_but_is_damaged_runs_again_alone(laboratory, undisturbed, tmp_path, damage):
    path, hurt = tmp_path / "whole", "fusion sum, lr 0.01, seed 1"
    key = hurt if hurt in undisturbed[0] else "fusion sum, lr 0.003, seed 1"
    for name in (key, "search a, lr 0.003, seed 0", "baseline"):
        file = RunFolder(path=path).file(name)
        content = file.read_bytes()
        file.unlink()
        if damage != "gone":
            file.write_bytes(content[:-3] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    assert sorted(laboratory.run(path)) == sorted([key, "search a, lr 0.003, seed 0", "baseline"])
    assert laboratory.result(path) == undisturbed


def test_a_state_that_is_torn_or_lost_between_search_and_final_run_changes_nothing(
    laboratory, undisturbed, tmp_path
):
    class Killed(BaseException):
        pass

    def interrupted(jobs, report):
        if not jobs[0].key.startswith("search"):
            raise Killed
        for job in jobs:
            report(job, run_job(job, laboratory.fold.rows, laboratory.fold.task))

    folder = RunFolder.open(tmp_path / "run", {"seeds": 2})
    with pytest.raises(Killed):
        train_all(laboratory.everyone, CONFIG, folder, interrupted, lambda line: None)
    states = sorted((tmp_path / "run" / "weights").glob("*.state"))
    assert len(states) == 6
    for number, state in enumerate(states):
        state.unlink() if number % 2 else state.write_bytes(state.read_bytes()[:-7])
    laboratory.run(tmp_path / "run")
    assert laboratory.result(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_a_kill_while_the_answer_is_written_leaves_no_half_of_it(dataset, tmp_path, monkeypatch):
    config, out = replace(CONFIG, learning_rates=(3e-3,)), tmp_path / "run"
    told = []
    monkeypatch.setattr(workbench, "load", lambda *args, **options: dataset)
    settings = {"fusions": ["sum"], "seeds": 2, "max_epochs": 2, "dim": 4, "folds": 1}

    def photograph(line):
        told.append(line)
        if line.startswith("scoring"):
            told.append(Camera(out, tmp_path / "album", monkeypatch))

    result = workbench.compare(
        out=out, progress=photograph, learning_rates=list(config.learning_rates), **settings
    )
    camera = next(one for one in told if isinstance(one, Camera))
    monkeypatch.setattr(files.os, "fsync", camera.sync)
    finished = (out / "report.json").read_bytes()
    assert len(camera.pictures) >= 12  # three files of the model, predictions and two of the report, twice
    for picture in camera.pictures:
        report = picture / "report.json"
        assert not report.exists() or report.read_bytes() == finished
        try:
            loaded = SavedModel.load(picture / "model")
        except RunError:
            continue
        expected, got = SavedModel.load(out / "model").predict(dataset), loaded.predict(dataset)
        assert all((got[name] == column).all() for name, column in expected.items())
    again = workbench.compare(out=camera.pictures[3], learning_rates=list(config.learning_rates), **settings)
    assert without_times(json.loads((camera.pictures[3] / "report.json").read_text())) == without_times(
        json.loads(finished) | {"command": again.command}
    )
    assert again.recommendation == result.recommendation


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_report_of_what_is_finished(dataset, tmp_path, monkeypatch, number):
    monkeypatch.setattr(workbench, "load", lambda *args, **options: dataset)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = {"fusions": ["sum", "concat", "mean"], "seeds": 2, "learning_rates": [3e-3], "max_epochs": 3}
    settings |= {"folds": 1, "dim": 4, "num_workers": 2}

    def stop(line):
        if line.startswith("[8/10]"):
            signal.raise_signal(number)

    try:
        with pytest.raises(Stopped, match=r"^Stopped after 8 of 10 runs; run the same command to go on\.$"):
            workbench.compare(out=tmp_path, progress=stop, **settings)
    finally:
        signal.signal(signal.SIGTERM, before)
    partial = from_json((tmp_path / "report.json").read_text())
    names = {entry.name for entry in partial.entries}
    # Two runs are missing, of one candidate or of two: which, the two workers' speed decides.
    assert "logistic regression" in names
    assert 3 <= len(names & {"a", "b", "sum", "concat", "mean"}) <= 4
    assert partial.recommendation.sentence.startswith("Stopped after 8 of 10 runs; run the same command")
    assert "Stopped after 8 of 10 runs" in " ".join(leaderboard_text(partial).split())
    assert "Stopped after 8 of 10 runs" in (tmp_path / "report.html").read_text()
    lines = []
    whole = workbench.compare(out=tmp_path, progress=lines.append, **settings)
    assert "going on: 8 of 10 runs are finished" in lines
    assert sum(line.startswith("[") for line in lines) == 2
    assert len(whole.entries) == 6
    assert "Stopped" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "lock.json").exists()


def test_too_little_for_a_report_is_said_plainly(dataset, tmp_path):
    def stop(line):
        if line.startswith("[2/"):
            raise KeyboardInterrupt

    with pytest.raises(
        Stopped, match=r"Stopped after 2 of \d+ runs; run the same command without overwriting to go on\."
    ) as end:
        run_comparison(dataset, tmp_path, CONFIG, progress=stop, overwrite=True)
    assert end.value.partial is None
    assert not (tmp_path / "report.html").exists()


def test_a_second_ctrl_c_skips_the_report(dataset, tmp_path):
    def stop(line):
        if line.startswith(("[14/", "stopping")):
            raise KeyboardInterrupt

    config = replace(CONFIG, fusions=("sum", "concat"))
    with pytest.raises(KeyboardInterrupt) as end:
        run_comparison(dataset, tmp_path, config, progress=stop)
    assert not isinstance(end.value, Stopped)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 15


def test_data_that_changed_in_between_are_refused(dataset, tmp_path):
    def stop(line):
        if line.startswith("[2/"):
            raise KeyboardInterrupt

    with pytest.raises(Stopped):
        run_comparison(dataset, tmp_path, CONFIG, progress=stop)
    dataset.modalities["a"].values[0, 0] += 1
    with pytest.raises(
        RunError, match=r"other settings or data: data differ\. Choose another --out, or pass --overwrite"
    ):
        run_comparison(dataset, tmp_path, CONFIG)


def test_a_disk_that_is_full_ends_the_run_and_it_goes_on_when_it_is_not(dataset, tmp_path, monkeypatch):
    def fill(line):
        if line.startswith("[3/"):
            (tmp_path / "weights").rename(tmp_path / "aside")
            (tmp_path / "weights").mkdir()
            monkeypatch.setattr(files.os, "fsync", full)

    def full(handle):
        raise OSError(28, os.strerror(28))

    with pytest.raises(RunError, match=r"must be writable, got: No space left on device\. Free some space"):
        run_comparison(dataset, tmp_path, CONFIG, progress=fill)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "weights")
    (tmp_path / "aside").rename(tmp_path / "weights")
    lines = []
    run_comparison(dataset, tmp_path, CONFIG, progress=lines.append)
    assert "going on: 3 of 12 runs are finished" in lines


def test_one_comparison_at_a_time(dataset, tmp_path):
    def start_another(line):
        if line.startswith("[1/"):
            with pytest.raises(RunError, match=rf"must be free, got one that process {os.getpid()} on"):
                run_comparison(dataset, tmp_path, CONFIG)
            raise KeyboardInterrupt

    with pytest.raises(Stopped):
        run_comparison(dataset, tmp_path, CONFIG, progress=start_another)
    assert not (tmp_path / "lock.json").exists()
