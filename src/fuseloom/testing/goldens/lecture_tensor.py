"""Runners of tensor fusion: MultiBench's product, and TFN as a whole model."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.merge.tensor import TensorProduct, convert_tensor
from fuseloom.testing.goldens._case import Given, Runner, apply_part, gradients, leaf
from fuseloom.testing.goldens.lecture import run_sub_nets

__all__ = ["RUNNERS"]

_MODALITIES = ("audio", "video", "text")


def _apply(values: Mapping[str, Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    dims = {name: value.shape[-1] for name, value in values.items()}
    with torch.device("meta"):
        merge = TensorProduct(dims, len(bias), pool=None)
    return apply_part(merge, convert_tensor(weight, bias, dims), dict(values))


def _product(values: Mapping[str, Tensor]) -> Tensor:
    # Without a linear map behind it, the product is ours with the identity.
    size = math.prod(value.shape[-1] + 1 for value in values.values())
    return _apply(values, torch.eye(size), torch.zeros(size))


def _tensor_fusion(given: Given) -> dict[str, Tensor]:
    inputs = {f"m{i}": leaf(given.inputs[f"m{i}"]) for i in range(len(given.option("dims")))}
    output = _product(inputs)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _tfn(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in _MODALITIES}
    hidden = run_sub_nets(given, inputs)
    layers = [given.weights.under(f"post_fusion_layer_{i}.") for i in (1, 2, 3)]
    fused = _apply(hidden, **layers[0])
    logit = F.linear(F.linear(fused.relu(), **layers[1]).relu(), **layers[2])
    output = logit.sigmoid() * given.weights["output_range"] + given.weights["output_shift"]
    mids = {f"mid.{name}_h": value for name, value in hidden.items()}
    found = gradients(output, given.inputs["cotangent"], inputs)
    return {"output.y": output, "mid.fusion_tensor": _product(hidden)} | mids | found | _statistics(given)


def _statistics(given: Given) -> dict[str, Tensor]:
    """What BatchNorm keeps after a step of training; it updates the weights it was given in place."""
    if not given.training:
        return {}
    nets = [f"{name}_subnet.norm." for name in ("audio", "video")]
    names = [net + what for net in nets for what in ("running_mean", "running_var", "num_batches_tracked")]
    return {f"output.running_after.{name}": given.weights[name] for name in names}


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_tensorfusion": Runner(run=_tensor_fusion),
    "lecture/tfn": Runner(run=_tfn),
}
