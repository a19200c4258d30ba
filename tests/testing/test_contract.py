"""What a third party types, and what they are told."""

import functools
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import ContractError, MissingExtraError, ModalityError, OptionError
from fuseloom.exchange import Exchange
from fuseloom.exchange.cross_attention import CrossAttention
from fuseloom.merge import Merge
from fuseloom.merge.low_rank import LowRank
from fuseloom.merge.sum import Sum
from fuseloom.registry import Card
from fuseloom.testing import Case, check_exchange, check_merge, exchange_clauses, merge_clauses
from fuseloom.testing._graph import expect_same_on
from fuseloom.types import Masks, Streams, Trace

COSTLY = ("compiles", "exports")


def check_equal_widths(dims: dict[str, int]) -> None:
    if len(set(dims.values())) > 1:
        raise ModalityError(f"Widths must be equal, got {dims}.")


class Scored(Exchange):
    """Adds to each token what the others say, as much as its score from outside asks for."""

    card = Card(
        summary="Scored.",
        interaction="nonlinear",
        cost="D^2",
        parameters="shared",
        ranks=("tokens",),
        arity=(2, None),
        reads=("scores",),
        symmetric=True,
    )

    def __init__(self, dims: Any) -> None:
        super().__init__(dims)
        check_equal_widths(self.dims)
        width = next(iter(self.dims.values()))
        self.mix = nn.Linear(width, width)

    def exchange(
        self, streams: Streams, masks: Masks, *, scores: dict[str, Tensor] | None = None, **_: Any
    ) -> Streams:
        if scores is None:
            raise OptionError("scores must be given.")
        sums = {name: value.sum(1) for name, value in streams.items()}
        total = functools.reduce(torch.add, sums.values())
        said = {name: self.mix(total - own).tanh()[:, None] for name, own in sums.items()}
        return {name: value + scores[name][..., None] * said[name] for name, value in streams.items()}


def score_tokens(streams: Streams, masks: Masks) -> dict[str, Any]:
    kept = {n: v.masked_fill(~masks[n][..., None], 0) if n in masks else v for n, v in streams.items()}
    return {"scores": {name: value.mean(-1).sigmoid() for name, value in kept.items()}}


class Vote(Merge):
    """Mean of the logits that are there; no parameters."""

    card = Card(
        summary="Vote.",
        interaction="additive",
        cost="K",
        parameters="none",
        ranks=("embedding",),
        level="decision",
        symmetric=True,
    )

    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        check_equal_widths(self.dims)

    def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
        logits = torch.stack(list(streams.values()), 1)
        real = [
            masks.get(name, value.new_ones(value.shape[0], dtype=torch.bool))
            for name, value in streams.items()
        ]
        return logits.sum(1) / torch.stack(real, 1).sum(1, keepdim=True).clamp(min=1).to(logits.dtype)


class Loudest(Merge):
    """Takes one modality per sample, by a score that is learnt through the soft choice."""

    card = Card(
        summary="Loudest.",
        interaction="nonlinear",
        cost="D",
        parameters="per modality",
        ranks=("embedding",),
        arity=(2, None),
        discrete=True,
    )

    def __init__(self, dims: Any, dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.embed = nn.ModuleDict({n: nn.Linear(width, self.dim + 1) for n, width in self.dims.items()})

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **_: Any) -> Tensor:
        embedded = torch.stack([self.embed[name](value) for name, value in streams.items()], 1)
        real = [masks.get(n, v.new_ones(v.shape[0], dtype=torch.bool)) for n, v in streams.items()]
        absent = ~torch.stack(real, 1)
        scores = embedded[..., 0].masked_fill(absent, torch.finfo(embedded.dtype).min)
        soft = scores.softmax(1).masked_fill(absent, 0)
        hard = torch.zeros_like(soft).scatter(1, scores.argmax(1, keepdim=True), 1).masked_fill(absent, 0)
        if trace is not None:
            trace.record("choice", hard)
            trace.loss("balance", soft.mean(0).square().sum())
        return torch.einsum("bm,bmd->bd", hard + soft - soft.detach(), embedded[..., 1:])


@pytest.mark.compile
def test_a_class_passes_every_clause_in_one_call() -> None:
    check_merge(Sum)


def test_a_factory_passes() -> None:
    check_exchange(lambda dims: CrossAttention(dims, num_heads=2), skip=COSTLY)


@pytest.mark.parametrize(
    ("inner", "arity", "interaction"), [(Sum, (1, 1), "additive"), (LowRank, (2, 2), "multiplicative")]
)
def test_a_part_may_have_a_fixed_number_of_modalities(
    inner: type[Merge], arity: tuple[int, int], interaction: Any
) -> None:
    class Fixed(Merge):
        card = Card(summary="-", interaction=interaction, cost="D", parameters="-", arity=arity)

        def __init__(self, dims: Any, dim: int | None = None) -> None:
            super().__init__(dims, dim)
            self.inner = inner(self.dims, self.dim)

        def merge(self, streams: Streams, masks: Masks, **_: Any) -> Tensor:
            moved = {n: v.movedim(-1, 1) if v.dim() == 4 else v for n, v in streams.items()}
            fused: Tensor = self.inner(moved, masks)
            return fused

    check_merge(Fixed, skip=COSTLY)


def test_a_discrete_choice_passes() -> None:
    check_merge(Loudest, skip=COSTLY)


@pytest.mark.compile
def test_what_the_card_reads_is_passed_and_exported() -> None:
    check_exchange(Scored, equal_widths=True, reads=score_tokens, skip=("compiles",))


@pytest.mark.compile
def test_a_decision_level_merge_without_parameters_passes() -> None:
    check_merge(Vote, skip=("compiles",))


def test_positions_are_kept_where_streams_are_aligned() -> None:
    check_merge(lambda dims: Sum(dims, pool=None), aligned=True, skip=COSTLY)


def test_streams_without_common_positions_are_a_finding_unless_aligned() -> None:
    with pytest.raises(ContractError, match="sum breaks 'shape_and_dtype': shape of fused for text"):
        check_merge(lambda dims: Sum(dims, pool=None))


def test_what_is_missing_from_reads_is_named() -> None:
    with pytest.raises(ContractError, match=r"'shape_and_dtype': .* OptionError: scores must be given"):
        check_exchange(Scored, equal_widths=True)


def test_an_exchange_is_no_merge() -> None:
    with pytest.raises(ContractError, match="breaks 'claims_complete': kind must be 'merge', got 'exchange'"):
        check_merge(CrossAttention)


def test_a_part_without_a_card_is_named() -> None:
    with pytest.raises(ContractError, match="Linear breaks 'claims_complete': card must be a Card, got None"):
        check_merge(lambda dims: nn.Linear(2, 2))


def test_a_factory_that_takes_no_number_of_modalities_is_named() -> None:
    def build(dims: Any) -> nn.Module:
        raise ModalityError("Never.")

    with pytest.raises(ContractError, match="build must make a part of one to four modalities, got Never"):
        check_merge(build)


def test_an_unknown_clause_cannot_be_skipped() -> None:
    with pytest.raises(OptionError, match=r"skip must name clauses, got 'compile'\. Did you mean 'compiles'"):
        check_merge(Sum, skip=("compile",))
    with pytest.raises(OptionError, match="skip must name clauses, got 'zero_under_mask'"):
        check_merge(Sum, skip=("zero_under_mask",))


def test_a_missing_hypothesis_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    everything_else = {clause.name for clause in merge_clauses()} - {"any_sizes"}
    with pytest.raises(MissingExtraError, match=r"pip install 'fuseloom\[testing\]'"):
        check_merge(Sum, skip=everything_else)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    for clause in exchange_clauses():
        if not clause.marks:
            clause(Case.of(CrossAttention, "exchange"))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_output_of_the_wrong_kind_is_named() -> None:
    layout = Case.of(Sum, "merge").main_layout()
    part = Sum(layout.dims)
    with pytest.raises(ContractError, match=r"output must be a dict of .*'text'.*, got Tensor"):
        Case.of(Sum, "exchange").run(part, layout.draw())


def test_names_of_clauses_are_unique_and_exchanges_have_them_all() -> None:
    names = [clause.name for clause in exchange_clauses()]
    assert len(set(names)) == len(names)
    assert {clause.name for clause in merge_clauses()} < set(names)


def test_what_runs_on_cuda_is_checked_on_any_device() -> None:
    expect_same_on(Case.of(LowRank, "merge"), "cpu")
    with pytest.raises(ContractError, match="output must be one tensor, got"):
        expect_same_on(Case.of(CrossAttention, "merge"), "cpu")
