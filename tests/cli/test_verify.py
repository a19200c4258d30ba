import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from fuseloom.cli.verify import verify

GOLDENS = Path(__file__).parents[1] / "goldens"
CASE = GOLDENS / "lecture" / "mb_concatwithlinear.json"
KIND = "lecture/mb_concatwithlinear"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(verify, [str(argument) for argument in arguments])


def copy(folder: Path, **entries: object) -> Path:
    shutil.copy(CASE.with_suffix(".safetensors"), folder)
    path = folder / CASE.name
    path.write_text(json.dumps(json.loads(CASE.read_text()) | entries))
    return path


def test_one_line_per_case_then_a_summary() -> None:
    done = run(CASE.parent, "--require", f"lecture/lmf, {KIND}", "--require", "lecture/mb_concat")
    *lines, summary = done.stdout.splitlines()
    assert done.exit_code == 0
    assert len(lines) == len(list(CASE.parent.glob("*.json")))
    assert all(line.startswith("ok       lecture/") for line in lines)
    assert summary == f"{len(lines)} in all: {len(lines)} ok, 0 failed, 0 unknown."
    assert sum("without influence: audio_subnet.norm.running_mean" in line for line in lines) == 1


def test_a_failed_case_names_its_worst_tensor(tmp_path: Path) -> None:
    case = copy(tmp_path)
    tensors = load_file(case.with_suffix(".safetensors"))
    tensors["grad.m1"][0, 0] = 7
    save_file(tensors, case.with_suffix(".safetensors"))
    done = run(tmp_path, "--require", KIND)
    assert done.exit_code == 1
    line, summary, missing = done.stdout.splitlines()
    assert line.startswith(f"FAILED   {KIND}  {case}: grad.m1 misses by ")
    assert line.endswith("is allowed (1 of 16 values)")
    assert summary == "1 in all: 0 ok, 1 failed, 0 unknown."
    assert missing == f"Required kinds without a passing case: {KIND}."


def test_an_unreadable_case_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text("{")
    done = run(tmp_path)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"FAILED   ?  {tmp_path / 'case.json'}: case.json must be JSON, got:")


def test_unknown_kinds_are_minded_unless_allowed(tmp_path: Path) -> None:
    case = copy(tmp_path, kind="test/other")
    done = run(tmp_path, CASE)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (3, f"unknown  test/other  {case}")
    assert run(tmp_path, CASE, "--allow-unknown").exit_code == 0
    assert run(tmp_path, "--allow-unknown").exit_code == 4


def test_nothing_ran(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (4, "0 in all: 0 ok, 0 failed, 0 unknown.\n")


def test_json_says_the_same(tmp_path: Path) -> None:
    copy(tmp_path, kind="test/other")
    done = run(tmp_path, CASE, "--json", "--require", "a/b")
    found = json.loads(done.stdout)
    assert done.exit_code == found["status"] == 1
    assert found["format_version"] == 1
    assert found["counts"] == {"ok": 1, "failed": 0, "unknown": 1}
    assert found["missing"] == ["a/b"]
    unknown, passed = found["cases"]
    assert (unknown["kind"], unknown["status"], unknown["worst"]) == ("test/other", "unknown", None)
    assert passed["path"] == str(CASE)
    assert {check["name"] for check in passed["checks"]} == {"output.y", "grad.m0", "grad.m1"}
    assert passed["worst"] in {check["name"] for check in passed["checks"]}
    assert all(0 <= check["error"] <= check["allowed"] for check in passed["checks"])


def test_json_has_no_infinity(tmp_path: Path) -> None:
    case = copy(tmp_path)
    tensors = load_file(case.with_suffix(".safetensors"))
    tensors["output.y"][0, 0] = float("nan")
    save_file(tensors, case.with_suffix(".safetensors"))
    text = run(tmp_path, "--json").stdout
    (found,) = json.loads(text, parse_constant=pytest.fail)["cases"]
    assert {c["name"]: c["error"] for c in found["checks"] if c["problem"]} == {"output.y": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'PATH...'"),
        (["absent"], "Path 'absent' does not exist"),
        ([CASE.with_suffix(".safetensors")], "path must be a folder or a .json"),
        ([CASE, "--require", "a,"], "must name kinds, separated by commas"),
        ([CASE, "--require", ""], "must name kinds, separated by commas"),
    ],
)
def test_wrong_usage(arguments: list[object], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_help_shows_a_run_and_needs_no_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from fuseloom.cli.verify import verify;"
        "print(CliRunner().invoke(verify, ['--help']).stdout); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "$ fuseloom verify tests/goldens --require lecture/lmf" in done.stdout
    assert "4  nothing ran" in done.stdout
