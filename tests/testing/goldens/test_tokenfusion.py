import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseloom.testing.goldens import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

KINDS = [kind for kind in RUNNERS if kind.startswith("tokenfusion/")]
HERE = Path(__file__).parents[2] / "goldens" / "tokenfusion"
CASES = sorted(HERE.glob("*.json"))
TENSORS = [(case, name) for case in CASES for name in load_file(case.with_suffix(".safetensors"))]
DECISIONS = ("input.mask", "input.gamma")


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
    cases = [
        c for c in find_cases([goldens_dir / "tokenfusion"]) if json.loads(c.read_text())["kind"] == kind
    ]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, tmp_path: Path) -> None:
    tensors = load_file(case.with_suffix(".safetensors"))
    if name.startswith(DECISIONS):  # of these a threshold may be all that is read
        tensors[name] = tensors[name].abs().lt(0.02).float()
    else:
        tensors[name] = tensors[name] + torch.randn_like(tensors[name])
    save_file(tensors, tmp_path / f"{case.stem}.safetensors")
    result = verify_case(Path(shutil.copy(case, tmp_path / case.name)))
    assert result.status == "failed", name


@pytest.mark.parametrize(
    ("stem", "option", "value", "message"),
    [
        ("token_exchange_mix", "mask_threshold", 2.0, "output.y0 misses by"),
        ("attention_sr1", "mask_threshold", 0.0, "output.y"),
        ("attention_sr1", "num_heads", 4, "output.y0 misses by"),
        ("attention_sr1", "dim", 5, "x0 must have 12 tokens of width 5 as config says"),
        ("attention_sr1", "masked", False, "stored but not used: input.mask0, input.mask1"),
        ("mit_block_sr1", "H", 4, "x0 must have 20 tokens of width 12 as config says"),
        ("ln_channel_exchange", "threshold", 0.0, "output.y0 misses by"),
        ("score_predictor_d22_odd", "embed_dim", 21, "x0 must have width 21 as config says, got 22."),
        ("score_block_small_variance", "sr_ratio", 1, "not have been used in the graph"),
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
