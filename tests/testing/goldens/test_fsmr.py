import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseloom.testing.goldens import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

KINDS = [kind for kind in RUNNERS if kind.startswith("fsmr/")]
HERE = Path(__file__).parents[2] / "goldens" / "fsmr"
CASES = sorted(HERE.glob("*.json"))
TENSORS = [(case, name) for case in CASES for name in load_file(case.with_suffix(".safetensors"))]


def name_of(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


def changed(source: Path, folder: Path, **entries: object) -> Path:
    shutil.copy(source.with_suffix(".safetensors"), folder)
    case = folder / source.name
    case.write_text(json.dumps(json.loads(source.read_text()) | entries))
    return case


def test_every_kind_has_a_case_here() -> None:
    assert {json.loads(case.read_text())["kind"] for case in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_given_tensors_are_reproduced(case: Path) -> None:
    result = verify_case(case)
    stored = load_file(case.with_suffix(".safetensors"))
    assert (result.status, result.reason) == ("ok", "")
    assert {check.name for check in result.checks} == {
        name for name in stored if name.split(".")[0] in ("output", "mid", "grad")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_given_tensors_of_all_cases_are_reproduced(goldens_dir: Path, kind: str) -> None:
    cases = [c for c in find_cases([goldens_dir / "fsmr"]) if json.loads(c.read_text())["kind"] == kind]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, tmp_path: Path) -> None:
    tensors = load_file(case.with_suffix(".safetensors"))
    values = tensors[name].view(-1)
    if values.dtype == torch.bool:
        values.logical_not_()
    elif name in ("weight.fc.0.bias", "input.pairs"):
        # A softmax ignores what is added to all scores alike, unless ReLU cuts it; and some pairs are holes.
        values.sub_(3)
    elif name.startswith("input."):
        values.add_(1)  # a token that is replaced has no influence
    else:
        values[0] += 1
    save_file(tensors, tmp_path / f"{case.stem}.safetensors")
    result = verify_case(Path(shutil.copy(case, tmp_path / case.name)))
    assert result.status == "failed", name


@pytest.mark.parametrize(
    ("stem", "option", "value", "message"),
    [
        ("spec_swap_one_to_one", "alpha", 0.9, "misses by"),
        ("spec_swap_one_to_one", "direction", "vision", "output.text misses by"),
        ("spec_swap_one_to_one", "direction", "up", "direction must be one of ['both', 'text', 'vision']"),
        ("spec_swap_weighted_mix", "reduce", "first", "misses by"),
        ("spec_swap_projected", "projection", False, "projection must be True with 4 stored weights"),
        ("attn_mha_cross_masked", "num_heads", 2, "misses by"),
        ("attn_mha_self_masked", "self_attention", False, "The case must store 'key_value'"),
        ("attn_pool_masked", "hidden", 15, "size mismatch for score.weight"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, stem: str, option: str, value: object, message: str
) -> None:
    source = HERE / f"{stem}.json"
    config = json.loads(source.read_text())["config"] | {option: value}
    result = verify_case(changed(source, tmp_path, config=config))
    assert result.status == "failed"
    assert message in result.reason


def test_training_cannot_be_repeated(tmp_path: Path) -> None:
    result = verify_case(changed(HERE / "attn_pool_masked.json", tmp_path, mode="train"))
    assert "mode must be eval, got 'train'." in result.reason
