"""Runners of the partial information decomposition and of its BATCH estimator (PID repository)."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.diagnose.batch_pid import AlignedInformation, AlignmentNetwork
from fuseloom.errors import DataError
from fuseloom.metrics.information.decomposition import decompose
from fuseloom.metrics.information.entropy import mutual_information
from fuseloom.nn.perceptron import perceptron
from fuseloom.nn.sinkhorn import sinkhorn
from fuseloom.testing.goldens._case import Given, Runner, Tolerance, apply_part, leaf

__all__ = ["RUNNERS"]

_TABLE = "P_"
_EXPERTS = ("discrim_1", "discrim_2", "discrim_12")


def _pid(given: Given) -> dict[str, Tensor]:
    tables = given.inputs.under(_TABLE)
    if not tables:
        return _of_samples(given)
    out = {}
    for name, tensor in tables.items():
        table = tensor.numpy()
        parts = _parts(table)
        first, second = (mutual_information(table.sum(axis)) for axis in (1, 0))
        both = mutual_information(table.reshape(-1, table.shape[2]))
        out[f"output.rus_{name}"] = out[f"output.rus_default_solver_{name}"] = parts
        out[f"output.mi_{name}"] = torch.tensor([first, second, both, first + second - both]).double()
    return out


def _of_samples(given: Given) -> dict[str, Tensor]:
    """The table of samples, symbols in the order that the case states."""
    orders = given.option("symbol_order")
    codes = [
        _places(given.inputs[name], order) for name, order in zip(("x1", "x2", "y"), orders, strict=True)
    ]
    shape = tuple(map(len, orders))
    cells = np.ravel_multi_index(tuple(codes), shape)
    table = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape) / len(cells)
    return {"output.P": torch.from_numpy(table), "output.rus": _parts(table)}


def _places(values: Tensor, order: list[int]) -> NDArray[np.intp]:
    places = {symbol: place for place, symbol in enumerate(order)}
    if unknown := sorted(set(values.flatten().tolist()) - places.keys()):
        raise DataError(f"Symbols must be of {order}, got {unknown[0]}.")
    return np.array([places[symbol] for symbol in values.flatten().tolist()])


def _parts(table: NDArray[np.float64]) -> Tensor:
    found = decompose(table, unit="nats")
    return torch.tensor([found.redundant, *found.unique, found.synergistic], dtype=torch.float64)


def _forward(given: Given) -> dict[str, Tensor]:
    first, second, _ = (given.inputs[name] for name in ("x1", "x2", "y"))  # the labels are given and not used
    num_classes, sizes = given.option("num_labels"), _sizes(given)
    with torch.device("meta"):
        network = AlignmentNetwork((first.shape[1], second.shape[1]), num_classes, **sizes)
    weights = {name: leaf(value) for name, value in given.weights.under("align.").items()}
    own = {name.replace("mlp1", "first").replace("mlp2", "second"): w for name, w in weights.items()}
    predictions = [
        _expert(given, name, values, num_classes).softmax(-1)
        for name, values in zip(_EXPERTS, (first, second, torch.cat([first, second], 1)), strict=True)
    ]
    pairs = apply_part(network, own, first, second)
    found = AlignedInformation.of(pairs, predictions, given.weights["p_y"])
    found_gradients = torch.autograd.grad(found.loss, list(weights.values()))
    return {
        "output.loss": found.loss[None],
        "output.rus": found.parts,
        "output.align": found.joint.permute(1, 2, 0),
    } | {f"grad.weight.align.{n}": g for n, g in zip(weights, found_gradients, strict=True)}


def _sizes(given: Given) -> dict[str, int]:
    names = {"hidden": "hidden_dim", "layers": "layers", "dim": "embed_dim"}
    return {own: given.option(theirs) for own, theirs in names.items()}


def _expert(given: Given, name: str, values: Tensor, num_classes: int) -> Tensor:
    """Outputs of one of the networks that predict the label."""
    sizes = given.option("discrim")
    with torch.device("meta"):
        network = perceptron([values.shape[1], *[sizes["hidden"]] * (sizes["layers"] + 1), num_classes])
    return apply_part(network, given.weights.under(f"{name}.mlp."), values)


def _sinkhorn(given: Given) -> dict[str, Tensor]:
    sums = [given.inputs[name] for name in ("matrix", "x1_probs", "x2_probs")]
    return {
        "output.one_step": sinkhorn(*sums, max_rounds=1),
        "output.converged": sinkhorn(*sums, max_rounds=given.option("iterations")),
    }


RUNNERS: Mapping[str, Runner] = {
    "lecture/batchpid_forward": Runner(run=_forward),
    "lecture/batchpid_sinkhorn": Runner(run=_sinkhorn),
    "lecture/pid": Runner(
        run=_pid,
        # The default solver of the authors' program stops up to 1e-4 away from its optimum.
        accuracy={"output.rus_default_solver_*": Tolerance(atol=1e-4)},
    ),
}
