"""Runner of the late-fusion heads of the RollingQ repository: Sum, Concat, FiLM and Gated."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.merge.concat import Concat, convert_concat
from fuseloom.merge.film import Film, convert_film
from fuseloom.merge.gated import Gated, convert_gated
from fuseloom.merge.sum import Sum
from fuseloom.testing.goldens._case import Given, Runner, apply_part

__all__ = ["RUNNERS"]

_OTHER: Mapping[str, str] = {"x": "y", "y": "x"}


def _late_fusion_heads(given: Given) -> dict[str, Tensor]:
    inputs = {name: given.inputs[name] for name in _OTHER}
    dim, classes = given.option("dim"), given.option("n_classes")
    if widths := {value.shape[1] for value in inputs.values()} - {dim}:
        raise DataError(f"x and y must have width {dim} as config says, got {sorted(widths)}.")
    outputs = {"sum": _sum(given, inputs, classes), "concat": _concat(given, inputs, classes)}
    outputs |= {f"film_{name}": _film(given, inputs, name) for name in _OTHER}
    found = {f"output.{name}.out": value for name, value in outputs.items()}
    for name in _OTHER:
        found |= _gated(given, inputs, name)
    return found


def _sum(given: Given, inputs: Mapping[str, Tensor], dim: int) -> Tensor:
    state = {
        f"embed.{name}.{key}": value
        for name in inputs
        for key, value in given.weights.under(f"sum.fc_{name}.").items()
    }
    with torch.device("meta"):
        merge = Sum(_widths(inputs), dim)
    return apply_part(merge, state, inputs)


def _concat(given: Given, inputs: Mapping[str, Tensor], dim: int) -> Tensor:
    with torch.device("meta"):
        merge = Concat(_widths(inputs), dim)
    head = given.weights.under("concat.fc_out.")
    return apply_part(merge, convert_concat(head["weight"], head["bias"], _widths(inputs)), inputs)


def _film(given: Given, inputs: Mapping[str, Tensor], generating: str) -> Tensor:
    dims, target = _widths(inputs), _OTHER[generating]
    both = given.weights.under(f"film_{generating}.fc.")
    gamma, beta = ({key: value.chunk(2)[half] for key, value in both.items()} for half in (0, 1))
    with torch.device("meta"):
        merge = Film(dims, dims[target], target=target)
    fused = apply_part(merge, convert_film(gamma, beta, {generating: dims[generating]}), inputs)
    return F.linear(fused, **given.weights.under(f"film_{generating}.fc_out."))


def _gated(given: Given, inputs: Mapping[str, Tensor], gating: str) -> dict[str, Tensor]:
    maps = {name: given.weights.under(f"gated_{gating}.fc_{name}.") for name in (*_OTHER, "out")}
    gate, value = maps[gating], maps[_OTHER[gating]]
    with torch.device("meta"):
        merge = Gated(_widths(inputs), given.option("gated mid dim"), gate_from="others")
    fused = apply_part(merge, convert_gated(gate, value, gating=gating, gated=_OTHER[gating]), inputs)
    # What the official head returns beside its output: both linear maps, before the sigmoid.
    found = {name: F.linear(inputs[name], **maps[name]) for name in _OTHER}
    found["out"] = F.linear(fused, **maps["out"])
    return {f"output.gated_{gating}.{name}": tensor for name, tensor in found.items()}


def _widths(inputs: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: value.shape[1] for name, value in inputs.items()}


RUNNERS: Mapping[str, Runner] = {"rollingq/late_fusion_heads": Runner(run=_late_fusion_heads)}
