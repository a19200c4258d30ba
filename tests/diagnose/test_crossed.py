import numpy as np
import pytest
import torch

from fuseloom import Alignment, Batch
from fuseloom.diagnose.crossed import Crossed
from fuseloom.diagnose.split import Split
from fuseloom.errors import DataError, ModalityError, OptionError


def rows(count=6):
    inputs = {"a": torch.arange(count).double(), "b": 10 * torch.arange(count).double()}
    return Batch(inputs=inputs, masks={"b": torch.arange(count) % 2 == 0})


def total(batch):
    return batch.inputs["a"] + batch.inputs["b"] * batch.masks["b"]


def test_a_value_comes_with_its_mask_and_with_what_belongs_to_it():
    batch = rows()
    scored = Batch(
        inputs=batch.inputs,
        masks=batch.masks,
        extras={"scores.a": torch.arange(6) * 100.0, "weight": torch.zeros(6)},
    )
    seen = []

    def together(combined):
        seen.append(combined)
        return total(combined) + combined.extras["scores.a"]

    crossed = Crossed(Split(together=together), scored)
    found = crossed.outputs({"a": torch.tensor([1, 2]), "b": torch.tensor([4, 3])})
    assert found[:, 0].tolist() == [1 + 40 + 100, 2 + 0 + 200]
    assert sorted(seen[-1].extras) == ["scores.a"]
    assert seen[-1].masks["b"].tolist() == [True, False]


def test_every_row_is_encoded_once_however_many_there_are():
    encoded = []

    def alone(batch):
        encoded.append(len(batch))
        return Batch(inputs={name: value * 2 for name, value in batch.inputs.items()})

    batch = Batch(inputs={name: torch.arange(600.0) for name in "ab"})
    crossed = Crossed(Split(alone=alone, together=lambda b: b.inputs["a"] + b.inputs["b"]), batch)
    crossed.outputs({"a": torch.arange(500), "b": torch.arange(100, 600)})
    assert sum(encoded) == 600
    assert crossed.own[:, 0].tolist() == [4.0 * n for n in range(600)]
    assert crossed.num_computed == 600 + 8 + 500


def test_blocks_hold_every_combination_once_and_stay_small():
    batch = Batch(inputs={"a": torch.randn(70, 1), "b": torch.randn(70, 2**16)})
    sizes = []

    def together(combined):
        sizes.append(len(combined))
        return combined.inputs["a"][:, 0] + combined.inputs["b"].sum(1)

    crossed = Crossed(Split(together=together), batch)
    blocks = list(crossed.blocks(70, lambda cells: {"a": cells, "b": cells.flip(0)}))
    assert torch.cat([cells for cells, _ in blocks]).equal(torch.arange(70))
    assert max(sizes) * 2**16 <= 2**21
    assert sum(len(outputs) for _, outputs in blocks) == 70


def test_the_mean_row_is_a_row_of_means():
    crossed = Crossed(Split(together=lambda b: b.inputs["a"] * b.inputs["b"]), Batch(inputs=rows().inputs))
    more = crossed.with_mean_row()
    assert len(more) == len(crossed) + 1
    assert more.own[-1].item() == pytest.approx(2.5 * 25)
    assert more.own[:-1].equal(crossed.own)


@pytest.mark.parametrize("kind", [np.float32, np.int64, "tensor"])
def test_outputs_may_be_arrays_or_tensors(kind):
    def together(batch):
        values = batch.inputs["a"] + batch.inputs["b"]
        return values.float().requires_grad_() if kind == "tensor" else values.numpy().astype(kind)

    crossed = Crossed(Split(together=together), Batch(inputs=rows().inputs))
    assert (crossed.own.dtype, crossed.own[:, 0].tolist()) == (torch.float64, [11.0 * n for n in range(6)])


def test_rows_that_cannot_be_combined_are_refused():
    parts = Split(together=total)
    with pytest.raises(ModalityError, match=r"two or more modalities, got \['a'\]"):
        Crossed(parts, Batch(inputs={"a": torch.ones(3)}))
    with pytest.raises(DataError, match="must not be empty, got 0"):
        Crossed(parts, rows(0))
    tied = Batch(inputs=rows().inputs, extras={"alignment": Alignment.from_pairs([[(0, 0)]] * 6)})
    with pytest.raises(DataError, match=r"must hold no alignment, got 'alignment'. It ties"):
        Crossed(parts, tied)


def test_outputs_that_cannot_be_projected_are_refused():
    batch = Batch(inputs=rows(20).inputs)
    with pytest.raises(DataError, match="must be finite, got 19 rows that are not"):
        Crossed(Split(together=lambda b: b.inputs["a"] / (b.inputs["a"] == 0)), batch)
    with pytest.raises(OptionError, match=r"must be \[N\] or \[N, K\], got shape \(20, 1, 1\)"):
        Crossed(Split(together=lambda b: b.inputs["a"][:, None, None]), batch)
    with pytest.raises(DataError, match=r"on the rows beside it, got a difference of 6.+ evaluation mode"):
        Crossed(Split(together=lambda b: b.inputs["a"] - b.inputs["a"].mean()), batch)
