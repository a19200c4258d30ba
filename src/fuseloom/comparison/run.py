"""The protocol: split, encode, train under equal terms, choose on validation data, score test data once."""

import time
from pathlib import Path

from fuseloom.comparison.baseline import run_baseline
from fuseloom.comparison.conclude import conclude, summarise
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.pool import workers
from fuseloom.comparison.prepare import fingerprint, prepare
from fuseloom.comparison.result import FORMAT_VERSION, Comparison
from fuseloom.comparison.training import Progress, train_all
from fuseloom.data import Dataset
from fuseloom.train.fit import one_thread
from fuseloom.train.journal import RunFolder, environment

__all__ = ["run_comparison"]


def run_comparison(
    dataset: Dataset,
    out: Path,
    config: CompareConfig,
    *,
    num_workers: int = 1,
    command: str = "",
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Comparison:
    """Compare each modality alone, a classical baseline and the fusions, and save the recommended model.

    Args:
        dataset: Rows with at least two modalities and a target.
        out: Run folder; one that holds an unfinished run of the same settings and data is continued.
        config: Settings.
        num_workers: Processes to train in; the numbers do not depend on it.
        command: What repeats the comparison, for the record.
        overwrite: Remove the run that ``out`` holds first.
        progress: Called with a line for a person, now and then.

    Raises:
        DataError: the data cannot be compared on.
        OptionError: a fusion that was named cannot take them.
        RunError: ``out`` holds something else, or a training run failed.
    """
    start = time.perf_counter()
    folds = prepare(dataset, config)
    first = folds[0]
    metric = first.task.metric(config.metric)
    everyone, notes = taking_part(folds, config)
    aside = [f"set aside {row.where}: {row.reason}" for row in dataset.set_aside[:10]]
    for line in (*first.notes, *notes, *aside):
        progress(line)
    request = {"config": config.state(), "metric": metric[0], "data": fingerprint(folds)}
    folder = RunFolder.open(out, request, overwrite=overwrite)
    with workers(num_workers, [fold.rows for fold in folds], first.task, out) as run:
        with one_thread():  # while the workers start
            baselines = [
                run_baseline(fold.rows, fold.task, fold.encoders, folder, fold=place)
                for place, fold in enumerate(folds)
            ]
        trained = train_all(everyone, config, folder, run, progress)
    progress("scoring the test data, once")
    with one_thread():
        answer = conclude(folds, trained, baselines, metric, config=config, out=out)
    return Comparison(
        format_version=FORMAT_VERSION,
        data=summarise(folds, notes),
        task=first.task.name,
        metric=metric[0],
        higher_is_better=metric[1].higher_is_better,
        seeds=config.seeds,
        entries=answer.entries,
        recommendation=answer.recommendation,
        reliance=answer.reliance,
        command=command,
        config=config.state(),
        environment=environment(),
        total_s=time.perf_counter() - start,
    )
