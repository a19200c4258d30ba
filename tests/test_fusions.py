"""The contract, run on every registered fusion part; a new part needs one line in `CASES`."""

from functools import partial
from typing import Any

import pytest
import torch

from fuseloom.registry import FUSION_KINDS, list_fusions, lookup
from fuseloom.testing import Case, Clause, exchange_clauses, merge_clauses

CLAUSES = {"exchange": exchange_clauses(), "merge": merge_clauses()}
NAMES = {name: kind for kind in FUSION_KINDS for name in list_fusions(kind=kind)}


def case(name: str, *, aligned: bool | None = None, **options: Any) -> Case:
    """A registered part with options of its own."""
    build = partial(lookup(name), **options) if options else lookup(name)
    return Case.of(build, NAMES[name], aligned=aligned)


CASES = {
    "bilinear": [case("bilinear"), case("bilinear", pool=None, aligned=True)],
    "concat": [case("concat"), case("concat", pool=None, aligned=True)],
    "cross_attention": [case("cross_attention"), case("cross_attention", num_heads=2, dim=6)],
    "film": [case("film"), case("film", dim=6), case("film", pool=None, aligned=True)],
    "low_rank": [case("low_rank"), case("low_rank", rank=2, dim=6)],
    "max": [case("max"), case("max", pool=None, aligned=True)],
    "mean": [case("mean"), case("mean", pool=None, aligned=True)],
    "multiplicative_interactions": [
        case("multiplicative_interactions"),
        case("multiplicative_interactions", form="matrix", dim=6),
        case("multiplicative_interactions", form="scalar", pool=None, aligned=True),
    ],
    "product": [case("product"), case("product", pool=None, factor_dim=9, aligned=True)],
    "sum": [case("sum"), case("sum", pool=None, aligned=True)],
    "tensor": [
        case("tensor"),
        case("tensor", chunk=2, dim=3),
        case("tensor", pool=None, aligned=True),
    ],
    "weighted_sum": [
        case("weighted_sum"),
        case("weighted_sum", weight_per="feature"),
        case("weighted_sum", pool=None, aligned=True),
    ],
}


def runs() -> list[Any]:
    """One test per part, option and clause; the costly clauses run on the first options only."""
    return [
        pytest.param(one, clause, id=f"{name}-{index}-{clause.name}", marks=marks(clause))
        for name, cases in CASES.items()
        for index, one in enumerate(cases)
        for clause in CLAUSES[one.kind]
        if index == 0 or not clause.marks
    ]


def marks(clause: Clause) -> list[pytest.MarkDecorator]:
    found = [getattr(pytest.mark, mark) for mark in clause.marks]
    no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    return [*found, no_gpu] if "gpu" in clause.marks else found


@pytest.mark.parametrize(("one", "clause"), runs())
def test_the_contract_holds(one: Case, clause: Clause) -> None:
    clause(one)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_part_has_a_case(name: str) -> None:
    assert name in CASES, f"add a line for {name!r} to CASES"
