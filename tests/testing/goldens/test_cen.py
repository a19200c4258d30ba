import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseloom.testing.goldens import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

KINDS = [kind for kind in RUNNERS if kind.startswith("cen/")]
HERE = Path(__file__).parents[2] / "goldens" / "cen"
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
def test_official_tensors_are_reproduced(case: Path) -> None:
    result = verify_case(case)
    stored = load_file(case.with_suffix(".safetensors"))
    assert (result.status, result.reason) == ("ok", "")
    assert {check.name for check in result.checks} == {
        name for name in stored if name.split(".")[0] in ("output", "mid", "grad")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_official_tensors_of_all_cases_are_reproduced(goldens_dir: Path, kind: str) -> None:
    cases = [c for c in find_cases([goldens_dir / "cen"]) if json.loads(c.read_text())["kind"] == kind]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, tmp_path: Path) -> None:
    tensors = load_file(case.with_suffix(".safetensors"))
    if "gamma" in name:  # the decision alone matters: whether it is small
        tensors[name] = tensors[name].abs().lt(0.02).float()
    else:
        tensors[name] = tensors[name] + torch.randn_like(tensors[name])
    save_file(tensors, tmp_path / f"{case.stem}.safetensors")
    result = verify_case(Path(shutil.copy(case, tmp_path / case.name)))
    without_influence = name.removeprefix("weight.") in result.idle
    assert result.status == ("ok" if without_influence else "failed"), name


def test_running_statistics_are_idle_in_training_unless_they_are_compared() -> None:
    idle = {case.stem: verify_case(case).idle for case in CASES}
    assert idle["conv_bn_exchange_train"] == ()
    assert idle["exchange_mix"] == ()
    assert len(idle["bottleneck_down_train"]) == 2 * 2 * 4


@pytest.mark.parametrize(
    ("stem", "option", "value", "message"),
    [
        ("bottleneck_down_train", "planes", 6, "conv1 must map inplanes to planes as config says"),
        ("conv_bn_exchange_train", "cin", 5, "conv2 must map cin to cout as config says"),
        ("exchange_mix", "bn_threshold", 0.0, "output.y0 misses by"),
        ("conv_bn_exchange_train", "bn_threshold", 9.0, "output.y0 misses by"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, stem: str, option: str, value: float, message: str
) -> None:
    source = HERE / f"{stem}.json"
    config = json.loads(source.read_text())["config"] | {option: value}
    result = verify_case(changed(source, tmp_path, config=config))
    assert result.status == "failed"
    assert message in result.reason


def test_a_mode_of_neither_kind_is_refused(tmp_path: Path) -> None:
    result = verify_case(changed(HERE / "conv_bn_exchange_train.json", tmp_path, mode="both"))
    assert "mode must start with 'eval' or 'train', got 'both'." in result.reason
