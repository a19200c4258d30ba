import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fuseloom.errors import DataError
from fuseloom.testing.goldens import Given, Ledger, Tolerance, read_case
from fuseloom.testing.goldens._case import apply_part, gradients, leaf, load_module

TOL = {"output": {"rtol": 1e-5, "atol": 1e-6}, "grad": {"max_rel": 1e-3}}
TENSORS = {
    "weight.w": torch.ones(2),
    "input.x": torch.ones(3),
    "output.y": torch.ones(1),
    "grad.x": torch.ones(3),
}


@pytest.fixture
def case(tmp_path: Path) -> Path:
    shapes = {name: ["float32", list(value.shape)] for name, value in TENSORS.items()}
    path = tmp_path / "case.json"
    path.write_text(json.dumps({"kind": "a/b", "tol": TOL, "shapes": shapes}))
    save_file(TENSORS, tmp_path / "case.safetensors")
    return path


def change(case: Path, **entries: Any) -> None:
    case.write_text(json.dumps(json.loads(case.read_text()) | entries))


def test_a_case_is_split_by_role(case: Path) -> None:
    read = read_case(case)
    assert (read.kind, list(read.inputs), list(read.weights)) == ("a/b", ["x"], ["w"])
    assert sorted(read.expected) == ["grad.x", "output.y"]
    assert read.tolerance("mid.h") == read.tolerance("output.y") == Tolerance(rtol=1e-5, atol=1e-6)
    assert read.tolerance("grad.x") == Tolerance(atol=1e-12, max_rel=1e-3)


def test_a_runner_is_given_nothing_that_is_expected(case: Path) -> None:
    given = read_case(case).given()
    assert sorted(vars(given)) == ["config", "inputs", "mode", "weights"]
    assert [*given.inputs, *given.weights] == ["x", "w"]


@pytest.mark.parametrize("entry", [["float32", [1]], {"dtype": "float32", "shape": [1]}])
def test_both_forms_of_the_table_of_tensors_are_read(case: Path, entry: object) -> None:
    change(case, tensors={"output.y": entry})
    assert "output.y" in read_case(case).expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"kind": 3}, "must be a golden case, an object with a 'kind'"),
        ({"config": [1]}, r"config must be an object, got \[1\]"),
        ({"shapes": [1]}, "The table of tensors must be an object, got list"),
        ({"shapes": {"output.y": "float32"}}, "must give a dtype and a shape for 'output.y', got 'float32'"),
        ({"shapes": {"output.y": ["float32", [2]]}}, r"'output.y' must be float32 of shape \[2\]"),
        ({"shapes": {"output.y": ["int64", [1]]}}, "'output.y' must be int64"),
        ({"tensors": {"mid.h": ["float32", [1]]}}, "must hold all 1 tensors .* got 4: mid.h missing"),
        ({"tol": None}, "tol must be an object with 'output', got None"),
        ({"tol": {"grad": {"max_rel": 0.1}}}, "tol must be an object with 'output'"),
    ],
)
def test_a_json_that_contradicts_itself_or_its_tensors_is_refused(
    case: Path, entries: dict[str, Any], message: str
) -> None:
    change(case, **entries)
    with pytest.raises(DataError, match=message):
        read_case(case)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', "[" * 100_000, '{"kind": "a\xff"}'])
def test_a_file_that_is_no_case_is_refused(case: Path, text: str) -> None:
    case.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"case.json must be"):
        read_case(case)


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_truncated_tensors_are_refused(case: Path, keep: int) -> None:
    tensors = case.with_suffix(".safetensors")
    tensors.write_bytes(tensors.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"case.safetensors must be a whole safetensors file"):
        read_case(case)


def test_tensors_without_a_json_are_refused(case: Path) -> None:
    case.unlink()
    with pytest.raises(DataError, match=r"case.json must stand beside its tensors, got no such file"):
        read_case(case)


def test_missing_tensors_are_refused(case: Path) -> None:
    case.with_suffix(".safetensors").unlink()
    with pytest.raises(DataError, match=r"must hold all 4 tensors .* got 0: grad.x, .* and 1 more missing"):
        read_case(case)


def test_a_tensor_without_a_role_is_refused(case: Path) -> None:
    save_file(TENSORS | {"answer.y": torch.ones(1)}, case.with_suffix(".safetensors"))
    with pytest.raises(DataError, match=r"must start with one of .* got 'answer.y'"):
        read_case(case)


def test_a_gradient_without_a_tolerance_is_refused(case: Path) -> None:
    change(case, tol={"output": TOL["output"]})
    with pytest.raises(DataError, match=r"tol must have 'grad' for 'grad.x'"):
        read_case(case).tolerance("grad.x")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"rtol": 0.1},
        {"rtol": 0.1, "atol": 0.1, "max_rel": 0.1},
        {"max_rel": True},
        {"max_rel": 1.0},
        {"max_rel": "0.1"},
        {"rtol": 0.1, "atol": -1e-9},
        {"rtol": float("nan"), "atol": 0.0},
        {"rtol": 0.0, "atol": float("inf")},
    ],
)
def test_a_tolerance_that_would_pass_anything_is_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"tol\.output.* must "):
        Tolerance.parse("output", value)


def test_allowed_error_of_both_forms() -> None:
    magnitude = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(Tolerance(rtol=0.5, atol=0.1).allowed(magnitude), torch.tensor([0.1, 1.1]))
    relative = Tolerance.parse("grad", {"max_rel": 0.25}).allowed(magnitude.double())
    torch.testing.assert_close(relative, torch.full((2,), 0.5 + 1e-12).double())
    floor = Tolerance.parse("grad", {"max_rel": 0.25}).allowed(torch.zeros(1, dtype=torch.float64))
    assert floor.item() == 1e-12


def test_a_ledger_says_what_nobody_asked_for() -> None:
    ledger = Ledger({"fc.weight": torch.ones(1), "fc.bias": torch.zeros(1), "alpha": torch.ones(1)})
    assert "alpha" in list(ledger)
    assert list(ledger.under("fc.")) == ["weight", "bias"]
    assert ledger.unread == ["alpha"]
    with pytest.raises(DataError, match=r"must store 'beta', got \['alpha', 'fc.bias', 'fc.weight'\]"):
        ledger["beta"]


def test_mode_decides_training() -> None:
    modes = {
        mode: Given(inputs=Ledger({}), weights=Ledger({}), config={}, mode=mode).training
        for mode in ("eval", "train")
    }
    assert modes == {"eval": False, "train": True}
    with pytest.raises(DataError, match=r"mode must be one of \['eval', 'train'\], got None"):
        _ = Given(inputs=Ledger({}), weights=Ledger({}), config={}, mode=None).training


def test_a_loaded_module_has_the_precision_of_its_weights() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 1)
    state = {"weight": torch.ones(1, 2, dtype=torch.float64), "bias": torch.zeros(1, dtype=torch.float64)}
    loaded = load_module(module, state, training=False)
    assert loaded(torch.ones(1, 2, dtype=torch.float64)).item() == 2
    assert not loaded.training


def test_gradients_reach_official_weights_through_a_converter() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 1, bias=False)
    official = leaf(torch.tensor([[1.0], [2.0]]))
    out = apply_part(module, {"weight": official.T * 3}, torch.tensor([[1.0, 10.0]]))
    found = gradients(out, torch.tensor([[2.0]]), {"weight.w": official})
    torch.testing.assert_close(found["grad.weight.w"], torch.tensor([[6.0], [60.0]]))


def test_a_part_refuses_weights_of_another_shape() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 3)
    with pytest.raises(RuntimeError, match="size mismatch"):
        apply_part(module, {"weight": torch.ones(3, 2), "bias": torch.ones(1)}, torch.ones(1, 2))
