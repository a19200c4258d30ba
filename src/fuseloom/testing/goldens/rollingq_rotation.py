"""Runner of the rotations of RollingQ's repository, of which only what the method determines is compared."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.nn.rotation import procrustes_rotation
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner

__all__ = ["RUNNERS"]


def _rotation_matrix(given: Given) -> dict[str, Tensor]:
    found = {}
    for case in (name.removesuffix(".X") for name in given.inputs if name.endswith(".X")):
        source, target = given.inputs[f"{case}.X"], given.inputs[f"{case}.Y"]
        matrix = procrustes_rotation(source, target).to(source.dtype)
        found[f"output.{case}.W_probes"] = given.inputs[f"{case}.probes"] @ matrix.mT
        found[f"output.{case}.W_Xhat"] = matrix @ (source / source.norm())
        if len(source) <= _MOST_STORED:
            found[f"output.{case}.W"] = matrix
    return found


_MOST_STORED = 64
"""Width up to which the cases store the matrix itself."""


def _of_matrix(case: GoldenCase, name: str, matrix: Tensor) -> Tensor:
    """In two axes all of it; in more where it turns the source to, its lengths, and whether it reflects."""
    if len(matrix) == 2:
        return matrix
    source = case.inputs[f"{_of(name)}.X"]
    sign = torch.linalg.slogdet(matrix.double()).sign.to(matrix)
    turned = matrix @ (source / source.norm())
    return torch.cat([turned, (matrix @ matrix.mT).flatten(), sign[None]])


def _of_probes(case: GoldenCase, name: str, turned: Tensor) -> Tensor:
    """In two axes all of them; in more their lengths and angles, among one another and with the target."""
    if turned.shape[1] == 2:
        return turned
    target = case.inputs[f"{_of(name)}.Y"]
    lengths = turned.norm(dim=-1)
    directions = turned / lengths[:, None]
    return torch.cat([lengths, directions @ (target / target.norm()), (directions @ directions.mT).flatten()])


def _of(name: str) -> str:
    return name.split(".")[1]


RUNNERS: Mapping[str, Runner] = {
    "rollingq/rotation_matrix": Runner(
        run=_rotation_matrix,
        invariants={"output.*.W": _of_matrix, "output.*.W_probes": _of_probes},
    )
}
