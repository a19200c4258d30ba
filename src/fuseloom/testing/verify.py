"""Golden cases against this implementation: every stored tensor is compared, or the case fails."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fuseloom.errors import FuseloomError, OptionError
from fuseloom.testing.goldens import RUNNERS, GoldenCase, Runner, Tolerance, read_case
from fuseloom.testing.goldens._rounding import allowed_by_rounding

__all__ = [
    "CaseResult",
    "TensorCheck",
    "Verification",
    "check_tensor",
    "find_cases",
    "verify_case",
    "verify_paths",
]

_SUFFIXES = (".json", ".safetensors")
_EXACT = Tolerance()
_OK, _FAILED, _UNKNOWN, _NOTHING_RAN = 0, 1, 3, 4


@dataclass(frozen=True, kw_only=True)
class TensorCheck:
    """One stored tensor against ours, described where it is furthest beyond what is allowed."""

    name: str
    error: float
    """Absolute error there; infinite where only one of the two is finite or they cannot be compared."""
    allowed: float
    """Error allowed there."""
    wrong: int
    """Values beyond what is allowed."""
    of: int
    """Values."""
    problem: str = ""
    """What is wrong, in words; empty where the tensor passes."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of one case."""

    path: str
    kind: str
    """Empty where the file could not be read."""
    status: Literal["ok", "failed", "unknown"]
    reason: str = ""
    checks: tuple[TensorCheck, ...] = ()
    idle: tuple[str, ...] = ()
    """Weights of the case that cannot influence any of its tensors in its mode."""
    rounded: tuple[str, ...] = ()
    """Tensors that missed the tolerance of the case and were held against rounding instead."""

    @property
    def worst(self) -> TensorCheck | None:
        """The tensor that is furthest beyond, or closest to, what is allowed."""
        return max(self.checks, key=_severity, default=None)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of all cases.

    ``status`` is 0 where every case was compared and is within tolerance, 1 where one failed or a required
    kind has no passing case, 3 where a kind is unknown and that is not allowed, 4 where nothing ran.
    """

    cases: tuple[CaseResult, ...]
    missing: tuple[str, ...]
    """Required kinds without a passing case."""
    status: int

    @classmethod
    def of(
        cls, cases: Iterable[CaseResult], *, require: Iterable[str] = (), allow_unknown: bool = False
    ) -> "Verification":
        """Judge finished cases.

        Example:
            >>> Verification.of([CaseResult(path="a.json", kind="muse/crf", status="unknown")]).status
            3
        """
        done = tuple(cases)
        passed = {case.kind for case in done if case.status == "ok"}
        missing = tuple(sorted(set(require) - passed))
        counts = Counter(case.status for case in done)
        if counts["failed"] or missing:
            status = _FAILED
        elif counts["unknown"] and not allow_unknown:
            status = _UNKNOWN
        else:
            status = _OK if counts["ok"] else _NOTHING_RAN
        return cls(cases=done, missing=missing, status=status)


def find_cases(paths: Iterable[Path]) -> list[Path]:
    """The JSON of every case, once each: those named, and those in folders at any depth.

    Tensors without a JSON are a case too; reading it says what is wrong.

    Raises:
        OptionError: a path that is neither a folder nor a JSON.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir() and path.suffix != ".json":
            raise OptionError(f"path must be a folder or a .json, got {str(path)!r}.")
        for case in _cases_of(path):
            found.setdefault(case.resolve(), case)
    return list(found.values())


def _cases_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted({file.with_suffix(".json") for file in path.rglob("*") if file.suffix in _SUFFIXES})


def verify_paths(paths: Iterable[Path]) -> Iterator[CaseResult]:
    """Verify case after case, each yielded as soon as it is done.

    Raises:
        OptionError: a path that is neither a folder nor a JSON.
    """
    return map(verify_case, find_cases(paths))


def verify_case(path: Path, runners: Mapping[str, Runner] = RUNNERS) -> CaseResult:
    """Verify the case whose JSON is ``path``; whatever is wrong with it becomes the reason of its failure."""
    kind = ""
    try:
        case = read_case(path)
        kind = case.kind
        if kind not in runners:
            return CaseResult(path=str(path), kind=kind, status="unknown")
        return _verified(case, runners[kind])
    # A damaged case can break torch anywhere between its first and its last operation.
    except Exception as error:
        return CaseResult(path=str(path), kind=kind, status="failed", reason=_reason(error))


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, FuseloomError) else f"{type(error).__name__}: {words}"


def _verified(case: GoldenCase, runner: Runner) -> CaseResult:
    stated = runner.states(case)
    case = replace(
        case, config={**case.config, **stated.given}, expected={**case.expected, **stated.expected}
    )
    given = case.given()
    returned = runner.run(given)
    unread = [f"weight.{n}" for n in given.weights.unread] + [f"input.{n}" for n in given.inputs.unread]
    shared = [name for name in case.expected if name in returned]
    checks = tuple(_checked(case, runner, name, returned[name]) for name in shared)
    held = _held_against_rounding(case, runner, returned, checks)
    checks = tuple(held.get(check.name, check) for check in checks)
    problems = [
        *_listed("stored but not used", unread),
        *_listed("stored but not computed", case.expected.keys() - returned.keys()),
        *_listed("computed but not stored", _outputs(returned) - case.expected.keys()),
        *(check.problem for check in sorted(checks, key=_severity, reverse=True) if check.problem),
    ]
    if not problems and not checks:
        problems = ["nothing is stored that could be compared"]
    return CaseResult(
        path=str(case.path),
        kind=case.kind,
        status="failed" if problems else "ok",
        reason="; ".join(problems),
        checks=checks,
        idle=_idle(case, runner),
        rounded=tuple(held),
    )


def _checked(case: GoldenCase, runner: Runner, name: str, actual: Tensor) -> TensorCheck:
    ours, stored = actual.detach().cpu(), case.expected[name]
    if ours.shape == stored.shape:
        ours, stored = (runner.determined(case, name, value) for value in (ours, stored))
    return check_tensor(name, ours, stored, runner.tolerance(case, name))


def _held_against_rounding(
    case: GoldenCase, runner: Runner, returned: Mapping[str, Tensor], checks: Iterable[TensorCheck]
) -> dict[str, TensorCheck]:
    """The tensors in which sums cancel and that missed, each with all its values held against rounding.

    Where rounding would allow more than the case does at the tensor's largest value, this is the limit.
    """
    missed = [
        check.name for check in checks if check.problem and case.expected[check.name].is_floating_point()
    ]
    names = [n for n in missed if any(fnmatchcase(n, pattern) for pattern in runner.cancelling)]
    if not names:
        return {}
    held = {}
    for name, rounding in allowed_by_rounding(case, runner, names).items():
        stored = case.expected[name]
        most = float(runner.tolerance(case, name).allowed(stored.double().abs()).max())
        tolerance = Tolerance(atol=min(rounding, most))
        held[name] = check_tensor(name, returned[name], stored, tolerance)
    return held


def _outputs(returned: Mapping[str, Tensor]) -> set[str]:
    """What every case must store; intermediates and gradients it may leave out."""
    return {name for name in returned if name.startswith("output.")}


def _listed(what: str, names: Iterable[str]) -> list[str]:
    listed = sorted(names)
    return [f"{what}: {', '.join(listed)}"] if listed else []


def _idle(case: GoldenCase, runner: Runner) -> tuple[str, ...]:
    patterns = runner.idle(case)
    return tuple(sorted(n for n in case.weights if any(fnmatchcase(n, pattern) for pattern in patterns)))


def check_tensor(name: str, actual: Tensor, expected: Tensor, tolerance: Tolerance) -> TensorCheck:
    """Compare one tensor: type, shape and integers exactly, NaN and infinities in the same places.

    Args:
        name: Stored name.
        actual: Ours.
        expected: The authors'; bool may be stored as uint8.
        tolerance: For floating values.
    """
    ours = actual.detach().cpu()
    if ours.dtype == torch.bool and expected.dtype == torch.uint8:
        ours = ours.to(torch.uint8)
    if (ours.dtype, ours.shape) != (expected.dtype, expected.shape):
        problem = f"{name} must be {_describe(expected)}, got {_describe(ours)}"
        return _failed_check(name, expected.numel(), problem)
    same = (ours == expected) | (ours.isnan() & expected.isnan())
    wide, wanted = ours.double(), expected.double()
    magnitude = torch.where(wanted.isfinite(), wanted, 0).abs()
    exact = not expected.is_floating_point()
    allowed = (_EXACT if exact else tolerance).allowed(magnitude)
    error = torch.where(same, 0, (wide - wanted).abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return _judged(name, error, allowed, ~same if exact else error > allowed)


def _judged(name: str, error: Tensor, allowed: Tensor, wrong: Tensor) -> TensorCheck:
    if not wrong.numel():
        return TensorCheck(name=name, error=0.0, allowed=0.0, wrong=0, of=0)
    at = (error - allowed).argmax()
    worst, limit, count = error.flatten()[at].item(), allowed.flatten()[at].item(), int(wrong.sum())
    problem = f"{name} misses by {worst:.2g} where {limit:.2g} is allowed ({count} of {wrong.numel()} values)"
    return TensorCheck(
        name=name,
        error=worst,
        allowed=limit,
        wrong=count,
        of=wrong.numel(),
        problem=problem if count else "",
    )


def _failed_check(name: str, values: int, problem: str) -> TensorCheck:
    return TensorCheck(name=name, error=torch.inf, allowed=0.0, wrong=values, of=values, problem=problem)


def _severity(check: TensorCheck) -> float:
    if check.error == 0:
        return 0.0
    return check.error / check.allowed if check.allowed else torch.inf


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"
