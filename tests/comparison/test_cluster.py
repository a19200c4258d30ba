"""The runner on a cluster: against Ray where it is installed, and a stand-in of the calls it makes."""

import importlib
import importlib.util
import json
import os
import signal
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fuseloom.cli.group import fuseloom
from fuseloom.comparison.cluster import Cluster, cluster_workers, connected, fan_out, telling
from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.comparison.jobs import Job, run_job
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.run import run_comparison
from fuseloom.comparison.sweep import SweepConfig, run_sweep
from fuseloom.comparison.trials import Terms
from fuseloom.errors import MissingExtraError, RunError

CONFIG = CompareConfig(fusions=("sum",), seeds=2, learning_rates=(3e-3, 1e-2), max_epochs=2, dim=4, folds=1)
GRID = {"fit.lr": ("1e-3", "1e-2")}
QUICK = ("fit.max_epochs=2", "model.dim=4", "data.fraction=0.1")


class StandIn(types.ModuleType):
    """Tasks run where they are asked for, with arguments that went through JSON; each call is noted."""

    class RayError(Exception):
        pass

    def __init__(self):
        super().__init__("ray")
        self.exceptions, self.calls, self.options_given = self, [], []
        self.results, self.lost, self.running = {}, set(), False

    def is_initialized(self):
        return self.running

    def init(self, **options):
        if options["address"] == "nowhere":
            raise ConnectionError("no cluster found")
        self.running = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does in its own way
        self.calls.append("init")

    def shutdown(self):
        self.running = False
        self.calls.append("shutdown")

    def remote(self, function):
        def ask(*arguments):
            reference = len(self.results)
            plain = json.loads(json.dumps(arguments))
            self.results[reference] = lambda: function(
                *(tuple(a) if isinstance(a, list) else a for a in plain)
            )
            return reference

        def options(**given):
            self.options_given.append(given)
            return types.SimpleNamespace(remote=ask)

        return types.SimpleNamespace(options=options)

    def wait(self, references, num_returns):
        assert num_returns == 1
        return references[-1:], references[:-1]  # in another order than they were asked for

    def get(self, reference):
        if reference in self.lost:
            raise self.RayError("the worker died")
        return self.results[reference]()

    def cancel(self, reference, force):
        assert force
        self.calls.append(f"cancel {reference}")


@pytest.fixture
def ray(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    return stand_in


@pytest.fixture
def ready(dataset):
    return prepare(dataset, CONFIG)[0]


@pytest.fixture
def jobs(ready, tmp_path):
    model = candidates(ready.encoders, CONFIG)[0].model
    fit = CONFIG.fit(1e-3, 0)
    return [Job(key=key, model=model, fit=fit, weights=str(tmp_path / key)) for key in "abc"]


def table(result):
    return {e.name: (e.valid_by_run, e.test_by_run, e.learning_rate, e.parameters) for e in result.entries}


def sweep_of(settings):
    return SweepConfig(name="digits", grid=GRID, terms=Terms(recipe="digits", settings=settings))


def swept(found):
    return [(c.settings, [replace(run, train_s=0.0) for run in c.runs]) for c in found.courses[0].cells]


def test_the_table_is_that_of_a_sequential_run(dataset, tmp_path, ray, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    there = run_comparison(dataset, Path("there"), CONFIG, num_workers=Cluster(address="local"))
    here = run_comparison(dataset, tmp_path / "here", CONFIG)
    assert table(there) == table(here)
    assert ray.calls == ["init", "shutdown"]
    assert ray.options_given == [{"num_cpus": 1, "max_retries": 1}] * len(ray.options_given)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (tmp_path / "there" / "rows").exists()


def test_a_caller_s_own_connection_stays(ready, jobs, tmp_path, ray):
    ray.running, found = True, []
    with cluster_workers(Cluster(), [ready.rows], ready.task, tmp_path) as run:
        run(jobs[:1], lambda job, result: found.append(result["valid_loss"]))
    assert ray.calls == []
    assert found == [run_job(jobs[0], ready.rows, ready.task)["valid_loss"]]


def test_a_job_that_dies_ends_the_run_and_the_others_are_cancelled(ready, jobs, tmp_path, ray):
    ray.lost = {2}
    with (
        cluster_workers(Cluster(), [ready.rows], ready.task, tmp_path) as run,
        pytest.raises(
            RunError, match=r"^c: its process on the cluster died twice, .* as RayError\. Run the same"
        ),
    ):
        run(jobs, lambda job, result: None)
    assert ray.calls == ["init", "cancel 0", "cancel 1", "shutdown"]


def test_an_error_in_a_job_is_told_with_its_name(ready, jobs, tmp_path, ray):
    broken = replace(jobs[0], weights=str(tmp_path / "nowhere" / "a"))
    with (
        cluster_workers(Cluster(), [ready.rows], ready.task, tmp_path) as run,
        pytest.raises(RunError, match=r"^a failed: .*nowhere"),
    ):
        run([broken], lambda job, result: None)


def test_a_node_without_the_run_folder_is_found_out(ready, jobs, tmp_path, ray, monkeypatch):
    monkeypatch.setattr(ray, "get", lambda reference: {"valid_loss": 0.5})
    with (
        cluster_workers(Cluster(), [ready.rows], ready.task, tmp_path) as run,
        pytest.raises(RunError, match=r"must be on a file system that all nodes of a cluster share"),
    ):
        run(jobs, lambda job, result: None)


def test_no_cluster_and_no_ray_are_said_so(ready, tmp_path, ray, monkeypatch):
    message = (
        r"address must be that of a Ray cluster, got 'nowhere': no cluster found\. Start one with `ray start"
    )
    with pytest.raises(RunError, match=message):
        cluster_workers(Cluster(address="nowhere"), [ready.rows], ready.task, tmp_path).__enter__()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[ray\]'"):
        cluster_workers(Cluster(), [ready.rows], ready.task, tmp_path).__enter__()


def test_a_sweep_gives_the_table_of_a_sequential_one(tmp_path, ray, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = run_sweep(sweep_of(QUICK), Path("there"), num_workers=Cluster(address="local"))
    assert swept(there) == swept(run_sweep(sweep_of(QUICK), Path("here")))
    assert ray.calls == ["init", "shutdown"]
    assert len(ray.results) == 2
    again = run_sweep(sweep_of(QUICK), Path("there"), num_workers=Cluster(address="local"))
    assert swept(again) == swept(there)
    assert len(ray.results) == 2  # what the journal holds is not run again


def test_a_run_of_a_sweep_that_fails_is_told_with_its_name(tmp_path, ray):
    bad = (*QUICK, "model.options.sum.nonsense=1", "model.fusion=sum")
    with pytest.raises(RunError, match=r"^digits: fit\.lr=1e-2, seed 0 failed: 'sum' has no option"):
        run_sweep(sweep_of(bad), tmp_path, num_workers=Cluster(address="local"))
    assert ray.calls == ["init", "cancel 0", "shutdown"]


def test_an_error_of_any_kind_travels_as_its_words():
    def breaks(number):
        raise ValueError(f"got {number}")

    assert telling(breaks)(7) == {"error": "ValueError: got 7"}


@pytest.mark.parametrize(
    ("options", "expected"), [(("--ray", "auto"), Cluster()), (("--workers", "3"), 3), ((), 1)]
)
def test_a_sweep_trains_where_it_is_told_to(monkeypatch, options, expected):
    asked = []

    def run_sweep(*arguments, num_workers, **settings):
        asked.append(num_workers)
        raise RunError("enough")

    monkeypatch.setattr("fuseloom.comparison.sweep.run_sweep", run_sweep)
    CliRunner().invoke(fuseloom, ["sweep", "digits", "--grid", "fit.lr=1e-3", *options])
    assert asked == [expected]


@pytest.mark.parametrize("verb", [("sweep", "digits", "--grid", "fit.lr=1e-3"), ("compare",)])
def test_the_command_line_takes_a_cluster_or_workers(verb):
    done = CliRunner().invoke(fuseloom, [*verb, "--ray", "auto", "--workers", "2"])
    assert done.exit_code == 2
    assert "--workers counts processes here" in done.stderr


NEEDS_RAY = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'fuseloom[ray]'"
    ),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture(scope="module")
def local_ray():
    """A real one, started here and ended."""
    with connected(Cluster(address="local")) as ray:
        yield ray


class TestOnALocalRay:
    pytestmark = NEEDS_RAY

    def test_the_tables_are_those_of_sequential_runs(self, dataset, tmp_path, local_ray):
        local = Cluster(address="local")
        there = run_comparison(dataset, tmp_path / "there", CONFIG, num_workers=local)
        assert table(there) == table(run_comparison(dataset, tmp_path / "here", CONFIG))
        one = run_sweep(sweep_of(QUICK), tmp_path / "sweep", num_workers=local)
        assert swept(one) == swept(run_sweep(sweep_of(QUICK), tmp_path / "sequential"))

    def test_a_process_that_dies_is_replaced_once(self, tmp_path, local_ray):
        def dies(place, times):
            marks = len(list(Path(place).iterdir()))
            if marks < times:
                Path(place, str(marks)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {"deaths": marks}

        for name in ("once", "twice"):
            (tmp_path / name).mkdir()
        assert list(fan_out(local_ray, dies, {"a": (str(tmp_path / "once"), 1)})) == [("a", {"deaths": 1})]
        message = r"^b: its process on the cluster died twice, the second time as WorkerCrashedError"
        with pytest.raises(RunError, match=message):
            list(fan_out(local_ray, dies, {"b": (str(tmp_path / "twice"), 2)}))
