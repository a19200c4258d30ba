"""MuSE's transformer: gradients in which sums cancel are held against rounding, and defects are noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fuseloom.exchange import cls_exchange
from fuseloom.nn import blocks
from fuseloom.testing.verify import find_cases, verify_case

HOME = Path(__file__).parents[2] / "goldens" / "muse"
CASES = sorted(HOME.glob("ct_*.json"))
CANCELLING = ("ct_04", "ct_09")
FACTOR = 1.001
attend, mean = blocks.attend, cls_exchange._mean


class TooLarge(torch.autograd.Function):
    """Gives what it gets, and a gradient that is wrong by a factor."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * FACTOR


def too_large(value: Tensor) -> Tensor:
    out: Tensor = TooLarge.apply(value)  # type: ignore[no-untyped-call]
    return out


DEFECTS: dict[str, tuple[object, str, Callable[..., Tensor]]] = {
    "attention too large": (blocks, "attend", lambda *qkv, **o: too_large(attend(*qkv, **o))),
    "queries too large": (blocks, "attend", lambda q, *kv, **o: attend(too_large(q), *kv, **o)),
    "no gradient of keys": (blocks, "attend", lambda q, k, v, **o: attend(q, k.detach(), v, **o)),
    "means too large": (cls_exchange, "_mean", lambda *a: too_large(mean(*a))),
    "no gradient of means": (cls_exchange, "_mean", lambda *a: mean(*a).detach()),
}
"""What is wrong in the gradient only -> where."""


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_wrong_gradient_is_noticed(case: Path, defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _expect_noticed(case, defect, monkeypatch)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_wrong_gradient_is_noticed_where_sums_cancel(
    goldens_dir: Path, defect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case for case in find_cases([goldens_dir / "muse"]) if case.stem.startswith(CANCELLING)]
    assert len(cases) == 2
    for case in cases:
        _expect_noticed(case, defect, monkeypatch)


def _expect_noticed(case: Path, defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*DEFECTS[defect])
    result = verify_case(case)
    assert result.status == "failed"
    assert {check.name.split(".")[0] for check in result.checks if check.problem} == {"grad"}
