"""How far the rounding of single precision alone moves what a case stores."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fuseloom.testing.goldens._case import GoldenCase, Runner

__all__ = ["allowed_by_rounding"]

_DRAWS = 8
_SEED = 0
_HALF_STEP = 2.0**-24
"""The furthest that rounding to single precision moves a number, relative to it."""
_OPERATIONS = 8
"""Each operation inside rounds too, in our run and in the authors'. Over all of torch's kernels the two were
up to four times as far apart as rounding what is given moved the values."""


def allowed_by_rounding(case: GoldenCase, runner: Runner, names: Iterable[str]) -> dict[str, float]:
    """How far two runs in single precision may be apart, for each of some stored tensors.

    The case is run in double precision, and again with inputs and weights moved at random by no more than
    their rounding. What that moves a tensor is the condition of the problem, not of our way to compute it: it
    is the same on every processor, and a part that is unstable in single precision gains nothing by it.

    Args:
        case: What is given.
        runner: Of its kind; it must be able to run in double precision.
        names: Stored names of floating tensors.

    Returns:
        Name -> absolute error, the same for all values of the tensor.
    """
    exact = runner.run(_with(case, Tensor.double).given())
    moved = dict.fromkeys(names, 0.0)
    generator = torch.Generator().manual_seed(_SEED)

    def rounded(value: Tensor) -> Tensor:
        step = torch.rand(value.shape, generator=generator, dtype=torch.float64) * 2 - 1
        return value.double() * (1 + _HALF_STEP * step)

    for _ in range(_DRAWS):
        found = runner.run(_with(case, rounded).given())
        moved = {name: max(most, _distance(found[name], exact[name])) for name, most in moved.items()}
    return {name: _OPERATIONS * most for name, most in moved.items()}


def _with(case: GoldenCase, change: Callable[[Tensor], Tensor]) -> GoldenCase:
    """The case with another precision, or other values, of all that is given in single precision."""

    def changed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: change(value) if value.dtype == torch.float32 else value for n, value in tensors.items()}

    return replace(case, inputs=changed(case.inputs), weights=changed(case.weights))


def _distance(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).detach().abs().max())
