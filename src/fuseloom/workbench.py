"""The main job in one call: `compare` runs a comparison and writes its report."""

import tempfile
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from fuseloom.comparison.cluster import Cluster
from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.result import Comparison
from fuseloom.comparison.run import Stopped, run_comparison
from fuseloom.data import ReadOptions, load
from fuseloom.errors import OptionError, did_you_mean
from fuseloom.report import write_report

__all__ = ["compare"]

_NO_OPTIONS = ReadOptions()


def compare(  # noqa: PLR0913  the keywords of the main job are its interface
    data: Any = None,
    *,
    target: Any = None,
    read: ReadOptions = _NO_OPTIONS,
    out: str | Path | None = None,
    num_workers: int | Cluster = 1,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    command: str | None = None,
    **settings: Any,
) -> Comparison:
    """Find out which fusion suits the data, and whether fusing pays.

    Args:
        data: A dict of arrays (modality name -> ``[N, D]``, ``[N, T, D]`` or strings), a DataFrame, a path
            (CSV or TSV file, folder of ``.npy`` files, folder of a published set), or None for the digits.
        target: What to predict: values ``[N]``, or the name of a column.
        read: What to read from a table or folder, and how.
        out: Run folder for report, journal, saved model and test predictions; a killed run in it is
            continued. None keeps nothing but the result.
        num_workers: Processes to train in, or a Ray cluster; the numbers do not depend on it.
        overwrite: Remove the run that ``out`` holds first.
        progress: Called with a line for a person, now and then.
        command: What repeats the comparison, for the report.
        settings: Fields of `CompareConfig`, such as ``fusions``, ``seeds`` or ``metric``.

    Raises:
        DataError: the data cannot be read or compared on.
        OptionError: an unknown setting, or one out of its range.
        RunError: ``out`` holds something else or is in use, or a training run failed.
        Stopped: Ctrl-C; what is finished is kept, with a report of it where that is enough for one.

    Example:
        >>> result = compare(fusions=["sum"], seeds=1, max_epochs=1)
        >>> result.data.name, result.metric, len(result.entries)
        ('digits', 'accuracy', 4)
    """
    known = [f.name for f in fields(CompareConfig)]
    if unknown := sorted(settings.keys() - set(known)):
        raise OptionError(f"Unknown setting {unknown[0]!r}.{did_you_mean(unknown[0], known)}")
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    config = CompareConfig(**settings)
    dataset = load(data, read, target=target)
    run = partial(
        run_comparison,
        dataset,
        config=config,
        num_workers=num_workers,
        overwrite=overwrite,
        progress=progress,
        command=command if command is not None else _call(data, target=target, read=read, **settings),
    )
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(Path(folder))
    try:
        result = run(Path(out))
    except Stopped as stop:
        if stop.partial is not None:
            write_report(stop.partial, Path(out))
            progress(f"partial report: {Path(out) / 'report.html'}")
        raise
    write_report(result, Path(out))
    progress(f"report: {Path(out) / 'report.html'}")
    return result


def _call(data: Any, **keywords: Any) -> str:
    """The call that repeats a comparison; values that have no short form are named."""
    shown = [] if data is None else [repr(str(data)) if isinstance(data, str | Path) else "data"]
    for name, value in keywords.items():
        if isinstance(value, str | int | float | tuple) or (name == "read" and value != _NO_OPTIONS):
            shown.append(f"{name}={value!r}")
        elif name == "target" and value is not None:
            shown.append("target=target")
    return f"fuseloom.compare({', '.join(shown)})"
