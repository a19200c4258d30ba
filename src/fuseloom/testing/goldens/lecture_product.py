"""Runner of the element-wise product that the lecture on multimodal fusion names (PID repository)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.merge.product import Product, convert_product
from fuseloom.testing.goldens._case import Given, Runner, apply_part, gradients, leaf

__all__ = ["RUNNERS"]


def _elemmult(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("m0", "m1")}
    weight, bias = given.weights["fc.weight"], given.weights["fc.bias"]
    dims = {name: value.shape[1] for name, value in inputs.items()}
    with torch.device("meta"):
        merge = Product(dims, weight.shape[0], factor_dim=weight.shape[1])
    output = apply_part(merge, convert_product(weight, bias, dims), inputs)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


RUNNERS: Mapping[str, Runner] = {"lecture/pid_elemmult": Runner(run=_elemmult)}
