"""The benchmark of the exchanges, on tiny sizes."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from fuseloom.registry import list_fusions

CPU = torch.device("cpu")


@pytest.fixture
def exchange() -> Any:
    return import_module("exchange")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The JSON of a run over all exchanges."""
    folder = Path(__file__).parents[2] / "benchmarks"
    path = tmp_path_factory.mktemp("results") / "exchange.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        program = import_module("exchange")
        assert program.main(["--quick", "--clock", "thread", "--json", str(path)]) == 0
        yield json.loads(path.read_text("utf-8"))


@pytest.mark.slow
def test_every_exchange_is_measured_in_both_types_wherever_it_takes_the_streams(
    exchange: Any, measured: dict[str, Any]
) -> None:
    single, several = exchange.QUICK.sizes
    found = [(row["part"], row["size"]["tokens"], row["dtype"]) for row in measured["speed"]]
    expected = [
        (name, size.tokens, "float32")
        for size in (single, several)
        for name in list_fusions(kind="exchange")
        if (name, size) != ("cls_exchange", single)  # without tokens there is no cls
    ]
    assert found == [
        *expected,
        *((name, several.tokens, "bfloat16") for name in list_fusions(kind="exchange")),
    ]
    assert measured["failed"] == []


@pytest.mark.slow
def test_all_that_is_promised_is_looked_at(measured: dict[str, Any]) -> None:
    found = {row["what"]: row["holds"] for row in measured["checks"]}
    assert [what for what, holds in found.items() if holds is None] == [
        "pixel_attention, stage 1: 4 floors / plain's both passes",
        "pixel_attention, stage 2: forward / floor",
        "pixel_attention, stage 2: forward + backward / plain",
        "pixel_attention, stage 2: 4 floors / plain's both passes",
        "pixel_attention, stage 3: forward + backward / plain",
        "pixel_attention, stage 3: 4 floors / plain's both passes",
        "pixel_attention, stage 4: forward + backward / plain",
        "pixel_attention, stage 4: 4 floors / plain's both passes",
    ]
    # Those that no clock decides hold at any size.
    counted = [what for what in found if "operations" in what or "bytes" in what or "read" in what]
    assert len(counted) == 8
    assert all(found[what] for what in counted)


@pytest.mark.slow
def test_what_grows_grows_and_full_attention_stands_below(measured: dict[str, Any]) -> None:
    names = [*list_fusions(kind="exchange"), "full attention"]
    found = [(row["axis"], row["part"]) for row in measured["growth"]]
    assert found == [(axis, name) for axis in ("tokens", "batch", "modalities") for name in names]
    for row in measured["growth"]:
        first, *_, last = row["points"]
        assert last["value"] > first["value"]
        assert last["peak_bytes"] > first["peak_bytes"] > 0


@pytest.mark.slow
def test_the_page_shows_what_the_json_holds(measured: dict[str, Any]) -> None:
    tables = import_module("exchange_tables")
    page = tables.render(measured)
    assert page.startswith("figure")
    row = next(row for row in measured["speed"] if row["part"] == "mult")
    line = next(line for line in page.splitlines() if line.startswith("mult"))
    ours, full = (row["forward"][who]["median_s"] for who in ("ours", "attention"))
    assert line.split()[7].lstrip("~") == f"{ours / full:.2f}"
    kept = row["kept_bytes"]
    assert line.split()[-3] == f"{kept['ours'] / kept['inputs']:.2f}"


def test_an_exchange_without_a_rival_is_an_error(
    exchange: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contest = import_module("contest")
    monkeypatch.setattr(contest, "RIVALS", {k: v for k, v in contest.RIVALS.items() if k != "mult"})
    path = tmp_path / "exchange.json"
    assert exchange.main(["--quick", "--json", str(path)]) == 1
    assert capsys.readouterr().err == "No plain formulation in rivals: mult.\n"
    assert not path.exists()


def test_a_run_that_is_stopped_leaves_what_it_has_measured(
    exchange: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(exchange, "grow", stop)
    path = tmp_path / "exchange.json"
    with pytest.raises(KeyboardInterrupt):
        exchange.main(["--quick", "--exchanges", "channel_exchange", "--json", str(path)])
    results = json.loads(path.read_text("utf-8"))
    found = [(row["dtype"], row["size"]["tokens"]) for row in results["speed"]]
    assert found == [("float32", 1), ("float32", 5), ("bfloat16", 5)]
    assert results["growth"] == []


def test_the_clock_of_one_thread_measures_one_thread_of_the_cpu(exchange: Any, tmp_path: Path) -> None:
    path = tmp_path / "exchange.json"
    with pytest.raises(SystemExit, match="--clock thread needs --device cpu and --threads 1"):
        exchange.main(["--quick", "--clock", "thread", "--threads", "2", "--json", str(path)])


def test_the_representative_size_is_one_of_the_sizes(exchange: Any) -> None:
    for plan in (exchange.FULL, exchange.QUICK):
        assert plan.representative in plan.sizes
        assert [axis.name for axis in plan.axes] == ["tokens", "batch", "modalities"]
    assert exchange.FULL.axes[0].values == (1024, 4096, 16384, 65536)


def test_what_the_compiler_cannot_compile_is_named_and_the_rest_measured(
    exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, size: Any, setting: Any, effort: Any) -> Any:
        if setting.compiled:
            raise BackendCompilerFailed("inductor", ValueError("no such kernel"), None)
        return {"part": name}

    monkeypatch.setattr(exchange, "compete", fail)
    nothing = exchange.replace(exchange.QUICK, axes=())
    *_, results = exchange.run(["mult"], nothing, exchange.parse(["--quick", "--compile"]))
    assert results["speed"] == [{"part": "mult"}] * 3
    found = [(row["part"], row["dtype"], row["compiled"], row["error"]) for row in results["failed"]]
    assert found == [("mult", dtype, True, "ValueError") for dtype in ("float32", "bfloat16")]


@pytest.mark.slow
@pytest.mark.compile
def test_compiled_contenders_are_timed_and_their_memory_is_not(exchange: Any) -> None:
    setting = exchange.Setting(device=CPU, compiled=True)
    effort = exchange.Effort(rounds=2, seconds=0)
    row = exchange.compete("modality_shift", exchange.QUICK.representative, setting, effort)
    assert row["forward"].keys() == {"ours", "plain", "floor", "attention"}
    assert row["peak_bytes"] is row["kept_bytes"] is None
