"""``fuseloom verify``: golden cases against this implementation."""

import json
import math
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fuseloom.testing.verify import CaseResult, TensorCheck, Verification

__all__ = ["FORMAT_VERSION", "verify"]

FORMAT_VERSION = 1
_WORDS = {"ok": "ok", "failed": "FAILED", "unknown": "unknown"}
_EPILOG = """\b
Example:
  $ fuseloom verify tests/goldens --require lecture/lmf,lecture/mb_concat

\b
Exit status:
  0  every case was compared and is within its tolerance
  1  a case failed, or a required kind has no passing case
  2  wrong usage
  3  a case is of a kind that has no runner (unless --allow-unknown)
  4  nothing ran

\b
--json prints one object:
  format_version  1
  status          the exit status
  counts          {ok, failed, unknown}
  missing         required kinds without a passing case
  cases           a list of {path, kind, status, reason, checks, worst, idle, rounded}:
                  checks  {name, error, allowed, wrong, of, problem} of each
                          tensor, where it is furthest beyond what is allowed;
                          an infinite error is null
                  worst   name of the tensor closest to its limit or furthest
                          beyond it, or null
                  idle    weights that cannot influence any tensor of the case
                  rounded tensors that missed the tolerance of the case in values
                          that sums nearly cancel in, and were held against the
                          rounding of single precision, in all their values
"""


@click.command(epilog=_EPILOG)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option("--require", metavar="KIND,...", multiple=True, help="Kinds that must have a passing case.")
@click.option("--allow-unknown", is_flag=True, help="Do not mind kinds that have no runner.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def verify(paths: tuple[Path, ...], require: tuple[str, ...], *, allow_unknown: bool, as_json: bool) -> None:
    """Compare golden cases with this implementation.

    PATH is a folder, searched at any depth, or the .json of one case.
    """
    kinds = _kinds(require)
    from fuseloom.errors import OptionError
    from fuseloom.testing.verify import Verification, verify_paths

    try:
        cases = verify_paths(paths)
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    done = []
    for case in cases:
        done.append(case)
        if not as_json:
            click.echo(_line(case))
    verification = Verification.of(done, require=kinds, allow_unknown=allow_unknown)
    click.echo(json.dumps(_as_json(verification), indent=1) if as_json else _summary(verification))
    sys.exit(verification.status)


def _kinds(require: tuple[str, ...]) -> list[str]:
    kinds = [kind.strip() for option in require for kind in option.split(",")]
    if not all(kinds):
        raise click.BadParameter("must name kinds, separated by commas.", param_hint="--require")
    return kinds


def _line(case: "CaseResult") -> str:
    head = f"{_WORDS[case.status]:<7}  {case.kind or '?'}  {case.path}"
    detail = case.reason if case.status == "failed" else _detail(case)
    return f"{head}: {detail}" if detail else head


def _detail(case: "CaseResult") -> str:
    if (worst := case.worst) is None:
        return ""
    said = [
        f"{len(case.checks)} tensors, worst {worst.name}: {worst.error:.2g} of {worst.allowed:.2g} allowed"
    ]
    if case.rounded:
        said.append(f"held against rounding: {len(case.rounded)}")
    if case.idle:
        said.append(f"without influence: {', '.join(case.idle)}")
    return "; ".join(said)


def _summary(verification: "Verification") -> str:
    counts = _counts(verification)
    total = ", ".join(f"{number} {status}" for status, number in counts.items())
    lines = [f"{len(verification.cases)} in all: {total}."]
    if verification.missing:
        lines.append(f"Required kinds without a passing case: {', '.join(verification.missing)}.")
    return "\n".join(lines)


def _counts(verification: "Verification") -> dict[str, int]:
    found = Counter(case.status for case in verification.cases)
    return {status: found[status] for status in ("ok", "failed", "unknown")}


def _as_json(verification: "Verification") -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "status": verification.status,
        "counts": _counts(verification),
        "missing": list(verification.missing),
        "cases": [_case_as_json(case) for case in verification.cases],
    }


def _case_as_json(case: "CaseResult") -> dict[str, Any]:
    worst = case.worst.name if case.worst else None
    return asdict(case) | {"checks": [_check_as_json(check) for check in case.checks], "worst": worst}


def _check_as_json(check: "TensorCheck") -> dict[str, Any]:
    # JSON has no infinity.
    return asdict(check) | {"error": check.error if math.isfinite(check.error) else None}
