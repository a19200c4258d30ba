"""A case whose sums nearly cancel: rounding is forgiven, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fuseloom.testing.goldens import Given, Runner
from fuseloom.testing.verify import CaseResult, verify_case

Way = Callable[[Tensor], Tensor]


def rows() -> Tensor:
    """Two rows of a thousand numbers that nearly cancel, and one that does not."""
    values = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    values[:2, -1] = 1e-3 - values[:2, :-1].sum(1)
    return values


def one_by_one(values: Tensor) -> Tensor:
    return values.cumsum(1)[:, -1].contiguous()


def pairwise(values: Tensor) -> Tensor:
    return values.sum(1)


def one_too_many(values: Tensor) -> Tensor:
    return pairwise(values) + 1e-4


def scaled(values: Tensor) -> Tensor:
    return 1.00005 * pairwise(values)


def unstable(values: Tensor) -> Tensor:
    return pairwise(values + 10) - 10 * values.shape[1]


def broken(values: Tensor) -> Tensor:
    return pairwise(values) / (values.dtype != torch.float64)


def verify(folder: Path, way: Way, *, tolerance: float = 1e-4, **options: object) -> CaseResult:
    tensors = {"input.x": rows(), "grad.y": one_by_one(rows()), "output.y": torch.zeros(1)}
    tol = {"output": {"rtol": 0, "atol": 0}, "grad": {"rtol": tolerance, "atol": 1e-12}}
    path = folder / "case.json"
    path.write_text(json.dumps({"kind": "test/sum", "tol": tol}))
    save_file(tensors, path.with_suffix(".safetensors"))

    def run(given: Given) -> dict[str, Tensor]:
        return {"grad.y": way(given.inputs["x"]), "output.y": torch.zeros(1)}

    cancelling = Runner(run=run, **({"cancelling": ("grad.*",)} | options))  # type: ignore[arg-type]
    return verify_case(path, {"test/sum": cancelling})


def test_another_order_of_a_sum_that_cancels_passes(tmp_path: Path) -> None:
    found = verify(tmp_path, pairwise)
    assert (found.status, found.rounded) == ("ok", ("grad.y",))


def test_a_tensor_within_the_tolerance_of_the_case_is_not_held_against_rounding(tmp_path: Path) -> None:
    found = verify(tmp_path, one_by_one)
    assert (found.status, found.rounded) == ("ok", ())


def test_rounding_is_forgiven_only_where_a_kind_says_that_sums_cancel(tmp_path: Path) -> None:
    assert verify(tmp_path, pairwise, cancelling=("mid.*",)).status == "failed"


@pytest.mark.parametrize("way", [one_too_many, scaled, unstable, broken])
def test_what_is_more_than_rounding_fails(tmp_path: Path, way: Way) -> None:
    found = verify(tmp_path, way)
    assert found.status == "failed"
    assert found.reason.startswith("grad.y misses by")


def test_rounding_never_allows_more_than_the_case_does_at_the_largest_value(tmp_path: Path) -> None:
    found = verify(tmp_path, pairwise, tolerance=1e-9)
    assert found.status == "failed"
    (worst,) = [check for check in found.checks if check.problem]
    assert worst.allowed == pytest.approx(1e-9 * float(one_by_one(rows()).abs().max()), rel=1e-2)
