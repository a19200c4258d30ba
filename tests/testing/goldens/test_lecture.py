import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseloom.errors import DataError
from fuseloom.testing.goldens import RUNNERS, Given, Ledger, read_case
from fuseloom.testing.verify import find_cases, verify_case

KINDS = [kind for kind in RUNNERS if kind.startswith("lecture/")]
HERE = Path(__file__).parents[2] / "goldens" / "lecture"
CASES = sorted(HERE.glob("*.json"))


def some_of(names: list[str]) -> list[str]:
    """Every tenth of the weights of a case that has very many of them; and all else."""
    weights = [name for name in names if name.startswith("weight.")]
    left_out = {name for i, name in enumerate(weights) if i % 10} if len(weights) > 100 else set()
    return [name for name in names if name not in left_out]


TENSORS = [(case, n) for case in CASES for n in some_of(list(load_file(case.with_suffix(".safetensors"))))]


def name_of(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


def altered(case: Path, name: str, folder: Path) -> Path:
    """A copy of a case with one added to the first element of an expected tensor, one to two to a given one.

    A single given element may have no influence, where a ReLU is closed or a cotangent meets a constant;
    nor may a constant, where a norm or a softmax follows.
    """
    tensors = load_file(case.with_suffix(".safetensors"))
    values = tensors[name].view(-1)
    count = len(values) if name.startswith(("input.", "weight.")) else 1
    step = torch.linspace(1, 2, count)
    step[1::2] *= -1  # up and down: a score that only looks at the order of its inputs changes too
    values[:count] += step.to(values.dtype)
    save_file(tensors, folder / f"{case.stem}.safetensors")
    return Path(shutil.copy(case, folder / case.name))


def given(config: dict[str, object], **tensors: torch.Tensor) -> Given:
    weights = {n.replace("_", ".", 1): value for n, value in tensors.items() if n.startswith("fc_")}
    inputs = {n: value for n, value in tensors.items() if not n.startswith("fc_")}
    return Given(inputs=Ledger(inputs), weights=Ledger(weights), config=config, mode="eval")


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
    cases = [c for c in find_cases([goldens_dir / "lecture"]) if json.loads(c.read_text())["kind"] == kind]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, tmp_path: Path) -> None:
    result = verify_case(altered(case, name, tmp_path))
    without_influence = name.removeprefix("weight.") in result.idle
    assert result.status == ("ok" if without_influence else "failed"), result.reason


def test_weights_declared_idle_have_no_influence(tmp_path: Path) -> None:
    case = HERE / "lmf__train_rank1_out3_b4.json"
    idle = verify_case(case).idle
    assert idle == tuple(
        f"{name}_subnet.norm.running_{what}" for name in ("audio", "video") for what in ("mean", "var")
    )
    run = RUNNERS["lecture/lmf"].run
    before = run(read_case(case).given())
    for name in idle:
        after = run(read_case(altered(case, f"weight.{name}", tmp_path)).given())
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_nothing_is_idle_in_evaluation() -> None:
    assert verify_case(HERE / "lmf__eval_softmax_out4_b3.json").idle == ()


def test_a_mode_of_neither_kind_is_refused(tmp_path: Path) -> None:
    source = HERE / "lmf__eval_softmax_out4_b3.json"
    shutil.copy(source.with_suffix(".safetensors"), tmp_path)
    case = tmp_path / source.name
    case.write_text(json.dumps(json.loads(source.read_text()) | {"mode": "both"}))
    assert "mode must be one of ['eval', 'train'], got 'both'." in verify_case(case).reason


def test_more_than_ten_modalities_keep_their_order() -> None:
    values = {f"m{i}": torch.full((1, 1), float(i)) for i in range(11)}
    stored = given({}, **values, cotangent=torch.ones(1, 11))
    out = RUNNERS["lecture/mb_concat"].run(stored)["output.y"]
    torch.testing.assert_close(out, torch.arange(11.0)[None])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"input_dim": 4, "output_dim": 2, "concat_dim": 1}, r"'fc.weight' must have shape \[2, 4\]"),
        ({"input_dim": 3, "output_dim": 2, "concat_dim": 2}, "concat_dim must be the last axis"),
        ({"input_dim": 3, "output_dim": 2}, r"config must have 'concat_dim', got \['input_dim'"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    config: dict[str, object], message: str
) -> None:
    values = {"m0": torch.ones(1, 1), "m1": torch.ones(1, 2)}
    with pytest.raises(DataError, match=message):
        RUNNERS["lecture/mb_concatwithlinear"].run(
            given(config, **values, fc_weight=torch.ones(2, 3), fc_bias=torch.ones(2))
        )
