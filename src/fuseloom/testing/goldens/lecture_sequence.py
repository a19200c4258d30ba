"""Runners of MultiBench's fusions of sequences, and of its stacking of vectors."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.merge.concat import Concat, convert_concat
from fuseloom.merge.early_transformer import EarlyTransformer, convert_early_transformer
from fuseloom.merge.late_transformer import LateTransformer, convert_late_transformer
from fuseloom.testing.goldens._case import Given, Runner, apply_part, gradients, leaf

__all__ = ["RUNNERS"]


def _early_transformer(given: Given) -> dict[str, Tensor]:
    steps = leaf(given.inputs["x"])
    # The official class is given the concatenation; two modalities show that ours joins them alike.
    widths = [1, given.option("n_features") - 1]
    streams = dict(zip(("m0", "m1"), steps.split_with_sizes(widths, 2), strict=True))
    official = {key: given.weights[key] for key in given.weights if not key.startswith("linear.")}
    dims = {name: value.shape[2] for name, value in streams.items()}
    with torch.device("meta"):
        merge = EarlyTransformer(
            dims,
            given.option("embed_dim"),
            hidden=_hidden(given),
            num_heads=given.option("nhead"),
            faithful=True,
        )
    fused = apply_part(merge.train(given.training), convert_early_transformer(official, dims), streams)
    output = F.linear(fused, **given.weights.under("linear."))
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], {"x": steps})


def _late_transformer(given: Given) -> dict[str, Tensor]:
    vector = leaf(given.inputs["x"])
    width = given.option("embed_dim")
    official = {"x": {key: given.weights[key] for key in given.weights}}
    with torch.device("meta"):
        merge = LateTransformer(
            {"x": 1}, width, hidden=_hidden(given), num_heads=given.option("nhead"), faithful=True
        )
    # Without a linear map behind it, the last step is ours with the identity.
    state = convert_late_transformer(official, torch.eye(width), torch.zeros(width))
    output = apply_part(merge.train(given.training), state, {"x": vector.unsqueeze(2)})
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], {"x": vector})


def _hidden(given: Given) -> list[int]:
    """The width of each layer's feedforward map, which config does not give as a number."""
    found = {key: len(given.weights[key]) for key in given.weights if key.endswith(".linear1.weight")}
    if len(found) != given.option("layers"):
        raise DataError(f"The case must store {given.option('layers')} layers, got {sorted(found)}.")
    return [found[f"transformer.layers.{number}.linear1.weight"] for number in range(len(found))]


def _concat_early(given: Given) -> dict[str, Tensor]:
    inputs = _numbered(given)
    width = sum(value.shape[2] for value in inputs.values())
    output = _apply_concat(inputs, torch.eye(width))
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _stack(given: Given) -> dict[str, Tensor]:
    inputs = _numbered(given)
    values = {name: value.flatten(1) for name, value in inputs.items()}
    size, count = values["m0"].shape[1], len(values)
    # A stack is the concatenation with its features taken in turns.
    turns = torch.eye(count * size).view(count, size, -1).transpose(0, 1).flatten(0, 1)
    output = _apply_concat(values, turns).view(-1, size, count)
    return {"output.y": output} | gradients(output, given.inputs["cotangent"], inputs)


def _apply_concat(values: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    dims = {name: value.shape[-1] for name, value in values.items()}
    with torch.device("meta"):
        merge = Concat(dims, len(weight), pool=None)
    return apply_part(merge, convert_concat(weight, torch.zeros(len(weight)), dims), dict(values))


def _numbered(given: Given) -> dict[str, Tensor]:
    """The inputs ``m0``, ``m1``, ... in the order of their numbers."""
    count = sum(name != "cotangent" for name in given.inputs)
    return {f"m{i}": leaf(given.inputs[f"m{i}"]) for i in range(count)}


RUNNERS: Mapping[str, Runner] = {
    "lecture/mb_concatearly": Runner(run=_concat_early),
    "lecture/mb_earlyfusiontransformer": Runner(run=_early_transformer),
    "lecture/mb_latefusiontransformer": Runner(run=_late_transformer),
    "lecture/mb_stack": Runner(run=_stack),
}
