"""Runner of the gate of DynMM, soft and hard."""

from collections.abc import Mapping

from torch import Tensor

from fuseloom.nn import soft, straight_through
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf

__all__ = ["RUNNERS"]


def _gate(given: Given) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, gate in (("soft", soft), ("hard", straight_through)):
        logits = leaf(given.inputs["logits"])
        output = gate(logits, temperature=given.option("tau"))
        found[f"output.{name}"] = output
        found |= gradients(output, given.inputs["cotangent"], {f"logits_{name}": logits})
    return found


RUNNERS: Mapping[str, Runner] = {"lecture/dynmm_gate": Runner(run=_gate)}
