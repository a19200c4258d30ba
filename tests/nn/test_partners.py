import pytest
import torch

from fuseloom.nn.partners import PAIR_CHOICES, Pairs
from fuseloom.types import Alignment

ALIGNMENT = Alignment.from_pairs([[(0, 2, 1.0), (1, 2, 3.0), (1, 0, 0.3)], [(2, 1, 2.0), (-1, 0), (9, 0)]])


def test_partners_are_weighted_means_and_a_single_one_arrives_to_the_last_bit() -> None:
    tokens = torch.randn(2, 3, 4)
    partners, found = Pairs.take(ALIGNMENT, tokens, 3).partners()
    assert found.tolist() == [[True, False, True], [False, True, False]]
    torch.testing.assert_close(partners[0, 2], 0.25 * tokens[0, 0] + 0.75 * tokens[0, 1])
    assert partners[0, 0].equal(tokens[0, 1])
    assert partners[1, 1].equal(tokens[1, 2])
    assert not partners[~found].any()


@pytest.mark.parametrize("choose", ["first", "last"])
def test_one_pair_of_each_target_is_kept(choose: str) -> None:
    tokens = torch.randn(2, 3, 4)
    pairs = PAIR_CHOICES[choose](Pairs.take(ALIGNMENT, tokens, 3))  # type: ignore[index]
    partners, found = pairs.partners()
    assert found.tolist() == [[True, False, True], [False, True, False]]
    assert partners[0, 2].equal(tokens[0, 0 if choose == "first" else 1])


def test_masked_tokens_bring_nothing() -> None:
    tokens = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, False, True], [True, True, False]])
    partners, found = Pairs.take(ALIGNMENT, tokens, 3, mask).partners()
    assert found.tolist() == [[False, False, True], [False, False, False]]
    assert partners[0, 2].equal(tokens[0, 0])


def test_pairs_of_several_sources_are_weighed_together() -> None:
    first, second = torch.randn(1, 2, 4), torch.randn(1, 3, 2)
    grow = torch.nn.Linear(2, 4)
    joined = Pairs.join(
        [
            Pairs.take(Alignment.from_pairs([[(1, 0, 1.0)]]), first, 2),
            Pairs.take(Alignment.from_pairs([[(2, 0, 3.0)]]), second, 2).map(grow),
        ]
    )
    partners, _ = joined.partners()
    torch.testing.assert_close(partners[0, 0], 0.25 * first[0, 1] + 0.75 * grow(second[0, 2]))


def test_what_a_hole_reads_reaches_neither_values_nor_gradients() -> None:
    tokens = torch.randn(1, 2, 4)
    tokens[0, 0] = torch.inf
    tokens.requires_grad_()
    alignment = Alignment.from_pairs([[(1, 0), (-1, 1), (0, -1)]])
    partners, _ = Pairs.take(alignment, tokens, 2).partners()
    (gradient,) = torch.autograd.grad(partners.sum(), tokens)
    assert gradient.tolist() == [[[0.0] * 4, [1.0] * 4]]


def test_weights_in_half_precision_are_summed_in_single() -> None:
    index = torch.zeros(1, 400, dtype=torch.int64)
    alignment = Alignment(source_index=index, target_index=index, weight=torch.ones(1, 400).bfloat16())
    pairs = Pairs.take(alignment, torch.ones(1, 1, 1), 1)
    assert pairs.weight.dtype == torch.float32
    torch.testing.assert_close(pairs.partners()[0], torch.ones(1, 1, 1))


def test_what_stands_at_the_targets_can_be_added_before_the_mean() -> None:
    tokens, here = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    pairs = Pairs.take(ALIGNMENT, tokens, 3)
    partners, found = pairs.map(lambda values: values + pairs.at_targets(here)).partners()
    expected = (pairs.partners()[0] + here).masked_fill(~found[..., None], 0)
    torch.testing.assert_close(partners, expected)
    assert pairs.found.equal(found)


def test_a_blend_leaves_its_tokens_and_is_a_step_towards_the_partners() -> None:
    tokens, others = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    pairs, before = Pairs.take(ALIGNMENT, others, 3), tokens.clone()
    partners, found = pairs.partners()
    blended = pairs.blend(tokens, torch.tensor([0.3]))
    assert tokens.equal(before)
    torch.testing.assert_close(blended, torch.where(found[..., None], 0.7 * tokens + 0.3 * partners, tokens))
