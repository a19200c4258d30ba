import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from fuseloom.testing.goldens import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

KINDS = [kind for kind in RUNNERS if kind.startswith("geminifusion/")]
HERE = Path(__file__).parents[2] / "goldens" / "geminifusion"
CASES = sorted(HERE.glob("*.json"))
TENSORS = [(case, name) for case in CASES for name in load_file(case.with_suffix(".safetensors"))]


def name_of(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


def test_every_kind_has_a_case_here() -> None:
    assert {json.loads(case.read_text())["kind"] for case in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_official_tensors_are_reproduced(case: Path) -> None:
    result = verify_case(case)
    stored = load_file(case.with_suffix(".safetensors"))
    assert (result.status, result.reason) == ("ok", "")
    assert {check.name for check in result.checks} == {
        name for name in stored if name.split(".")[0] in ("output", "mid", "grad")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_official_tensors_of_all_cases_are_reproduced(goldens_dir: Path, kind: str) -> None:
    cases = [
        c for c in find_cases([goldens_dir / "geminifusion"]) if json.loads(c.read_text())["kind"] == kind
    ]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, tmp_path: Path) -> None:
    tensors = load_file(case.with_suffix(".safetensors"))
    tensors[name].view(-1)[0] += 1
    save_file(tensors, tmp_path / f"{case.stem}.safetensors")
    result = verify_case(Path(shutil.copy(case, tmp_path / case.name)))
    assert result.status == "failed", name


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("fusion_c16_h8", "C", 8, r"x0 must have shape \(2, 5, 8\) as config says, got \(2, 5, 16\)"),
        ("fusion_c16_h8", "cross_heads", 4, r"output.y0 misses by"),
        ("fusion_c8_h1_n1", "cross_heads", 3, r"size mismatch for"),
        ("fusion_stack3_c16_h8", "layers", 2, r"stored but not used: weight\.2\."),
        ("fusion_stack3_c16_h8", "layers", 4, r"Missing key\(s\) in state_dict"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, name: str, option: str, value: int, message: str
) -> None:
    source = HERE / f"{name}.json"
    shutil.copy(source.with_suffix(".safetensors"), tmp_path)
    entries = json.loads(source.read_text())
    entries["config"][option] = value
    case = tmp_path / source.name
    case.write_text(json.dumps(entries))
    result = verify_case(case)
    assert result.status == "failed"
    assert re.search(message, result.reason), result.reason
