"""Jobs fanned out over a Ray cluster, through files that all its nodes see."""

import importlib
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

from fuseloom.comparison.jobs import Job, Rows, run_job, task_from_state, task_state
from fuseloom.comparison.pool import Report, Runner, rows_on_disk
from fuseloom.errors import FuseloomError, MissingExtraError, RunError
from fuseloom.tasks import Task
from fuseloom.train.fit import one_thread

__all__ = ["Cluster", "cluster_workers", "connected", "fan_out", "telling"]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where a comparison or a sweep is trained instead of in processes of this machine.

    Example:
        >>> Cluster(address="auto").address
        'auto'
    """

    address: str = "auto"
    """As `ray.init` takes it: ``auto`` for the cluster that this machine is a node of, ``local`` for one that
    is started here and ended, or that of its head node."""


@contextmanager
def cluster_workers(cluster: Cluster, folds: Sequence[Rows], task: Task, scratch: Path) -> Iterator[Runner]:
    """Give a runner; each job takes one core of the cluster, and gives the numbers it gives here.

    A job whose process or node dies is tried once more. Rows, states and weights go through ``scratch``, so
    that nothing but plain values travels through Ray.

    Args:
        cluster: Where to train.
        folds: Encoded rows of each fold; written to ``scratch``.
        task: Gives loss and head.
        scratch: The run folder, on a file system that all nodes share.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: there is no such cluster, a job fails, or a node does not see ``scratch``.
    """
    with connected(cluster) as ray, rows_on_disk(folds, scratch.resolve()) as files:
        yield lambda jobs, report: _run_on(ray, jobs, report, files, task=task_state(task))


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Give Ray, connected; a connection that a caller has made is used, and stays.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: there is no such cluster.
    """
    ray = _ray()
    started = _connect(ray, cluster)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def fan_out(
    ray: Any, function: Callable[..., dict[str, Any]], calls: Mapping[str, tuple[Any, ...]]
) -> Generator[tuple[str, dict[str, Any]]]:
    """Give what each call returned as it comes; a call whose process or node dies is made once more.

    Closing the iterator cancels what has not come.

    Args:
        ray: As `connected` gives it.
        function: What a node calls, of one core; made by `telling`.
        calls: Name -> plain arguments.

    Raises:
        RunError: a call failed, or its process died twice.
    """
    remote = ray.remote(function).options(num_cpus=1, max_retries=1)
    asked = {remote.remote(*arguments): name for name, arguments in calls.items()}
    try:
        while asked:
            done, _ = ray.wait(list(asked), num_returns=1)
            name = asked.pop(done[0])
            yield name, _answer(ray, done[0], name)
    finally:  # an error or an interrupt: nothing is waited for
        for reference in asked:
            ray.cancel(reference, force=True)


def telling(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The function with one thread, whose errors travel as their words; for functions of a module only."""

    @wraps(function)
    def told(*arguments: Any) -> dict[str, Any]:
        try:
            with one_thread():
                return function(*arguments)
        except FuseloomError as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    return told


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise MissingExtraError(
            "Training on a cluster needs Ray. Install it with: pip install 'fuseloom[ray]'"
        ) from None


def _connect(ray: Any, cluster: Cluster) -> bool:
    """Connect where no caller has; Ray sets a handler of SIGTERM, and ours must stay."""
    if ray.is_initialized():
        return False
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=cluster.address, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise RunError(
            f"address must be that of a Ray cluster, got {cluster.address!r}: {error}. "
            "Start one with `ray start --head`, or use 'local'."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return True


def _run_on(
    ray: Any, jobs: Sequence[Job], report: Report, files: Sequence[Path], *, task: Mapping[str, Any]
) -> None:
    places = [(str(file), file.stat().st_mtime_ns) for file in files]
    by_key = {job.key: job for job in jobs}
    calls = {key: (_absolute(job).state(), places[job.fold], dict(task)) for key, job in by_key.items()}
    with closing(fan_out(ray, _run_there, calls)) as answers:
        for key, answer in answers:
            _check_reached(by_key[key])
            report(by_key[key], answer)


def _absolute(job: Job) -> Job:
    """The job with paths that mean the same on every node."""
    return replace(
        job,
        weights=str(Path(job.weights).resolve()),
        state_file=None if job.state_file is None else str(Path(job.state_file).resolve()),
        start={name: str(Path(path).resolve()) for name, path in job.start.items()},
    )


@telling
def _run_there(job: Mapping[str, Any], file: tuple[str, int], task: Mapping[str, Any]) -> dict[str, Any]:
    return run_job(Job.from_state(job), _rows(*file), task_from_state(task))


@lru_cache(maxsize=1)  # jobs come fold by fold
def _rows(file: str, _written: int) -> Rows:
    """Rows of a file; another comparison of the same session may write it anew."""
    return Rows.load(Path(file))


def _answer(ray: Any, reference: Any, name: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise RunError(
            f"{name}: its process on the cluster died twice, the second time as {type(error).__name__}. "
            "Run the same command again to go on, on nodes with more memory."
        ) from error
    if "error" in answer:
        raise RunError(f"{name} failed: {answer['error']}")
    return answer


def _check_reached(job: Job) -> None:
    if not Path(job.weights).is_file():
        raise RunError(
            f"{job.weights} must be on a file system that all nodes of a cluster share, got one that a node "
            "did not reach. Choose another --out."
        )
