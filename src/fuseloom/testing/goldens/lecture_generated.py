"""Runners of the merges whose weights one modality generates for another: MultiBench's MI, and FiLM."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.errors import DataError
from fuseloom.merge.film import Film, convert_film
from fuseloom.merge.multiplicative_interactions import (
    Form,
    MultiplicativeInteractions,
    convert_multiplicative_interactions,
)
from fuseloom.testing.goldens._case import Given, Runner, apply_part, gradients, leaf

__all__ = ["RUNNERS"]

_FORMS: Mapping[str, Form] = {
    "matrix": "matrix",
    "matrix3D": "matrix",
    "vector": "vector",
    "scalar": "scalar",
}


def _two_modalities(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("m0", "m1")}
    values = {n: v.flatten(1) if given.config.get("flatten") else v for n, v in inputs.items()}
    generating, target = reversed(values) if given.config.get("flip") else values
    dims = {name: values[name].shape[-1] for name in (target, generating)}
    official = {name: given.weights[name] for name in "WUVb"}
    clip = given.config.get("clip")
    with torch.device("meta"):
        merge = MultiplicativeInteractions(
            dims,
            official["b"].numel() if given.option("output").startswith("matrix") else dims[target],
            form=_FORMS[given.option("output")],
            clip=clip if clip is None else tuple(clip),
        )
    fused = apply_part(merge, convert_multiplicative_interactions(official, [generating]), values)
    output = fused.view(given.inputs["cotangent"].shape)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _three_modalities(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("m0", "m1", "m2")}
    dims = {name: inputs[name].shape[-1] for name in ("m2", "m0", "m1")}
    with torch.device("meta"):
        merge = MultiplicativeInteractions(
            dims, given.option("output_dim"), form="matrix", faithful=given.option("task") != "affect"
        )
    official = {name: given.weights[name] for name in given.weights}
    output = apply_part(merge, convert_multiplicative_interactions(official, ["m0", "m1"]), inputs)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _film(given: Given) -> dict[str, Tensor]:
    inputs = {name: leaf(given.inputs[name]) for name in ("m0", "m1")}
    target, *generating = (
        f"m{given.option(f'{role}_modal')}" for role in ("base", "gamma_generate", "beta_generate")
    )
    if set(generating) != inputs.keys() - {target}:
        raise DataError(f"config must name one other modality for both networks, got {sorted(generating)}.")
    dims = {name: value.shape[-1] for name, value in inputs.items()}
    with torch.device("meta"):
        merge = Film(dims, dims[target], target=target)
    gamma, beta = given.weights.under("g_net."), given.weights.under("b_net.")
    output = apply_part(merge, convert_film(gamma, beta, {generating[0]: dims[generating[0]]}), inputs)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_mi2": Runner(run=_two_modalities),
    "lecture/mb_mi3": Runner(run=_three_modalities),
    "lecture/pid_film": Runner(run=_film),
}
