"""Multimodal residual optimisation: simple interactions first, the rest fits what they leave."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations
from operator import add
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.merge._base import Merge, Pool, pool_streams
from fuseloom.nn import masked_mean, perceptron, subset_products
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["Form", "Mro", "convert_mro", "interaction_places"]

Form = Literal["early", "tensor"]


@register("mro")
class Mro(Merge):
    r"""A prediction of each modality, each pair and each triple, where each order fits what the lower leave.

    .. math::

        \hat y = \sum_{i=1}^{k} \hat y_i, \quad \hat y_i = \sum_{S : |S| = i} f_S(x_S), \qquad
        L = \sum_{i=1}^{k} \ell \Big( y, \text{sg} \Big( \sum_{j<i} \hat y_j \Big) + \hat y_i \Big)

    ``early``: every ``f_S`` is a perceptron on the concatenation of the modalities of ``S``. ``tensor``: one
    perceptron per modality with ReLU at its end makes ``h_m``, and ``f_S`` is a linear map of the outer
    product of the ``h_m`` of ``S``; the ``h_m`` hear the losses of all orders, so the orders separate less.

    In training with a trace, the lower cumulative predictions are filed there as predictions, and of the
    output itself only the highest order gets a gradient: together that is ``L``. `focus` fits one order alone
    (sequential MRO, ``FitConfig(sequential=True)``). A term that needs an absent modality is zero. The trace
    records the orders as ``order_1``, ``order_2``, ..., ``[B, dim]``.

    Paper: Wörtwein et al., Findings of EMNLP 2022. Differs from the official code: there may be any number
    of modalities; pairs and triples stand in the order of ``dims``.

    Args:
        dims: Modality name -> width.
        dim: Number of outputs of the prediction.
        form: ``early`` or ``tensor``.
        hidden: Widths of the hidden layers of the perceptrons; of ``tensor`` the last is the width of ``h``.
        order: Largest number of modalities of a term.
        residual: False trains the plain sum (the "joint" baseline of the paper).
        pool: Makes tokens and feature maps one vector.

    Raises:
        ModalityError: fewer than two modalities.
        OptionError: an unknown form, no hidden layer or an order below one.

    Example:
        >>> merge = Mro({"text": 6, "audio": 4}, dim=3)
        >>> trace = Trace()
        >>> fused = merge.eval()({"text": torch.ones(2, 6), "audio": torch.ones(2, 4)}, trace=trace)
        >>> torch.allclose(fused, trace.records["order_1"] + trace.records["order_2"])
        True
    """

    card = Card(
        summary="Uni-, bi- and trimodal predictions, each fitted on what the simpler ones leave.",
        interaction="nonlinear",
        cost="sum_S H sum_(m in S) D_m",
        parameters="per subset of modalities up to the order",
        arity=(2, None),
        level="output",
        paper="Wörtwein et al., 2022, Findings of EMNLP",
        code="twoertwein/MultimodalResidualOptimization",
        differs="Any number of modalities; terms of absent modalities are zero.",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int | None = None,
        *,
        form: Form = "early",
        hidden: Sequence[int] = (32,),
        order: int = 3,
        residual: bool = True,
        pool: Pool = masked_mean,
    ) -> None:
        super().__init__(dims, dim)
        if form not in _FORMS:
            raise OptionError(f"form must be one of {sorted(_FORMS)}, got {form!r}.")
        if order < 1 or not hidden:
            raise OptionError(
                f"order and the number of hidden layers must be at least 1, got {order} and {len(hidden)}."
            )
        self.residual = residual
        self.pool = pool
        subsets = list(_subsets(self.dims, order))
        self.orders = max(map(len, subsets))
        self.terms: _Early | _Tensor = _FORMS[form](self.dims, subsets, hidden, self.dim)
        self._stage: int | None = None

    @property
    def num_stages(self) -> int:
        """Number of orders that `focus` can fit one after another."""
        return self.orders

    def focus(self, stage: int | None) -> None:
        """Predict with the orders up to a stage (from 0) and train only its terms; None: all of both."""
        self._stage = stage
        for name, parameter in self.terms.named_parameters():
            parameter.requires_grad_(stage is None or self.terms.stage_of(name) == stage)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        pooled, here = pool_streams(streams, masks, self.pool)
        values = dict(zip(self.dims, pooled, strict=True))
        present = {name: mask for name, mask in zip(self.dims, here, strict=True) if mask is not None}
        parts = self.terms(values, present, self.orders if self._stage is None else self._stage + 1)
        if trace is not None:
            for order, part in enumerate(parts, start=1):
                trace.record(f"order_{order}", part)
        if trace is not None and self.training and self.residual and self._stage is None:
            return _cumulative(parts, trace)
        total: Tensor = reduce(add, parts)  # of a stage: the terms below it do not train
        return total


def _cumulative(parts: Sequence[Tensor], trace: Trace) -> Tensor:
    prediction = parts[0]
    for order, part in enumerate(parts[1:], start=1):
        trace.prediction(f"order_{order}", prediction)
        prediction = prediction.detach() + part
    return prediction


def _subsets(dims: Mapping[str, int], order: int) -> Iterator[tuple[str, ...]]:
    for size in range(1, min(order, len(dims)) + 1):
        yield from combinations(dims, size)


def _key(subset: Sequence[str]) -> str:
    return "+".join(subset)  # no modality name holds a plus


class _Early(nn.Module):
    """A perceptron per subset, on the concatenation of its modalities."""

    def __init__(
        self, dims: Mapping[str, int], subsets: Sequence[tuple[str, ...]], hidden: Sequence[int], dim: int
    ) -> None:
        super().__init__()
        self.subsets = subsets
        self.part = nn.ModuleDict(
            {_key(subset): perceptron([sum(dims[n] for n in subset), *hidden, dim]) for subset in subsets}
        )

    def forward(self, values: Streams, present: Masks, orders: int) -> list[Tensor]:
        """Sum of the terms of each order, ``[B, dim]``."""
        sums: list[Tensor] = []
        for size in range(1, orders + 1):
            chosen = [subset for subset in self.subsets if len(subset) == size]
            sums.append(reduce(add, (_where_present(self._term(s, values), s, present) for s in chosen)))
        return sums

    def _term(self, subset: Sequence[str], values: Streams) -> Tensor:
        term: Tensor = self.part[_key(subset)](torch.cat([values[name] for name in subset], -1))
        return term

    def stage_of(self, parameter: str) -> int:
        """The stage that a parameter belongs to."""
        return parameter.split(".")[1].count("+")


class _Tensor(nn.Module):
    """A linear map of the outer product of the subset's embeddings."""

    def __init__(
        self, dims: Mapping[str, int], subsets: Sequence[tuple[str, ...]], hidden: Sequence[int], dim: int
    ) -> None:
        super().__init__()
        self.subsets = subsets
        self.embed = nn.ModuleDict(
            {name: perceptron([width, *hidden], last_relu=True) for name, width in dims.items()}
        )
        width, starts = hidden[-1], {}
        for subset in subsets:
            starts[_key(subset)] = torch.randn(dim, width ** len(subset)) / width ** (len(subset) / 2)
        self.part = nn.ParameterDict(starts)
        self.bias = nn.ParameterList([torch.zeros(dim) for _ in range(max(map(len, subsets)))])

    def forward(self, values: Streams, present: Masks, orders: int) -> list[Tensor]:
        """Sum of the terms of each order, ``[B, dim]``."""
        embedded = {
            name: _where_present(self.embed[name](value), [name], present) for name, value in values.items()
        }
        products = subset_products(embedded, [subset for subset in self.subsets if len(subset) <= orders])
        sums: list[Tensor] = []
        for size, bias in zip(range(1, orders + 1), self.bias, strict=False):
            chosen = [subset for subset in products if len(subset) == size]
            joined = torch.cat([self.part[_key(subset)] for subset in chosen], -1)
            sums.append(F.linear(torch.cat([products[subset] for subset in chosen], -1), joined, bias))
        return sums

    def stage_of(self, parameter: str) -> int:
        """The stage that a parameter belongs to; the embeddings are fitted with the first."""
        part, key = parameter.split(".")[:2]
        return int(key) if part == "bias" else key.count("+")


_FORMS: Mapping[str, type[_Early] | type[_Tensor]] = {"early": _Early, "tensor": _Tensor}


def _where_present(term: Tensor, subset: Sequence[str], present: Masks) -> Tensor:
    here = [present[name] for name in subset if name in present]
    return term.masked_fill(~reduce(torch.logical_and, here).unsqueeze(-1), 0) if here else term


_PAIRS = {"bi_a_modal": (0, 1), "bi_b_modal": (1, 2), "bi_c_modal": (0, 2)}


def convert_mro(state: Mapping[str, Tensor], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `Mro` from the official one, of either form.

    Args:
        state: Keys ``uni_modals.*``, ``bi_?_modal.*``, ``tri_modal.*`` (early) or ``before.*``, ``after.*``.
        dims: Two or three modalities in the official order.

    Returns:
        What ``Mro(dims, dim, form=form, hidden=hidden).load_state_dict`` takes.
    """
    names = list(dims)
    converted = {}
    for key, value in state.items():
        owner, *rest = key.split(".")
        match owner:
            case "uni_modals":
                converted[f"terms.part.{names[int(rest[1])]}.{'.'.join(rest[3:])}"] = value
            case "before":
                converted[f"terms.embed.{names[int(rest[0])]}.{'.'.join(rest[2:])}"] = value
            case "after":
                converted |= _after(int(rest[0]), rest[-1], value, names)
            case _:
                members = [names[i] for i in _PAIRS.get(owner, range(len(names)))]
                converted[f"terms.part.{_key(members)}.{'.'.join(rest[1:])}"] = value
    return converted


def _after(order: int, kind: str, value: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """A map of the interaction terms of one order, split by the subsets that they come from."""
    if kind == "bias":
        return {f"terms.bias.{order}": value}
    subsets = list(combinations(range(len(names)), order + 1))
    width = round((value.shape[1] / len(subsets)) ** (1 / (order + 1)))
    places = interaction_places([width] * len(names))
    ranks = torch.cat([places[subset] for subset in subsets]).argsort().argsort()
    columns = torch.split(ranks, [len(places[subset]) for subset in subsets])
    keys = [_key([names[i] for i in subset]) for subset in subsets]
    return {f"terms.part.{key}": value[:, own] for key, own in zip(keys, columns, strict=True)}


def interaction_places(widths: Sequence[int]) -> dict[tuple[int, ...], Tensor]:
    """Where the products of each subset stand in the flattened outer product of all ``[x_m; 1]``.

    Args:
        widths: ``D_m`` of each modality.

    Returns:
        Subset of the modalities' places -> indices, those of the first modality slowest.

    Example:
        >>> {subset: places.tolist() for subset, places in interaction_places([1, 2]).items()}
        {(0,): [2], (1,): [3, 4], (0, 1): [0, 1]}
    """
    grid = torch.cartesian_prod(*(torch.arange(width + 1) for width in widths)).view(-1, len(widths))
    inside = grid < torch.tensor(widths)
    found = {}
    for size in range(1, len(widths) + 1):
        for subset in combinations(range(len(widths)), size):
            wanted = torch.tensor([place in subset for place in range(len(widths))])
            found[subset] = (inside == wanted).all(-1).nonzero().flatten()
    return found
