"""Runners of the gates of DynMM, soft and hard: of scores, and the network that scores routes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.merge.dynamic import RouteKind
from fuseloom.models.dense.stage_gate import StageGate, convert_dynmm_gate
from fuseloom.nn import soft, straight_through
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, gradients, leaf

__all__ = ["RUNNERS"]


def _gate(given: Given) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, gate in (("soft", soft), ("hard", straight_through)):
        logits = leaf(given.inputs["logits"])
        output = gate(logits, temperature=given.option("tau"))
        found[f"output.{name}"] = output
        found |= gradients(output, given.inputs["cotangent"], {f"logits_{name}": logits})
    return found


def _of_scene(given: Given) -> dict[str, Tensor]:
    state = convert_dynmm_gate(given.weights.under(""))
    streams = {name: given.inputs[name] for name in ("rgb", "depth")}
    dims = {name: value.shape[1] for name, value in streams.items()}
    kinds: tuple[tuple[str, RouteKind, float], ...] = (
        ("soft", "soft", 1.0),
        ("hard", "straight_through", 1.0),
        ("soft_t0p1", "soft", 0.1),
    )
    found = {}
    for name, kind, temperature in kinds:
        gate = StageGate(
            dims,
            given.option("branch_num"),
            hidden=given.option("hidden_dim"),
            kind=kind,
            temperature=temperature,
        )
        gate.load_state_dict(state)
        with torch.no_grad():
            found[f"output.{name}"] = gate.train(given.training)(streams)
    return found


def _counts(_: GoldenCase) -> tuple[str, ...]:
    """What the official norms count, and nothing reads."""
    return ("*.num_batches_tracked",)


RUNNERS: Mapping[str, Runner] = {
    "lecture/dynmm_gate": Runner(run=_gate),
    "lecture/dynmm_globalgate": Runner(run=_of_scene, idle=_counts),
}
