import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fuseloom import Batch
from fuseloom.tasks.classification import Classification
from fuseloom.train.modality_dropout import drop_modalities
from fuseloom.train.step import training_loss, training_step

TASK = Classification(["a", "b"])


def present(batch):
    masks = [batch.mask_of(name) for name in ("vector", "steps", "bytes")]
    return torch.stack([mask.flatten(1).any(1) if mask.dim() > 1 else mask for mask in masks], 1)


@st.composite
def batches(draw):
    """Three modalities of all kinds, with masks of all kinds or none."""
    rows, seed = draw(st.integers(1, 6)), draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        "vector": torch.randn(rows, 4, generator=generator),
        "steps": torch.randn(rows, 3, 2, generator=generator),
        "bytes": torch.randint(256, (rows, 5), generator=generator, dtype=torch.uint8),
    }
    shapes = {"vector": (rows,), "steps": (rows, 3), "bytes": (rows, 5)}
    masked = draw(st.sets(st.sampled_from(sorted(shapes))))
    masks = {name: torch.rand(shapes[name], generator=generator) < 0.5 for name in masked}
    return Batch(inputs=inputs, masks=masks), seed


@given(batches(), st.floats(0.01, 0.99))
def test_what_goes_goes_as_a_whole_and_something_of_each_row_stays(drawn, p):
    batch, seed = drawn
    torch.manual_seed(seed)
    dropped = drop_modalities(batch, p)
    before, after = present(batch), present(dropped)
    assert not (after & ~before).any()
    assert after.any(1).equal(before.any(1))
    for place, name in enumerate(("vector", "steps", "bytes")):
        kept = after[:, place] | ~before[:, place]
        assert dropped.inputs[name] is batch.inputs[name]
        whole = batch.mask_of(name)[kept]
        assert dropped.masks[name][kept].equal(whole)
        assert not dropped.masks[name][~kept].any()


@given(batches(), st.floats(0.01, 0.99))
def test_equal_seeds_drop_equally_whatever_the_order_of_modalities(drawn, p):
    batch, seed = drawn
    turned = Batch(inputs=dict(reversed(batch.inputs.items())), masks=batch.masks)
    found = []
    for one in (batch, batch, turned):
        torch.manual_seed(seed)
        found.append(present(drop_modalities(one, p)))
    assert found[0].equal(found[1])
    assert found[0].equal(found[2])


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_each_modality_goes_as_often_as_is_said(p):
    rows = Batch(inputs={name: torch.zeros(40_000, 1) for name in ("vector", "steps", "bytes")})
    kept = present(drop_modalities(rows, p)).double()
    torch.testing.assert_close(1 - kept.mean(0), torch.full((3,), p - p**3 / 3).double(), atol=0.01, rtol=0)
    only = (kept.sum(1) == 1).double().mean()
    assert only == pytest.approx(3 * (1 - p) * p**2 + p**3, abs=0.01)


def test_one_modality_or_no_dropout_leaves_rows_and_generator_as_they_are():
    state = torch.get_rng_state()
    one, two = Batch(inputs={"a": torch.ones(2, 3)}), Batch(inputs={n: torch.ones(2, 3) for n in "ab"})
    assert drop_modalities(one, 0.9) is one
    assert drop_modalities(two, 0.0) is two
    assert torch.get_rng_state().equal(state)


class _Sum(nn.Module):
    """Adds what is there."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs, masks=None, *, trace=None):
        there = [
            value.masked_fill(~masks[n][:, None], 0) if n in masks else value for n, value in inputs.items()
        ]
        return self.linear(sum(there))


def test_the_training_loss_is_that_of_the_rows_that_are_left_and_a_step_repeats_with_its_seed():
    rows = Batch(inputs={n: torch.randn(64, 2) for n in "ab"}, target=torch.randint(2, (64,)))
    model = _Sum()
    torch.manual_seed(3)
    wanted = training_loss(model, drop_modalities(rows, 0.5), TASK)
    torch.manual_seed(3)
    torch.testing.assert_close(training_loss(model, rows, TASK, modality_dropout=0.5), wanted)
    assert not training_loss(model, rows, TASK).equal(wanted)
    weights = []
    for _ in range(2):
        torch.manual_seed(4)
        model = _Sum()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        training_step(model, rows, TASK, optimizer, modality_dropout=0.5)
        weights.append(model.linear.weight.detach().clone())
    assert weights[0].equal(weights[1])
