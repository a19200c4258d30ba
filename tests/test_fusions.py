"""The contract, run on every registered fusion part; a new part needs one line in `CASES`."""

from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch

from fuseloom.nn.tokens import as_tokens
from fuseloom.registry import FUSION_KINDS, list_fusions, lookup
from fuseloom.testing import Case, Clause, exchange_clauses, merge_clauses
from fuseloom.testing._case import Reads
from fuseloom.types import Alignment, Masks, Streams

CLAUSES = {"exchange": exchange_clauses(), "merge": merge_clauses()}
NAMES = {name: kind for kind in FUSION_KINDS for name in list_fusions(kind=kind)}


def case(
    name: str,
    *,
    aligned: bool | None = None,
    equal_widths: bool = False,
    reads: Reads | None = None,
    **options: Any,
) -> Case:
    """A registered part with options of its own."""
    build = partial(lookup(name), **options) if options else lookup(name)
    return Case.of(build, NAMES[name], aligned=aligned, equal_widths=equal_widths, reads=reads)


def crossed_pairs(streams: Streams, masks: Masks) -> dict[str, Any]:
    """An alignment between any two streams: the first token of one with the last of the other, and so on."""
    found = {}
    for source, target in combinations(sorted(streams), 2):
        count = min(as_tokens(streams[name]).shape[1] for name in (source, target))
        batch, device = streams[source].shape[0], streams[source].device
        place = torch.arange(2 * count, device=device).expand(batch, -1) % count  # each pair twice
        weight = torch.ones(batch, 2 * count, device=device)
        pairs = Alignment(source_index=place, target_index=place.flip(1), weight=weight)
        found[f"{target}_from_{source}"] = pairs
    return {"alignment": found}


CASES = {
    "attention_pool": [
        case("attention_pool"),
        case("attention_pool", num_heads=3, dim=8),
        case("attention_pool", num_heads=2, faithful=True),
    ],
    "bilinear": [case("bilinear"), case("bilinear", pool=None, aligned=True)],
    "bottleneck": [
        case("bottleneck", equal_widths=True),
        case("bottleneck", shared=True, num_tokens=2, num_layers=3, hidden=7, equal_widths=True),
    ],
    "channel_exchange": [
        case("channel_exchange", threshold=0.5, equal_widths=True),
        case("channel_exchange", threshold=0.5, norm="layer", faithful=True, equal_widths=True),
        case("channel_exchange", threshold=0.5, norm="instance", reduction="sum", equal_widths=True),
    ],
    "cls_exchange": [
        case("cls_exchange"),
        case("cls_exchange", theta=0.5, mode="replace", score="learned"),
        case("cls_exchange", theta=0.3, rule="threshold"),
        case("cls_exchange", theta=0.5, score="other_cls"),
        case("cls_exchange", theta=0.5, score="random"),
        case("cls_exchange", theta=0.5, score="norm", prefix=0),
        case("cls_exchange", theta=0.5, score="cosine", faithful=True),
    ],
    "concat": [case("concat"), case("concat", pool=None, aligned=True)],
    "cross_attention": [
        case("cross_attention"),
        case("cross_attention", num_heads=2, dim=6),
        case("cross_attention", targets=("audio",)),
    ],
    "dynamic": [
        case("dynamic"),
        case("dynamic", expert="low_rank", gate={"kind": "soft", "temperature": 0.5, "hidden": 9}),
        case("dynamic", dim=6, gate={"kind": "straight_through", "reads": ("audio",)}),
    ],
    "early_transformer": [
        case("early_transformer", hidden=(6,)),
        case("early_transformer"),
        case("early_transformer", pool=None, num_heads=1, hidden=(6,)),
        case("early_transformer", dim=6, faithful=True),
    ],
    "feature_swap": [
        case("feature_swap", reads=crossed_pairs),
        case("feature_swap", mix="gated", choose="last", reads=crossed_pairs),
        case("feature_swap", mix=0.3, level="hidden", readd="position", reads=crossed_pairs),
        case("feature_swap", mix="learned", choose="first", reads=crossed_pairs),
    ],
    "film": [case("film"), case("film", dim=6), case("film", pool=None, aligned=True)],
    "gated": [
        case("gated"),
        case("gated", gate_per="modality", gate_from="target"),
        case("gated", gate_from="others", pool=None, aligned=True),
        case("gated", kind="softmax", gate_from="target", temperature=0.5),
        case("gated", kind="sparsemax", gate_per="modality", gate_from="others"),
        case("gated", kind="straight_through", gate_per="modality"),
        case("gated", kind="gumbel", gate_from="target"),
        case("gated", kind="reinforce", gate_per="modality", dim=6),
    ],
    "late": [
        case("late"),
        case("late", combine="weighted"),
        case("late", combine="product", pool=None, aligned=True),
        case("late", combine="product", decision="sigmoid"),
        case("late", combine="product", decision="value"),
        case("late", combine="max"),
    ],
    "late_transformer": [
        case("late_transformer", hidden=(6,)),
        case("late_transformer"),
        case("late_transformer", dim=6, num_heads=2, hidden=(8,), faithful=True),
    ],
    "linear_logits": [case("linear_logits"), case("linear_logits", nonlinear="low_rank")],
    "low_rank": [case("low_rank"), case("low_rank", rank=2, dim=6)],
    "max": [case("max"), case("max", pool=None, aligned=True)],
    "mean": [case("mean"), case("mean", pool=None, aligned=True)],
    "mlp": [
        case("mlp"),
        case("mlp", hidden=(9, 6), activation="gelu"),
        case("mlp", pool=None, aligned=True),
    ],
    "modality_shift": [
        case("modality_shift"),
        case("modality_shift", primary="audio", beta=0.1, dropout=0.5),
    ],
    "mro": [case("mro"), case("mro", form="tensor", hidden=(7, 4)), case("mro", order=2, residual=False)],
    "mult": [
        case("mult"),
        case("mult", dim=6, hidden=(5,), num_heads=2, causal=True, faithful=True),
    ],
    "multiplicative_interactions": [
        case("multiplicative_interactions"),
        case("multiplicative_interactions", form="matrix", dim=6),
        case("multiplicative_interactions", form="scalar", pool=None, aligned=True),
    ],
    "nl_gate": [
        case("nl_gate"),
        case("nl_gate", dim=6, num_queries=2, num_keys=3),
        case("nl_gate", target="audio"),
    ],
    "pixel_attention": [
        case("pixel_attention", num_heads=2, equal_widths=True),
        case("pixel_attention", sharing="paper", relation=False, faithful=True, equal_widths=True),
    ],
    "polynomial": [
        case("polynomial", width=3),
        case("polynomial"),
        case("polynomial", width=None, degree=3, constant=0.0, pool=None, aligned=True),
    ],
    "product": [case("product"), case("product", pool=None, factor_dim=9, aligned=True)],
    "product_of_experts": [
        case("product_of_experts"),
        case("product_of_experts", prior=False, dim=3),
        case("product_of_experts", pool=None, aligned=True),
    ],
    "routing": [
        case("routing"),
        case("routing", order=2, concepts=(3, 5), feature_dim=6, iterations=2, dim=4),
        case("routing", order=1, iterations=1, pool=None, aligned=True),
    ],
    "sum": [case("sum"), case("sum", pool=None, aligned=True)],
    "tensor": [
        case("tensor"),
        case("tensor", chunk=2, dim=3),
        case("tensor", pool=None, aligned=True),
    ],
    "token_exchange": [
        case("token_exchange", threshold=0.75, equal_widths=True),
        case("token_exchange", threshold=0.75, form="token", choose="score", equal_widths=True),
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
    """Those of the clause; compiling takes minutes for all parts, and exporting captures the same graph."""
    found = [getattr(pytest.mark, mark) for mark in clause.marks]
    if clause.name == "compiles":
        found.append(pytest.mark.slow)
    no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    return [*found, no_gpu] if "gpu" in clause.marks else found


@pytest.mark.no_cover  # thousands of tests; the parts' own tests run the same lines
@pytest.mark.parametrize(("one", "clause"), runs())
def test_the_contract_holds(one: Case, clause: Clause) -> None:
    clause(one)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_part_has_a_case(name: str) -> None:
    assert name in CASES, f"add a line for {name!r} to CASES"
