from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fuseloom.types import Alignment, Batch, Selection, Trace

PAIRS = [[(0, 1), (2, 1, 0.5), (3, 0, 2.0)], [], [(4, 2, -1.0)]]


@pytest.fixture
def alignment() -> Alignment:
    return Alignment.from_pairs(PAIRS)


def plain_gather(pairs: list[Any], values: Tensor, num_targets: int) -> Tensor:
    out = torch.zeros(values.shape[0], num_targets, values.shape[-1], dtype=values.dtype)
    for sample, rows in enumerate(pairs):
        for source, target, *weight in rows:
            if 0 <= source < values.shape[1] and 0 <= target < num_targets:
                out[sample, target] += (weight[0] if weight else 1.0) * values[sample, source]
    return out


def test_predictions_and_feedback_are_filed_under_their_scope():
    trace = Trace(keep_records=False)
    view = trace.scope("merge")
    view.prediction("simple", torch.ones(2, 3))
    view.feedback("gate", torch.sum)
    assert list(trace.predictions) == ["merge.simple"]
    assert trace.feedbacks["merge.gate"](torch.ones(4)) == 4


def test_pairs_are_padded_with_holes(alignment: Alignment) -> None:
    assert alignment.source_index.tolist() == [[0, 2, 3], [-1, -1, -1], [4, -1, -1]]
    assert alignment.target_index.tolist() == [[1, 1, 0], [-1, -1, -1], [2, -1, -1]]
    assert alignment.weight.tolist() == [[1.0, 0.5, 2.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    assert alignment.real.sum(1).tolist() == [3, 0, 1]


@pytest.mark.parametrize("pairs", [[], [[], []]], ids=["no samples", "no pairs"])
def test_an_alignment_may_be_empty(pairs: list[Any]) -> None:
    alignment = Alignment.from_pairs(pairs)
    values = torch.randn(len(pairs), 4, 3)
    torch.testing.assert_close(alignment.gather(values, 2), torch.zeros(len(pairs), 2, 3))


def test_gather_is_the_weighted_sum_of_a_plain_loop(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    torch.testing.assert_close(alignment.gather(values, 3), plain_gather(PAIRS, values, 3))


def test_gather_of_many_random_pairs_is_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        [(int(rng.integers(-1, 8)), int(rng.integers(-1, 7)), float(rng.normal())) for _ in range(count)]
        for count in (0, 1, 12, 30)
    ]
    values = torch.randn(4, 6, 3, dtype=torch.float64)
    alignment = Alignment.from_pairs(pairs)
    torch.testing.assert_close(
        alignment.gather(values, 5), plain_gather(pairs, values, 5), rtol=1e-5, atol=1e-5
    )


def test_a_hole_has_no_effect_whatever_stands_in_it(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    clean = alignment.gather(values, 3)
    hole = ~alignment.real
    dirty = Alignment(
        source_index=alignment.source_index,
        target_index=torch.where(hole, 1, alignment.target_index),
        weight=alignment.weight.masked_fill(hole, torch.nan),
    )
    torch.testing.assert_close(dirty.gather(values, 3), clean)


def test_gradients_are_finite_beside_holes_and_reach_the_weights(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4, requires_grad=True)
    weight = alignment.weight.masked_fill(~alignment.real, torch.nan).requires_grad_()
    pairs = Alignment(source_index=alignment.source_index, target_index=alignment.target_index, weight=weight)
    pairs.gather(values, 3).sum().backward()
    assert values.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(values.grad[0, :, 0], torch.tensor([1.0, 0.0, 0.5, 2.0, 0.0]))
    torch.testing.assert_close(weight.grad[0, 0], values[0, 0].sum().detach())
    torch.testing.assert_close(weight.grad[1], torch.zeros(3))


def test_gather_keeps_the_dtype_of_the_values(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    low = alignment.gather(values.bfloat16(), 3)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), alignment.gather(values, 3), rtol=0.02, atol=0.02)


def test_a_hole_reads_no_token_whatever_it_holds(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    spoilt = values.clone()
    spoilt[1:, 0] = torch.nan  # holes would read token 0
    spoilt.requires_grad_()
    out = alignment.gather(spoilt, 3)
    torch.testing.assert_close(out, alignment.gather(values, 3))
    out.sum().backward()
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()


def test_gradients_of_gather_are_those_of_finite_differences(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 2, dtype=torch.float64, requires_grad=True)
    weight = alignment.weight.double().requires_grad_()

    def gathered(values: Tensor, weight: Tensor) -> Tensor:
        pairs = Alignment(
            source_index=alignment.source_index, target_index=alignment.target_index, weight=weight
        )
        return pairs.gather(values, 3)

    assert torch.autograd.gradcheck(gathered, (values, weight))


def test_transpose_swaps_the_two_streams(alignment: Alignment) -> None:
    targets = torch.randn(3, 3, 2)
    swapped = [[(t, s, *w) for s, t, *w in rows] for rows in PAIRS]
    torch.testing.assert_close(alignment.transpose().gather(targets, 5), plain_gather(swapped, targets, 5))


def test_truncate_makes_holes_of_what_was_cut_off(alignment: Alignment) -> None:
    cut = alignment.truncate(3, 2)
    assert cut.real.sum(1).tolist() == [2, 0, 0]
    values = torch.randn(3, 5, 4)
    torch.testing.assert_close(cut.gather(values, 3), plain_gather(PAIRS, values[:, :3], 2 + 1))


def test_shift_follows_prefixes_of_both_streams(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    longer = torch.cat([torch.full((3, 2, 4), torch.nan), values], 1)
    moved = alignment.shift(source=2, target=1).gather(longer.nan_to_num(9.0), 4)
    torch.testing.assert_close(moved[:, 1:], alignment.gather(values, 3))
    torch.testing.assert_close(moved[:, 0], torch.zeros(3, 4))


def test_shift_keeps_holes(alignment: Alignment) -> None:
    assert alignment.shift(source=5, target=5).real.equal(alignment.real)


def test_reindex_follows_tokens_to_their_new_places(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 2)
    order = torch.stack([torch.randperm(5) for _ in range(3)])
    turned = torch.stack([value[index] for value, index in zip(values, order, strict=True)])
    moved = alignment.reindex(source=order.argsort(1))
    torch.testing.assert_close(moved.gather(turned, 3), alignment.gather(values, 3))
    assert moved.target_index.equal(alignment.target_index)


def test_reindex_makes_holes_of_what_is_gone_or_was_never_there(alignment: Alignment) -> None:
    moved = alignment.reindex(target=torch.tensor([7, -1]))
    assert moved.target_index.tolist() == [[-1, -1, 7], [-1, -1, -1], [-1, -1, -1]]
    assert moved.source_index.tolist() == [[-1, -1, 3], [-1, -1, -1], [-1, -1, -1]]


def test_padding_adds_holes_alone(alignment: Alignment) -> None:
    padded, values = alignment.pad(5), torch.randn(3, 5, 2)
    assert padded.source_index.shape == padded.target_index.shape == padded.weight.shape == (3, 5)
    assert padded.real.sum(1).equal(alignment.real.sum(1))
    torch.testing.assert_close(padded.gather(values, 3), alignment.gather(values, 3))
    assert alignment.pad(2).weight.equal(alignment.weight)


def test_flatten_lays_samples_end_to_end(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    flat = alignment.flatten(5, 3)
    assert flat.weight.shape == (1, 9)
    torch.testing.assert_close(
        flat.gather(values.reshape(1, 15, 4), 9).view(3, 3, 4), alignment.gather(values, 3)
    )


def test_flatten_does_not_point_into_the_next_sample() -> None:
    values = torch.randn(2, 2, 3)
    flat = Alignment.from_pairs([[(2, 0), (0, 2)], []]).flatten(2, 2)
    assert not flat.real.any()
    torch.testing.assert_close(flat.gather(values.reshape(1, 4, 3), 4), torch.zeros(1, 4, 3))


class Gatherer(nn.Module):
    def forward(self, values: Tensor, alignment: Alignment) -> Tensor:
        return alignment.gather(values, 3)


@pytest.mark.compile
def test_an_alignment_is_an_input_of_an_exported_program(alignment: Alignment) -> None:
    values = torch.randn(3, 5, 4)
    program = torch.export.export(Gatherer(), (values, alignment)).module()
    other = Alignment.from_pairs([[(1, 2), (1, 0), (3, 3)], [(0, 0, 3.0)], []])
    torch.testing.assert_close(program(values, other), other.gather(values, 3))


@pytest.mark.compile
def test_one_exported_program_serves_all_numbers_of_rows_tokens_and_pairs(alignment: Alignment) -> None:
    rows, tokens, pairs = (torch.export.Dim(name, min=2) for name in ("rows", "tokens", "pairs"))
    shapes = ({0: rows, 1: tokens}, [{0: rows, 1: pairs}] * 3)
    example = (torch.randn(3, 5, 4), alignment)
    program = torch.export.export(Gatherer(), example, dynamic_shapes=shapes).module()
    other = Alignment.from_pairs([[(1, 2), (1, 0), (3, 3), (6, 1)], [(0, 0, 3.0)]])
    values = torch.randn(2, 7, 4)
    torch.testing.assert_close(program(values, other), other.gather(values, 3))


def make_batch(rows: int, *, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pairs = [[(row % 3, 1, 0.5), (2, row % 2)] for row in range(rows)]
    return Batch(
        inputs={"text": torch.randn(rows, 3, 4, generator=generator), "audio": torch.randn(rows, 5)},
        masks={"text": torch.rand(rows, 3, generator=generator) > 0.5},
        target=torch.arange(rows) + 100 * seed,
        ids=torch.arange(rows),
        extras={"alignment": Alignment.from_pairs(pairs), "weight": torch.rand(rows, generator=generator)},
    )


def tensors(batch: Batch) -> dict[str, Tensor]:
    alignment = batch.extras["alignment"]
    assert isinstance(alignment, Alignment)
    return {
        **{f"input {name}": value for name, value in batch.inputs.items()},
        **{f"mask {name}": value for name, value in batch.masks.items()},
        **{name: getattr(alignment, name) for name in ("source_index", "target_index", "weight")},
        "weight of rows": batch.extras["weight"],  # type: ignore[dict-item]
        "target": batch.target,  # type: ignore[dict-item]
        "ids": batch.ids,  # type: ignore[dict-item]
    }


def test_collate_stacks_every_entry_along_its_rows() -> None:
    first, second = make_batch(2, seed=1), make_batch(3, seed=2)
    both = Batch.collate([first, second])
    assert len(both) == 5
    assert list(both.inputs) == ["text", "audio"]
    for name, value in tensors(both).items():
        assert value.equal(torch.cat([tensors(first)[name], tensors(second)[name]])), name


@pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([3, 0, 3])], ids=["slice", "index"])
def test_take_selects_the_same_rows_of_every_entry(rows: Tensor | slice) -> None:
    batch = make_batch(4, seed=1)
    taken = batch.take(rows)
    for name, value in tensors(taken).items():
        assert value.equal(tensors(batch)[name][rows]), name


def test_take_undoes_collate() -> None:
    first, second = make_batch(2, seed=1), make_batch(3, seed=2)
    again = Batch.collate([first, second]).take(slice(2, 5))
    assert all(value.equal(tensors(second)[name]) for name, value in tensors(again).items())


PAIR = st.tuples(st.integers(0, 3), st.integers(0, 2))
SAMPLES = st.lists(st.lists(PAIR, max_size=4), min_size=1, max_size=3)


@given(st.lists(SAMPLES, min_size=1, max_size=4))
def test_collated_alignments_are_those_of_all_pairs_at_once(samples: list[list[list[tuple[int, int]]]]):
    parts = [Alignment.from_pairs(pairs) for pairs in samples]
    held = [Batch(inputs={}, extras={"alignment": part, "weight": part.weight[:, :0]}) for part in parts]
    both = Batch.collate(held).extras["alignment"]
    whole = Alignment.from_pairs([pairs for sample in samples for pairs in sample])
    assert isinstance(both, Alignment)
    assert both.source_index.equal(whole.source_index)
    assert both.target_index.equal(whole.target_index)
    assert both.weight.equal(whole.weight)


def test_what_is_no_alignment_must_still_agree_beyond_the_rows() -> None:
    batches = [Batch(inputs={}, extras={"scores.text": torch.ones(1, count)}) for count in (2, 3)]
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        Batch.collate(batches)


def test_an_alignment_and_a_tensor_are_not_one_entry() -> None:
    pairs = Alignment.from_pairs([[(0, 1)]])
    batches = [Batch(inputs={}, extras={"x": value}) for value in (pairs, torch.ones(1, 1))]
    with pytest.raises(ValueError, match=r"got 'extras.x' in some of them only"):
        Batch.collate(batches)


def test_to_moves_every_entry() -> None:
    moved = make_batch(2, seed=1).to("meta")
    assert {value.device.type for value in tensors(moved).values()} == {"meta"}


def test_pin_memory_reaches_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda value: value.clone() + 0)
    batch = make_batch(2, seed=1)
    pinned = batch.pin_memory()
    for name, value in tensors(pinned).items():
        assert value.equal(tensors(batch)[name])
        assert value.data_ptr() != tensors(batch)[name].data_ptr(), name


def test_a_batch_without_extras_masks_or_target_stays_so() -> None:
    batch = Batch.collate([Batch(inputs={"text": torch.ones(2, 3)})] * 2).take(slice(3))
    assert (len(batch), batch.masks, batch.target, batch.ids, batch.extras) == (3, {}, None, None, {})


def test_a_batch_without_inputs_has_no_rows() -> None:
    assert len(Batch(inputs={})) == 0


@pytest.mark.parametrize("first", [True, False], ids=["mask in the first", "mask in the second"])
def test_collate_refuses_batches_that_name_different_entries(first: bool) -> None:
    inputs = {"text": torch.ones(1, 3)}
    masked, plain = (
        Batch(inputs=inputs, masks={"text": torch.ones(1, dtype=torch.bool)}),
        Batch(inputs=inputs),
    )
    with pytest.raises(ValueError, match=r"^batches must name the same entries, got 'masks.text' in some"):
        Batch.collate([masked, plain] if first else [plain, masked])


def test_scopes_nest_and_share_one_trace() -> None:
    trace = Trace()
    inner = trace.scope("exchange.0").scope("text")
    inner.record("attention", torch.ones(2))
    inner.loss("sparsity", torch.tensor(0.25))
    assert list(trace.records) == ["exchange.0.text.attention"]
    assert list(trace.losses) == ["exchange.0.text.sparsity"]


def test_a_trace_assigns_so_that_a_second_forward_leaves_one_entry() -> None:
    trace = Trace()
    for value in (1.0, 2.0):
        trace.loss("balance", torch.tensor(value))
    assert trace.total_loss() == 2.0


def test_losses_keep_their_graph_and_records_do_not() -> None:
    trace, value = Trace(), torch.tensor(3.0, requires_grad=True)
    trace.loss("a", value * 2)
    trace.scope("b").loss("a", value * 5)
    trace.record("value", value)
    total = trace.total_loss()
    assert isinstance(total, Tensor)
    total.backward()
    assert value.grad == 7.0
    assert not trace.records["value"].requires_grad


def test_no_losses_add_nothing() -> None:
    assert Trace().total_loss() == 0.0


def test_a_trace_that_keeps_no_records_keeps_the_losses_of_every_scope() -> None:
    trace = Trace(keep_records=False)
    inner = trace.scope("exchange.0")
    inner.record("attention", torch.ones(2))
    inner.loss("sparsity", torch.tensor(0.5))
    assert not inner.keep_records
    assert (trace.records, trace.total_loss()) == ({}, 0.5)


def test_a_mask_that_is_not_given_is_made_as_an_encoder_takes_it():
    inputs = {
        "vector": torch.zeros(2, 3),
        "row": torch.zeros(2),
        "ids": torch.zeros(2, 5, dtype=torch.long),
        "steps": torch.zeros(2, 4, 3),
        "picture": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    }
    batch = Batch(inputs=inputs, masks={"vector": torch.tensor([True, False])})
    assert batch.mask_of("vector").tolist() == [True, False]
    made = {name: batch.mask_of(name) for name in ("row", "ids", "steps", "picture")}
    assert {name: tuple(mask.shape) for name, mask in made.items()} == {
        "row": (2,),
        "ids": (2, 5),
        "steps": (2, 4),
        "picture": (2,),
    }
    assert all(mask.all() and mask.dtype == torch.bool for mask in made.values())


def test_a_selection_reads_rows_where_they_are_taken():
    batch = Batch(
        inputs={"x": torch.arange(10).reshape(5, 2)},
        masks={"x": torch.tensor([True, True, False, True, True])},
        target=torch.arange(5) * 10,
    )
    held = Selection(batch=batch, rows=torch.tensor([4, 2, 0]))
    assert len(held) == 3
    assert held.target is not None
    assert held.target.tolist() == [40, 20, 0]
    assert held.device == torch.device("cpu")
    taken = held.take(torch.tensor([2, 1]))
    assert taken.inputs["x"].tolist() == [[0, 1], [4, 5]]
    assert taken.masks["x"].tolist() == [True, False]
    assert taken.target is not None
    assert taken.target.tolist() == [0, 20]
    assert Selection(batch=Batch(inputs=batch.inputs), rows=held.rows).target is None


NAMES = st.sets(st.sampled_from(["scores", "score", "keep", "alignment", "weight"]))
ENDS = st.sets(st.sampled_from(["text", "image", "text_from_image"]))


@given(st.dictionaries(st.sampled_from(["scores", "score", "keep", "alignment"]), ENDS), NAMES)
def test_a_model_is_given_what_it_reads_and_nothing_else(held: dict[str, set[str]], names: set[str]):
    """An entry without a dot is passed as it is, the others of a name as one dictionary."""
    extras = {f"{name}.{end}": torch.ones(1) for name, ends in held.items() for end in ends}
    extras |= {name: torch.zeros(1) for name, ends in held.items() if not ends}
    found = Batch(inputs={}, extras=extras).reads(names)
    assert found.keys() == held.keys() & names
    for name, value in found.items():
        if held[name]:
            assert value == {end: extras[f"{name}.{end}"] for end in held[name]}
        else:
            assert value is extras[name]


def test_an_extra_that_is_whole_and_in_parts_is_refused() -> None:
    batch = Batch(inputs={}, extras={"scores": torch.ones(1), "scores.text": torch.ones(1)})
    assert batch.reads(["weight"]) == {}
    with pytest.raises(ValueError, match=r"^extras must hold 'scores' or one entry each, got both"):
        batch.reads(["scores"])


def test_a_batch_without_inputs_is_on_the_cpu():
    assert Batch(inputs={}).device == torch.device("cpu")
