"""The benchmark of the merges, on a tiny subset."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from fuseloom.registry import list_fusions


@pytest.fixture
def merge() -> Any:
    return import_module("merge")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Results and printed tables of two merges, run as a user runs it."""
    folder = Path(__file__).parents[2] / "benchmarks"
    path = tmp_path_factory.mktemp("results") / "merge.json"
    command = [sys.executable, str(folder / "merge.py"), "--quick", "--merges", "low_rank,tensor"]
    done = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True, check=True)
    return json.loads(path.read_text("utf-8")), done.stdout


def test_the_json_holds_all_that_is_printed(quick: tuple[dict[str, Any], str]) -> None:
    results, printed = quick
    assert printed == import_module("tables").render(results)
    assert str(Path(__file__).parents[2]) not in json.dumps(results)


def test_every_merge_type_and_axis_is_there(quick: tuple[dict[str, Any], str]) -> None:
    results, printed = quick
    speed = [(row["part"], row["dtype"], row["compiled"]) for row in results["speed"]]
    both = ("low_rank", "tensor")
    assert speed == [(part, dtype, False) for dtype in ("float32", "bfloat16") for part in both]
    grown = [(row["axis"], row["part"]) for row in results["growth"]]
    assert grown == [
        ("width", "low_rank"),
        ("width", "tensor"),
        ("rank", "low_rank"),
        ("modalities", "low_rank"),
        ("modalities", "tensor"),
        ("batch", "low_rank"),
        ("batch", "tensor"),
    ]
    for row in results["speed"]:
        ours, plain = (row["forward"][who]["median_s"] for who in ("ours", "plain"))
        (line,) = [
            line
            for line in printed.partition(f"{row['dtype']}, eager")[2].splitlines()[:4]
            if line.startswith(row["part"])
        ]
        assert line.split()[6].lstrip("~") == f"{ours / plain:.2f}"


def test_in_chunks_memory_is_flat_as_the_product_grows(merge: Any) -> None:
    check = merge.chunk_memory(merge.QUICK, merge.Setting(device=torch.device("cpu")))
    first, last = check["points"][0], check["points"][-1]
    assert last["product"] > 1.9 * first["product"]
    assert last["whole_bytes"] > 1.8 * first["whole_bytes"]
    assert last["chunked_bytes"] < 1.1 * first["chunked_bytes"]


def test_a_merge_without_a_rival_is_an_error(
    merge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contest = import_module("contest")
    monkeypatch.setattr(contest, "RIVALS", {k: v for k, v in contest.RIVALS.items() if k != "sum"})
    path = tmp_path / "merge.json"
    assert merge.main(["--quick", "--json", str(path)]) == 1
    assert capsys.readouterr().err == "No plain formulation in rivals: sum.\n"
    assert not path.exists()


def test_all_merges_are_measured_unless_some_are_named(merge: Any) -> None:
    assert merge.parse([]).merges.split(",") == list_fusions(kind="merge")


def test_the_representative_size_is_one_of_the_sizes(merge: Any) -> None:
    for plan in (merge.FULL, merge.QUICK):
        assert plan.representative in plan.sizes
        assert [axis.name for axis in plan.axes] == ["width", "rank", "modalities", "batch"]


def test_what_the_compiler_cannot_compile_is_named_and_the_rest_measured(
    merge: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compete = merge.compete

    def fail(name: str, size: Any, setting: Any, *rest: Any, **options: Any) -> Any:
        if name == "sum" and setting.dtype is torch.bfloat16:
            raise BackendCompilerFailed("inductor", ValueError("no such kernel"), None)
        return compete(name, size, setting, *rest, **options)

    monkeypatch.setattr(merge, "compete", fail)
    path = tmp_path / "merge.json"
    assert merge.main(["--quick", "--merges", "concat,sum", "--json", str(path)]) == 0
    results = json.loads(path.read_text("utf-8"))
    assert [(row["part"], row["error"]) for row in results["failed"]] == [("sum", "ValueError")]
    assert len(results["speed"]) == 3
    assert "compiler failed" in capsys.readouterr().out
