import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose.reliance import hide, reliance, shuffle, to_noise
from fuseloom.errors import DataError
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression

R2 = ("r2", Regression.metrics["r2"])


def rows():
    inputs = {"used": torch.randn(200, 1, dtype=torch.float64), "ignored": torch.randn(200, 4)}
    return Batch(
        inputs=inputs, masks={"used": torch.ones(200, dtype=torch.bool)}, target=inputs["used"][:, 0]
    )


def predict(batch):
    kept = batch.masks["used"].double()
    return (batch.inputs["used"][:, 0] * kept).numpy()


def test_only_what_is_used_is_relied_on():
    found = reliance(predict, rows(), model="copy", metric=R2)
    assert (found.model, found.metric, found.score.mean) == ("copy", "r2", 1)
    for drops in (found.hidden, found.shuffled, found.noise):
        assert (drops["ignored"].mean, drops["ignored"].low, drops["ignored"].high) == (0, 0, 0)
    assert found.hidden["used"].mean == pytest.approx(1, abs=0.05)  # predicting zero explains nothing
    # Unrelated values of the same spread, and noise of it, explain less than nothing.
    assert found.shuffled["used"].mean == pytest.approx(2, abs=0.4)
    assert found.noise["used"].mean == pytest.approx(2, abs=0.4)


def test_a_drop_is_positive_where_lower_is_better_and_lies_in_its_interval():
    found = reliance(predict, rows(), model="copy", metric=("rmse", Regression.metrics["rmse"]))
    for drops in (found.hidden, found.shuffled, found.noise):
        assert 0.5 < drops["used"].low < drops["used"].mean < drops["used"].high
    assert found.score.mean == found.score.low == found.score.high == 0


def test_the_interval_is_that_of_the_paired_differences():
    """Hidden, the model guesses one class; its hits without and with the modality are known row by row."""
    target = torch.randint(2, (2000,))
    hint = torch.where(torch.rand(2000) < 0.9, target, 1 - target)
    batch = Batch(inputs={"hint": hint.double()[:, None]}, masks={}, target=target)

    def guess(given):
        kept = given.mask_of("hint")
        return np.eye(2)[(kept & (given.inputs["hint"][:, 0] > 0.5)).long().numpy()]

    accuracy = ("accuracy", Classification.metrics["accuracy"])
    drop = reliance(guess, batch, model="hint", metric=accuracy).hidden["hint"]
    differences = (hint == target).double() - (target == 0).double()
    half = 1.96 * differences.std().item() / 2000**0.5
    assert drop.mean == pytest.approx(differences.mean().item())
    assert [drop.low, drop.high] == pytest.approx([drop.mean - half, drop.mean + half], abs=0.1 * half)


def test_the_rows_are_left_as_they_were():
    given = rows()
    before = {name: value.clone() for name, value in given.inputs.items()}
    state = torch.get_rng_state()
    reliance(predict, given, model="copy", metric=R2)
    assert all(given.inputs[name].equal(value) for name, value in before.items())
    assert given.masks["used"].all()
    assert torch.get_rng_state().equal(state)


def test_rows_without_a_target_are_refused():
    with pytest.raises(DataError, match="rows must have a target to be scored, got none"):
        reliance(predict, Batch(inputs={"used": torch.ones(1, 1)}), model="copy", metric=R2)


def test_hiding_masks_with_or_without_a_mask_and_shuffling_keeps_mask_and_value_together():
    given = rows()
    assert not hide(given, "used").masks["used"].any()
    assert hide(given, "ignored").masks["ignored"].equal(torch.zeros(200, dtype=torch.bool))
    text = Batch(
        inputs={"text": torch.zeros(3, 7, dtype=torch.uint8)}, masks={"text": torch.ones(3, 7).bool()}
    )
    assert hide(text, "text").masks["text"].shape == (3, 7)
    marked = Batch(inputs={"a": torch.arange(50.0)[:, None]}, masks={"a": torch.arange(50) < 25})
    moved = shuffle(marked, "a", torch.Generator().manual_seed(0))
    assert moved.masks["a"].equal(moved.inputs["a"][:, 0] < 25)
    assert not np.array_equal(moved.inputs["a"], marked.inputs["a"])


def test_noise_has_mean_and_spread_of_what_is_real_and_keeps_the_mask():
    value = torch.randn(4000, 2) * torch.tensor([1.0, 5.0]) + torch.tensor([3.0, 0.0])
    mask = torch.arange(4000) % 2 == 0
    given = Batch(inputs={"a": value.masked_fill(~mask[:, None], torch.nan)}, masks={"a": mask})
    noise = to_noise(given, "a", torch.Generator().manual_seed(1))
    assert noise.masks["a"].equal(mask)
    drawn = noise.inputs["a"][mask]
    assert drawn.mean(0).tolist() == pytest.approx(value[mask].mean(0).tolist(), abs=0.3)
    assert drawn.std(0).tolist() == pytest.approx(value[mask].std(0).tolist(), rel=0.05)
    assert torch.corrcoef(torch.stack([value[mask][:, 0], drawn[:, 0]]))[0, 1].abs() < 0.1


def test_noise_in_a_table_keeps_codes_codes_and_gaps_gaps():
    numbers = torch.randn(400, 1).masked_fill(torch.rand(400, 1) < 0.2, torch.nan)
    codes = torch.tensor([0.0, 2.0, 5.0])[torch.randint(3, (400, 1))]
    given = Batch(inputs={"row": torch.cat([numbers, codes], dim=1)})
    noise = to_noise(given, "row", torch.Generator().manual_seed(0)).inputs["row"]
    assert noise[:, :1].isnan().equal(numbers.isnan())
    assert sorted(set(noise[:, 1].tolist())) == [0, 2, 5]
    assert (noise[:, 1:] != codes).any()


def test_noise_of_symbols_is_made_of_real_ones():
    value = torch.tensor([[65, 66, 0], [67, 0, 0]], dtype=torch.uint8).repeat(100, 1)
    given = Batch(inputs={"text": value}, masks={"text": value > 0})
    noise = to_noise(given, "text", torch.Generator().manual_seed(0)).inputs["text"]
    assert noise.dtype == torch.uint8
    assert sorted(set(noise.flatten().tolist())) == [65, 66, 67]
