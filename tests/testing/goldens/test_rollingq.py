import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from fuseloom.testing.goldens import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

KINDS = [kind for kind in RUNNERS if kind.startswith("rollingq/")]
HERE = Path(__file__).parents[2] / "goldens" / "rollingq"
CASES = sorted(HERE.glob("*.json"))
UNUSED = [("vit_unimodal_audio", "input.v")]
"""Inputs that the official call is given and does not use."""


def some_of(names: list[str]) -> list[str]:
    """Every tenth of the weights of a case that has very many of them; and all else."""
    weights = [name for name in names if name.startswith("weight.")]
    left_out = {name for i, name in enumerate(weights) if i % 10} if len(weights) > 50 else set()
    return [name for name in names if name not in left_out]


TENSORS = [(case, n) for case in CASES for n in some_of(list(load_file(case.with_suffix(".safetensors"))))]


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
    cases = [c for c in find_cases([goldens_dir / "rollingq"]) if json.loads(c.read_text())["kind"] == kind]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, tmp_path: Path) -> None:
    tensors = load_file(case.with_suffix(".safetensors"))
    tensors[name].view(-1)[0] += 1
    save_file(tensors, tmp_path / f"{case.stem}.safetensors")
    result = verify_case(Path(shutil.copy(case, tmp_path / case.name)))
    without_influence = name.removeprefix("weight.") in result.idle or (case.stem, name) in UNUSED
    assert result.status == ("ok" if without_influence else "failed"), name


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dim", 5, r"x and y must have width 5 as config says, got \[6\]"),
        ("n_classes", 4, r"size mismatch for"),
        ("gated mid dim", 8, r"size mismatch for"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, option: str, value: int, message: str
) -> None:
    source = HERE / "late_fusion_heads.json"
    shutil.copy(source.with_suffix(".safetensors"), tmp_path)
    entries = json.loads(source.read_text())
    entries["config"][option] = value
    case = tmp_path / source.name
    case.write_text(json.dumps(entries))
    result = verify_case(case)
    assert result.status == "failed"
    assert re.search(message, result.reason), result.reason
