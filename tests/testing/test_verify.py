import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.testing.goldens import Given, GoldenCase, Runner, Tolerance
from fuseloom.testing.goldens._case import Stated, json_tensor
from fuseloom.testing.verify import (
    CaseResult,
    Verification,
    check_tensor,
    find_cases,
    verify_case,
    verify_paths,
)

GOLDENS = Path(__file__).parents[1] / "goldens"
TOLERANCE = Tolerance(rtol=0.1, atol=0.5)
NAN, INF = math.nan, math.inf


def doubled(given: Given) -> dict[str, Tensor]:
    return {"output.y": given.inputs["x"] * given.weights["w"]}


RUNNERS = {"test/double": Runner(run=doubled, idle=lambda case: ("w*",) if case.mode == "train" else ())}


def write(folder: Path, tensors: dict[str, Tensor], **entries: object) -> Path:
    header = {"kind": "test/double", "tol": {"output": {"rtol": 1e-5, "atol": 1e-6}}} | entries
    path = folder / "case.json"
    path.write_text(json.dumps(header))
    save_file(tensors, path.with_suffix(".safetensors"))
    return path


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    x = torch.tensor([1.0, 2.0])
    return {"input.x": x, "weight.w": torch.tensor([2.0]), "output.y": 2 * x}


def result(status: str, kind: str = "a/b") -> CaseResult:
    return CaseResult(path="case.json", kind=kind, status=status)  # type: ignore[arg-type]


def test_a_case_passes_when_all_is_reproduced(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    found = verify_case(write(tmp_path, tensors, mode="train"), RUNNERS)
    assert (found.status, found.reason, found.idle) == ("ok", "", ("w",))
    assert [(check.name, check.wrong, check.of) for check in found.checks] == [("output.y", 0, 2)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("weight.extra", "stored but not used: weight.extra"),
        ("input.extra", "stored but not used: input.extra"),
        ("mid.extra", "stored but not computed: mid.extra"),
        ("grad.x", "stored but not computed: grad.x"),
    ],
)
def test_a_stored_tensor_that_plays_no_part_fails_the_case(
    tmp_path: Path, tensors: dict[str, Tensor], name: str, reason: str
) -> None:
    found = verify_case(write(tmp_path, tensors | {name: torch.ones(1)}), RUNNERS)
    assert (found.status, found.reason) == ("failed", reason)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("weight.w", "The case must store 'w', got []."),
        ("output.y", "computed but not stored: output.y"),
    ],
)
def test_a_tensor_that_is_gone_fails_the_case(
    tmp_path: Path, tensors: dict[str, Tensor], name: str, reason: str
) -> None:
    del tensors[name]
    assert verify_case(write(tmp_path, tensors), RUNNERS).reason == reason


def test_the_reason_begins_with_the_worst_tensor(tmp_path: Path) -> None:
    def run(given: Given) -> dict[str, Tensor]:
        return {"output.a": given.inputs["x"], "output.b": given.inputs["x"], "mid.c": given.inputs["x"]}

    stored = {"input.x": torch.zeros(2), "output.a": torch.tensor([0.0, 1e-3]), "mid.c": torch.zeros(2)}
    case = write(tmp_path, stored | {"output.b": torch.tensor([0.25, 0.5])})
    found = verify_case(case, {"test/double": Runner(run=run)})
    assert found.reason == (
        "output.b misses by 0.5 where 6e-06 is allowed (2 of 2 values); "
        "output.a misses by 0.001 where 1e-06 is allowed (1 of 2 values)"
    )
    assert found.worst is not None
    assert found.worst.name == "output.b"


def test_a_runner_that_breaks_fails_its_case_only(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    def run(given: Given) -> dict[str, Tensor]:
        raise IndexError("a\n  multi-line message")

    found = verify_case(write(tmp_path, tensors), {"test/double": Runner(run=run)})
    assert (found.status, found.reason) == ("failed", "IndexError: a multi-line message")
    assert found.kind == "test/double"


def test_a_kind_without_a_runner_is_unknown(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    found = verify_case(write(tmp_path, tensors, kind="test/other"), RUNNERS)
    assert (found.status, found.kind, found.worst) == ("unknown", "test/other", None)


def test_a_damaged_case_of_an_unknown_kind_fails(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    case = write(tmp_path, tensors, kind="test/other")
    case.with_suffix(".safetensors").write_bytes(b"damaged")
    assert verify_case(case, RUNNERS).status == "failed"


def test_what_the_json_states_is_given_and_compared(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    def run(given: Given) -> dict[str, Tensor]:
        return doubled(given) | {"output.word": json_tensor(given.option("word").upper())}

    def states(case: GoldenCase) -> Stated:
        expected = {"output.word": json_tensor(case.header["expected"])}
        return Stated(given={"word": case.header["word"]}, expected=expected)

    runners = {"test/double": Runner(run=run, states=states)}
    right = verify_case(write(tmp_path, tensors, word="ann", expected="ANN"), runners)
    assert (right.status, [check.name for check in right.checks]) == ("ok", ["output.y", "output.word"])
    wrong = verify_case(write(tmp_path, tensors, word="ann", expected="ANA"), runners)
    assert wrong.status == "failed"
    assert wrong.reason.startswith("output.word misses by")
    longer = verify_case(write(tmp_path, tensors, word="ann", expected="ANNA"), runners)
    assert "output.word must be uint8 of shape [6], got uint8 of shape [5]" in longer.reason


def test_a_case_of_which_nothing_is_compared_fails(tmp_path: Path) -> None:
    case = write(tmp_path, {"input.x": torch.ones(1), "weight.w": torch.ones(1)})
    found = verify_case(case, {"test/double": Runner(run=lambda given: _read_all(given))})
    assert (found.status, found.reason) == ("failed", "nothing is stored that could be compared")


def _read_all(given: Given) -> dict[str, Tensor]:
    assert given.inputs["x"] == given.weights["w"]
    return {}


def test_a_case_without_tensors_fails(tmp_path: Path) -> None:
    found = verify_case(write(tmp_path, {}), RUNNERS)
    assert found.status == "failed"


@pytest.mark.parametrize(
    ("ours", "theirs", "wrong"),
    [
        ([1.0, 10.0], [1.0, 11.0], 0),
        ([1.0, 10.0], [1.0, 12.0], 1),
        ([0.5, 0.0], [0.0, 0.6], 1),
        ([NAN, 1.0], [NAN, 1.0], 0),
        ([NAN, 1.0], [0.0, 1.0], 1),
        ([0.0, 1.0], [NAN, 1.0], 1),
        ([INF, -INF], [INF, -INF], 0),
        ([INF, 1.0], [-INF, 1.0], 1),
        ([3e38, 1.0], [INF, 1.0], 1),
        ([INF, NAN], [1.0, INF], 2),
        ([], [], 0),
    ],
)
def test_floating_values_are_compared_within_tolerance(
    ours: list[float], theirs: list[float], wrong: int
) -> None:
    check = check_tensor("output.y", torch.tensor(ours), torch.tensor(theirs), TOLERANCE)
    assert (check.wrong, check.of, bool(check.problem)) == (wrong, len(ours), wrong > 0)


def test_an_infinity_does_not_widen_a_relative_tolerance() -> None:
    expected = torch.tensor([INF, 1.0])
    check = check_tensor("output.y", torch.tensor([INF, 1.5]), expected, Tolerance(max_rel=0.1))
    assert check.wrong == 1


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_values_that_are_not_floating_are_compared_exactly(dtype: torch.dtype) -> None:
    expected = torch.tensor([0, 1]).to(dtype)
    loose = Tolerance(rtol=0.9, atol=5)
    assert check_tensor("output.i", expected, expected, loose).wrong == 0
    assert check_tensor("output.i", 1 - expected.to(torch.uint8), expected.to(torch.uint8), loose).wrong == 2


def test_integers_beyond_double_precision_are_told_apart() -> None:
    large = torch.tensor([2**53])
    assert check_tensor("output.i", large + 1, large, TOLERANCE).wrong == 1


def test_bool_is_stored_as_uint8() -> None:
    stored = torch.tensor([1, 0], dtype=torch.uint8)
    assert check_tensor("output.mask", torch.tensor([True, False]), stored, TOLERANCE).wrong == 0
    assert check_tensor("output.mask", torch.tensor([True, True]), stored, TOLERANCE).wrong == 1


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (torch.ones(1, 2), "must be float32 of shape [2], got float32 of shape [1, 2]"),
        (torch.ones(2, dtype=torch.float64), "must be float32 of shape [2], got float64 of shape [2]"),
        (torch.ones(2).bool(), "must be float32 of shape [2], got bool of shape [2]"),
    ],
)
def test_type_and_shape_must_be_the_same(ours: Tensor, words: str) -> None:
    check = check_tensor("output.y", ours, torch.ones(2), TOLERANCE)
    assert (check.wrong, check.error, check.problem) == (2, INF, f"output.y {words}")


@pytest.mark.parametrize(
    ("cases", "options", "status"),
    [
        ([result("ok")], {}, 0),
        ([result("ok"), result("failed")], {}, 1),
        ([result("ok"), result("unknown", "c/d")], {}, 3),
        ([result("ok"), result("unknown", "c/d")], {"allow_unknown": True}, 0),
        ([result("unknown")], {"allow_unknown": True}, 4),
        ([result("unknown")], {"allow_unknown": True, "require": ["a/b"]}, 1),
        ([result("failed"), result("unknown")], {}, 1),
        ([result("ok")], {"require": ["a/b"]}, 0),
        ([result("ok")], {"require": ["a/b", "c/d"]}, 1),
        ([], {}, 4),
        ([], {"require": ["a/b"]}, 1),
    ],
)
def test_status(cases: list[CaseResult], options: dict[str, object], status: int) -> None:
    assert Verification.of(cases, **options).status == status  # type: ignore[arg-type]


def test_missing_kinds_are_named_in_order() -> None:
    verification = Verification.of([result("ok")], require=["z/z", "a/b", "c/d", "z/z"])
    assert verification.missing == ("c/d", "z/z")


def test_each_case_is_found_once(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for name in ("one.json", "one.safetensors", "two.safetensors", "README.md"):
        (deep / name).touch()
    (tmp_path / "again.json").symlink_to(deep / "one.json")
    assert find_cases([deep / "one.json", tmp_path, deep]) == [deep / "one.json", deep / "two.json"]


def test_a_path_that_is_no_case_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    file.touch()
    with pytest.raises(OptionError, match=r"path must be a folder or a .json, got '.*one.safetensors'"):
        find_cases([file])


def test_paths_are_verified_in_order() -> None:
    found = list(verify_paths([GOLDENS]))
    assert [case.path for case in found] == sorted(str(path) for path in GOLDENS.rglob("*.json"))
    assert {case.status for case in found} == {"ok"}
    assert all(case.checks for case in found)


@pytest.mark.slow  # each kind by itself is a quick test
def test_every_stored_case_of_a_known_kind_passes(goldens_dir: Path) -> None:
    failed = [case for case in verify_paths([goldens_dir]) if case.status == "failed"]
    assert [(case.path, case.reason) for case in failed] == []
