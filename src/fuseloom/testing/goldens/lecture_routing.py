"""Runners of multimodal routing and of MultiBench's product of experts."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.merge.product_of_experts import ProductOfExperts
from fuseloom.merge.routing import Routing, convert_routing
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf, load_module
from fuseloom.types import Trace

__all__ = ["RUNNERS"]


def _routing(given: Given) -> dict[str, Tensor]:
    sources = {"f_bid": leaf(given.inputs["f_bid"]), "p_bi": leaf(given.inputs["p_bi"])}
    # Capsules are the subsets of three modalities; their encoders are no part of the official module.
    dims = dict.fromkeys(("text", "video", "audio"), 1)
    if given.option("in_capsules") != 2 ** len(dims) - 1:
        raise DataError(f"in_capsules must be 7, of three modalities, got {given.option('in_capsules')}.")
    with torch.device("meta"):
        merge = Routing(
            dims,
            concepts=(given.option("out_capsules"), given.option("output_size")),
            feature_dim=given.option("input_size"),
            iterations=given.option("iterations"),
        )
    load_module(merge.vote, convert_routing(given.weights["weights"], dims), training=given.training)
    concepts, routing = merge.route(*sources.values())
    found = gradients(concepts, given.inputs["cotangent"], sources)
    return {"output.concepts": concepts, "output.routing": routing} | found


def _product_of_experts(given: Given) -> dict[str, Tensor]:
    count = sum(name.startswith("mu") for name in given.inputs)
    beliefs = {
        f"m{i}": torch.cat([given.inputs[f"mu{i}"], given.inputs[f"logvar{i}"]], -1) for i in range(count)
    }
    dims = {name: belief.shape[-1] for name, belief in beliefs.items()}
    with torch.device("meta"):
        merge = ProductOfExperts(dims, dims["m0"] // 2, pool=None)
    # The official module has no weights and is given the beliefs, which ours makes with the identity.
    state = {f"expert.{n}.weight": torch.eye(w) for n, w in dims.items()}
    load_module(
        merge, state | {f"expert.{n}.bias": torch.zeros(w) for n, w in dims.items()}, training=given.training
    )
    trace = Trace()
    return {"output.mu": merge(beliefs, trace=trace), "output.logvar": trace.records["log_variance"]}


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_productofexperts": Runner(run=_product_of_experts),
    "lecture/mmrouting": Runner(run=_routing),
}
