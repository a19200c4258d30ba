"""Runner of the lists of GeminiFusion: names and shapes of all weights, and the groups of the optimiser."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from math import prod
from typing import Any

import torch
from torch import Tensor

from fuseloom.models.dense.geminifusion import (
    geminifusion_mit,
    geminifusion_swin,
    official_geminifusion_deliver,
    official_geminifusion_mit,
    official_geminifusion_swin,
)
from fuseloom.models.dense.model import DenseModel
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, Stated, json_tensor
from fuseloom.train.flat import NoDecay, parameter_shares

__all__ = ["RUNNERS"]

_ToOfficial = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

_DELIVER_LABELS, _DELIVER_HEAD = 25, 512
_RATES = {"head": 10.0}
_SEGMENTER: Mapping[str, NoDecay] = {"encoder": "norms"}
_DELIVER: Mapping[str, NoDecay] = {"encoder": "vectors", "ensemble": "vectors", "*_noise": "none"}
"""Their noise is a matrix with a row for each of two modalities, ours a vector of each."""
_COUNT, _TABLE, _INDEX = ".bn.num_batches_tracked", "relative_position_bias_table", "relative_position_index"
_BUFFERS = (".running_mean", ".running_var", _COUNT, _INDEX)
_FUSION = ("cross_attn", "relation_judger", "k_noise", "v_noise")


def _lists(given: Given) -> dict[str, Tensor]:
    models, groups = given.option("wanted_models"), given.option("wanted_groups")
    found = {}
    for name, wanted in models.items():
        shapes = _shapes(*_model(name))
        found[f"output.models.{name}"] = json_tensor({k: v for k, v in _facts(shapes).items() if k in wanted})
    for name, labels in groups.items():
        found[f"output.groups.{name}"] = json_tensor(_groups(name, *_model(f"{name}{labels}")))
    return found


def _model(name: str) -> tuple[DenseModel, _ToOfficial]:
    """A model without values, by the name in the list, and what gives its weights their official names."""
    family, size, last = name.split("/")
    names = ["x0", "x1"] if family == "WeTr" else [f"x{i}" for i in range(int(last[1:]))]
    channels = dict.fromkeys(names, 3)
    with torch.device("meta"):
        if family != "WeTr":
            several = len(names) > 2
            return (
                geminifusion_mit(
                    channels,
                    _DELIVER_LABELS,
                    size=size.lower(),
                    head_dim=_DELIVER_HEAD,
                    collapse=several,
                    faithful=True,
                ),
                lambda state: official_geminifusion_deliver(state, names),
            )
        backbone, _, size = size.partition("_")
        if backbone == "mit":
            model = geminifusion_mit(channels, int(last), size=size, weighting="frozen", faithful=True)
            return model, lambda state: official_geminifusion_mit(state, names)
        model = geminifusion_swin(channels, int(last), size=size, weighting="frozen", faithful=True)
        return model, lambda state: official_geminifusion_swin(state, names)


def _shapes(model: DenseModel, official: _ToOfficial) -> dict[str, list[int]]:
    """Of all that an official checkpoint holds, with what follows from the rest and ours does not store."""
    found = {name: list(value.shape) for name, value in official(model.state_dict()).items()}
    for name, shape in list(found.items()):
        if name.endswith(".bn.weight"):
            found[name.replace(".bn.weight", _COUNT)] = []
        elif name.endswith(_TABLE):
            side = (int(shape[0] ** 0.5) + 1) // 2  # of a window, from its offsets
            found[name.replace(_TABLE, _INDEX)] = [side**2, side**2]
    return found


def _facts(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    sizes = {name: prod(shape) for name, shape in shapes.items() if not name.endswith(_BUFFERS)}
    lines = "\n".join(sorted(f"{name} {shape}" for name, shape in shapes.items()))
    return {
        "keys": dict(shapes),
        "n_entries": len(shapes),
        "n_params": sum(sizes.values()),
        "n_fusion_params": sum(n for name, n in sizes.items() if any(part in name for part in _FUSION)),
        "n_decoder_params": sum(n for name, n in sizes.items() if name.startswith("decoder.")),
        "sha256_of_sorted_lines": sha256(lines.encode()).hexdigest(),
    }


def _groups(name: str, model: DenseModel, official: _ToOfficial) -> dict[str, int | None]:
    """Official name -> place of its group: what decays, what does not, and the head."""
    shares = parameter_shares(model, _RATES, _SEGMENTER if name.startswith("WeTr") else _DELIVER)
    places = {}
    for own, value in model.named_parameters():
        share = shares[value]
        place = 2 if share.rate > 1 else int(not share.decays)
        places[own] = torch.full((), float(place if value.requires_grad else -1)).expand(value.shape)
    joined = {own: (int(value.min()), int(value.max())) for own, value in official(places).items()}
    found = {own: low for own, (low, high) in joined.items() if low == high}
    return {own: None if place < 0 else place for own, place in found.items()} | _of_unused(found)


def _of_unused(groups: Mapping[str, int]) -> dict[str, int]:
    """The last predictor of scores, which only the official model has, is with the others of its kind."""
    predictors = [name for name in groups if ".score_nets." in name]
    first = {name: name.replace(".score_nets.0.", ".score_nets.{}.") for name in predictors}
    last = max((int(name.split(".score_nets.")[1].split(".")[0]) for name in predictors), default=0)
    return {form.format(last): groups[name] for name, form in first.items() if form != name}


def _stated(case: GoldenCase) -> Stated:
    header = case.header
    models = {
        name: {key: value for key, value in facts.items() if key != "line_format"}
        for name, facts in header["models"].items()
    }
    groups = header["param_groups"]
    known = {name: next(m for m in models if m.startswith(f"{name}/") or m == name) for name in groups}
    return Stated(
        given={
            "wanted_models": {name: sorted(facts) for name, facts in models.items()},
            "wanted_groups": {name: model.removeprefix(name) for name, model in known.items()},
        },
        expected={f"output.models.{name}": json_tensor(facts) for name, facts in models.items()}
        | {f"output.groups.{name}": json_tensor(own) for name, own in groups.items()},
    )


RUNNERS: Mapping[str, Runner] = {"geminifusion/manifests": Runner(run=_lists, states=_stated)}
"""What is compared stands in the JSON, which has no tensors."""
