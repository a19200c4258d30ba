"""Runners of MultiBench's canonical correlation loss and of the pieces of its variational objectives."""

from collections.abc import Mapping

from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.losses import cca_loss, elbo_loss, logit_loss, probability_loss, reconstruction_loss
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf

__all__ = ["RUNNERS"]


def _cca(given: Given) -> dict[str, Tensor]:
    ridge = given.option("r1")
    if given.option("use_all_singular_values") or given.option("r2") != ridge:
        raise DataError("The case must be of the largest correlations with one ridge, got another form.")
    inputs = {name: leaf(given.inputs[name]) for name in ("H1", "H2")}
    loss = cca_loss(*inputs.values(), top=given.option("outdim_size"), ridge=ridge, faithful=True)
    output = loss.reshape(1)
    return {"output.loss": output} | gradients(output, given.inputs["cotangent"], inputs)


def _squashed(reconstruction: Tensor, original: Tensor) -> Tensor:
    return logit_loss(reconstruction, original, faithful=True)


def _elbo(given: Given) -> dict[str, Tensor]:
    a, b = given.inputs["a"], given.inputs["b"]
    reconstruction = reconstruction_loss(
        {"first": a, "second": b},
        {"first": b, "second": a},
        loss={"first": _squashed, "second": probability_loss},
        weights=dict(zip(("first", "second"), given.option("weights"), strict=True)),
    )
    elbo = elbo_loss(
        given.inputs["mu"],
        given.inputs["logvar"],
        reconstruction=reconstruction,
        kl_weight=given.option("annealing"),
    )
    return {
        "output.elbo": elbo.reshape(1),
        "output.nosigmloss1d_a_b": probability_loss(a, b),
        "output.recon_weighted_sum": reconstruction.mean().reshape(1),
        "output.sigmloss1d_a_b": _squashed(a, b),
    }


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_ccaloss": Runner(run=_cca),
    "lecture/mb_elbo": Runner(run=_elbo),
}
