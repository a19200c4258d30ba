"""Runners of multimodal residual optimisation: both forms, the joint baseline, the sequential stages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fuseloom.errors import DataError
from fuseloom.merge.mro import Form, Mro, convert_mro, interaction_places
from fuseloom.nn import subset_products
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, leaf
from fuseloom.types import Streams, Trace

__all__ = ["RUNNERS"]

_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "L1Loss": F.l1_loss,
    "MSELoss": F.mse_loss,
    "CrossEntropyLoss": lambda outputs, target: F.cross_entropy(outputs, target.squeeze(1).long()),
}
_STAGES = ("uni_", "bi_", "tri_")
_PAIRS = {"a": "m0+m1", "b": "m1+m2", "c": "m0+m2"}


@dataclass(frozen=True)
class _Run:
    """A model that has run once, with its output, its loss and all gradients of that."""

    merge: Mro
    streams: Streams
    trace: Trace
    found: dict[str, Tensor]


def _run(given: Given, form: Form, *, stage: int | None = None, residual: bool = True) -> _Run:
    sizes: list[int] = given.option("input_sizes")
    dims = {f"m{i}": size for i, size in enumerate(sizes)}
    weights = {name: leaf(value) for name, value in given.weights.under("").items()}
    rows = leaf(given.inputs["x"])
    streams = dict(zip(dims, torch.split(rows, sizes, -1), strict=True))
    with torch.device("meta"):
        hidden, outputs = given.option("layer_sizes"), given.option("output_size")
        merge = Mro(dims, outputs, form=form, hidden=hidden, residual=residual)
    state = convert_mro(weights, dims)
    merge.load_state_dict(state, assign=True)
    merge.focus(stage)
    trace = Trace()
    output = functional_call(merge, state, (streams,), {"trace": trace}, strict=True)
    loss = _loss(given, [output, *trace.predictions.values()])
    trained = {name: value for name, value in weights.items() if _trains(name, stage)}
    sources = {"x": rows} | {f"weight.{name}": value for name, value in trained.items()}
    gradients = torch.autograd.grad(loss, list(sources.values()))
    found = {"output.y_hat": output, "output.loss": loss.reshape(1)}
    found |= {f"grad.{name}": value for name, value in zip(sources, gradients, strict=True)}
    return _Run(merge=merge, streams=streams, trace=trace, found=found)


def _trains(weight: str, stage: int | None) -> bool:
    return stage is None or weight.startswith(_STAGES[stage])


def _loss(given: Given, predictions: list[Tensor]) -> Tensor:
    name = given.option("loss_function")
    if name not in _LOSSES:
        raise DataError(f"loss_function must be one of {sorted(_LOSSES)}, got {name!r}.")
    return reduce(add, (_LOSSES[name](value, given.inputs["y"]) for value in predictions))


def _early(given: Given) -> dict[str, Tensor]:
    return _early_tensors(_run(given, "early", residual=not given.config.get("naive_loss", False)))


def _early_stage(given: Given) -> dict[str, Tensor]:
    stage = _stage(given.option("exclude_parameters_prefix"))
    return _early_tensors(_run(given, "early", stage=stage))


def _stage(excluded: Sequence[str]) -> int:
    (stage,) = (place for place, prefix in enumerate(_STAGES) if prefix not in excluded)
    return stage


def _early_tensors(run: _Run) -> dict[str, Tensor]:
    part, streams = run.merge.get_submodule("terms.part"), run.streams
    hidden = [_before_last(part.get_submodule(name))(value) for name, value in streams.items()]
    *lower, last = (run.trace.records[f"order_{k}"] for k in range(1, len(run.trace.records) + 1))
    everything = len(lower) + 1 == run.merge.orders
    names = ("uni", "bi") if len(streams) > 2 else ("uni",)
    mids = dict(zip((f"{name}_y" for name in names), [*lower, last], strict=False))
    if everything:
        mids["tri_y"] = last
    if "bi_y" in mids:
        for letter, key in _PAIRS.items():
            both = torch.cat([streams[name] for name in key.split("+")], -1)
            mids[f"bi_y_{letter}"] = part.get_submodule(key)(both)
    mids["tfn_embedding"] = torch.cat(hidden, -1)
    return run.found | {f"mid.meta_{name}": value for name, value in mids.items()}


def _before_last(layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*list(layers.children())[:-1])


def _tensor(given: Given) -> dict[str, Tensor]:
    run = _run(given, "tensor", residual=given.option("residual"))
    embed = run.merge.get_submodule("terms.embed")
    embedded = [embed.get_submodule(name)(value) for name, value in run.streams.items()]
    mids = {f"y_hat_{k}": run.trace.records[f"order_{k + 1}"] for k in range(run.merge.orders)}
    mids["tfn_embedding"] = _interaction_terms(embedded)
    return run.found | {f"mid.meta_{name}": value for name, value in mids.items()}


def _interaction_terms(values: list[Tensor]) -> Tensor:
    """All products of one or more of the values, in the order of the official code."""
    places = interaction_places([value.shape[-1] for value in values])
    products = _products(values)
    order = torch.cat(list(places.values())).argsort()
    return torch.cat([products[subset] for subset in places], -1)[:, order]


def _products(values: list[Tensor]) -> dict[tuple[int, ...], Tensor]:
    names = [str(place) for place in range(len(values))]
    subsets = [s for size in range(1, len(names) + 1) for s in combinations(names, size)]
    found = subset_products(dict(zip(names, values, strict=True)), subsets)
    return {tuple(map(int, subset)): value for subset, value in found.items()}


def _terms(given: Given) -> dict[str, Tensor]:
    a, b, c = (given.inputs[name] for name in ("a", "b", "c"))
    return {
        "output.one": _interaction_terms([a]),
        "output.two": _interaction_terms([a, b]),
        "output.three": _interaction_terms([a, b, c]),
        "output.three_no_one": _products([a, b, c])[0, 1, 2],
    }


def _above(case: GoldenCase) -> tuple[str, ...]:
    """Terms of the orders behind the stage, which is not evaluated."""
    return tuple(f"{prefix}*" for prefix in _STAGES[_stage(case.config["exclude_parameters_prefix"]) + 1 :])


RUNNERS: Mapping[str, Runner] = {
    "lecture/mro_early2": Runner(run=_early),
    "lecture/mro_early3": Runner(run=_early),
    "lecture/mro_early3_joint": Runner(run=_early),
    "lecture/mro_interaction_terms": Runner(run=_terms),
    "lecture/mro_tensor2": Runner(run=_tensor),
    "lecture/mro_tensor3": Runner(run=_tensor),
    "lecture/mro_tensor3_joint": Runner(run=_tensor),
    "lecture/smro_early3": Runner(run=_early_stage, idle=_above),
}
