from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from fuseloom.nn.attentive_lstm import Memory, attentive_lstm, attentive_step

BATCH, PATCHES, DIM, KEY, HIDDEN, STEPS = 3, 4, 5, 6, 2, 4


@dataclass
class Parts:
    """The plain layers that the weights of a memory are of."""

    query: nn.Linear
    gate: nn.Linear
    cell: nn.LSTMCell
    tokens: Tensor
    keys: Tensor
    score: Tensor
    mask: Tensor | None = None

    def memory(self) -> Memory:
        """All weights joined; the cell's input is only what is seen."""
        return Memory(
            tokens=self.tokens,
            keys=self.keys,
            score=self.score,
            hidden_weight=torch.cat([self.query.weight, self.gate.weight, self.cell.weight_hh]),
            hidden_bias=torch.cat([self.query.bias, self.gate.bias, self.cell.bias_hh]),
            seen_weight=self.cell.weight_ih[:, HIDDEN:],
            mask=self.mask,
        )

    def step(self, words: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With torch's own LSTM, ``[B, H]`` words."""
        scores = (self.keys + self.query(hidden)[:, None]).relu() @ self.score
        if self.mask is not None:
            scores = scores.masked_fill(~self.mask, -torch.inf)
        attention = scores.softmax(1)
        seen = self.gate(hidden).sigmoid() * torch.einsum("bp,bpd->bd", attention, self.tokens)
        hidden, cell = self.cell(torch.cat([words, seen], 1), (hidden, cell))
        return hidden, cell, attention

    def inputs(self, words: Tensor) -> Tensor:
        """What words give to the gates."""
        return words @ self.cell.weight_ih[:, :HIDDEN].T + self.cell.bias_ih


@pytest.fixture(params=[False, True], ids=["whole", "masked"])
def parts(request: pytest.FixtureRequest) -> Parts:
    mask = torch.tensor([[True] * 4, [True, False, False, True], [False, True, False, False]])
    tokens = torch.randn(BATCH, PATCHES, DIM)
    return Parts(
        query=nn.Linear(HIDDEN, KEY),
        gate=nn.Linear(HIDDEN, DIM),
        cell=nn.LSTMCell(HIDDEN + DIM, HIDDEN),
        tokens=tokens.masked_fill(~mask[..., None], 0) if request.param else tokens,
        keys=torch.randn(BATCH, PATCHES, KEY),
        score=torch.randn(KEY),
        mask=mask if request.param else None,
    )


def test_it_is_torchs_lstm_with_what_is_seen_beside_the_input(parts: Parts) -> None:
    words, state = torch.randn(BATCH, STEPS, HIDDEN), (torch.randn(BATCH, HIDDEN), torch.randn(BATCH, HIDDEN))
    states, looks = attentive_lstm(parts.memory(), parts.inputs(words), *state)
    for step in range(STEPS):
        *state, attention = parts.step(words[:, step], *state)
        torch.testing.assert_close(states[:, step], state[0])
        torch.testing.assert_close(looks[:, step], attention)


def test_several_sequences_of_a_sample_do_not_meet(parts: Parts) -> None:
    words, hidden, cell = (torch.randn(BATCH, 3, HIDDEN) for _ in range(3))
    found = attentive_step(parts.memory(), parts.inputs(words), hidden, cell)
    for one in range(3):
        expected = parts.step(words[:, one], hidden[:, one], cell[:, one])
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[:, one], theirs)


def test_a_sample_without_tokens_sees_nothing(parts: Parts) -> None:
    memory = parts.memory()._replace(
        mask=torch.zeros(BATCH, PATCHES, dtype=torch.bool), tokens=0 * parts.tokens
    )
    words, hidden, cell = (torch.randn(BATCH, HIDDEN) for _ in range(3))
    states, looks = attentive_lstm(memory, parts.inputs(words)[:, None], hidden, cell)
    assert not looks.any()
    nothing = torch.cat([words, torch.zeros(BATCH, DIM)], 1)
    torch.testing.assert_close(states[:, 0], parts.cell(nothing, (hidden, cell))[0])


def test_its_gradient_is_that_of_differences(parts: Parts) -> None:
    memory = parts.memory()
    floating = [value.detach().double().requires_grad_() for value in memory[:-1]]
    more = [
        torch.randn(*shape).double().requires_grad_() for shape in ((BATCH, 2, 4 * HIDDEN), (BATCH, HIDDEN))
    ]

    def run(*given: Any) -> tuple[Tensor, Tensor]:
        return attentive_lstm(Memory(*given[:6], mask=memory.mask), given[6], given[7], given[7])

    assert gradcheck(run, [*floating, *more], fast_mode=True)


def test_half_precision_keeps_the_cell_and_the_attention_in_single(parts: Parts) -> None:
    memory = Memory(*(value.bfloat16() for value in parts.memory()[:-1]), mask=parts.mask)
    inputs, hidden = torch.randn(BATCH, 1, 4 * HIDDEN), torch.randn(BATCH, 1, HIDDEN)
    found = attentive_step(memory, inputs.bfloat16(), hidden.bfloat16(), hidden)
    assert [value.dtype for value in found] == [torch.bfloat16, torch.float32, torch.float32]
    torch.testing.assert_close(found[2].sum(-1), torch.ones(BATCH, 1))
    wide = attentive_step(parts.memory(), inputs, hidden, hidden)
    for ours, theirs in zip(found, wide, strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=0.05, rtol=0.05)
