"""Golden cases: tensors of the authors' own code, and one short runner per kind that reproduces them.

A runner is added to the table of its system's module; `fuseloom.testing.verify` does the rest.
"""

from collections.abc import Mapping

from fuseloom.testing.goldens import (
    cen,
    fsmr,
    geminifusion,
    lecture,
    lecture_emap,
    lecture_gates,
    lecture_generated,
    lecture_losses,
    lecture_mro,
    lecture_mult,
    lecture_pid,
    lecture_polynomial,
    lecture_product,
    lecture_regression,
    lecture_routing,
    lecture_scores,
    lecture_sequence,
    lecture_shift,
    lecture_tensor,
    muse,
    rollingq,
    rollingq_agm,
    rollingq_attention,
    rollingq_losses,
    rollingq_mmpareto,
    rollingq_model,
    rollingq_ogm,
    rollingq_order,
    rollingq_prep,
    rollingq_rotation,
    rollingq_shapley,
    rollingq_training,
    rollingq_transformer,
    tokenfusion,
)
from fuseloom.testing.goldens._case import Given, GoldenCase, Ledger, Runner, Tolerance, read_case

__all__ = ["RUNNERS", "Given", "GoldenCase", "Ledger", "Runner", "Tolerance", "read_case"]

RUNNERS: Mapping[str, Runner] = {
    **cen.RUNNERS,
    **fsmr.RUNNERS,
    **geminifusion.RUNNERS,
    **lecture.RUNNERS,
    **lecture_emap.RUNNERS,
    **lecture_gates.RUNNERS,
    **lecture_generated.RUNNERS,
    **lecture_losses.RUNNERS,
    **lecture_mro.RUNNERS,
    **lecture_mult.RUNNERS,
    **lecture_pid.RUNNERS,
    **lecture_polynomial.RUNNERS,
    **lecture_product.RUNNERS,
    **lecture_regression.RUNNERS,
    **lecture_routing.RUNNERS,
    **lecture_scores.RUNNERS,
    **lecture_sequence.RUNNERS,
    **lecture_shift.RUNNERS,
    **lecture_tensor.RUNNERS,
    **muse.RUNNERS,
    **rollingq.RUNNERS,
    **rollingq_agm.RUNNERS,
    **rollingq_attention.RUNNERS,
    **rollingq_losses.RUNNERS,
    **rollingq_mmpareto.RUNNERS,
    **rollingq_model.RUNNERS,
    **rollingq_ogm.RUNNERS,
    **rollingq_order.RUNNERS,
    **rollingq_prep.RUNNERS,
    **rollingq_rotation.RUNNERS,
    **rollingq_shapley.RUNNERS,
    **rollingq_training.RUNNERS,
    **rollingq_transformer.RUNNERS,
    **tokenfusion.RUNNERS,
}
"""Kind -> runner, over all systems."""
