import pytest
import torch
from torch import Tensor

from fuseloom.losses.captions import caption_loss, doubly_stochastic_loss


@pytest.fixture
def captions() -> tuple[Tensor, Tensor]:
    captions = torch.tensor([[1, 4, 3, 2], [1, 5, 2, 0], [0, 0, 0, 0]])
    return captions, torch.tensor([[True] * 4, [True, True, True, False], [False] * 4])


def test_cross_entropy_is_the_mean_over_all_real_pairs(captions: tuple[Tensor, Tensor]) -> None:
    logits = torch.randn(3, 3, 6)
    log_prob = logits.log_softmax(-1)
    pairs = [(0, 0, 4), (0, 1, 3), (0, 2, 2), (1, 0, 5), (1, 1, 2)]
    expected = -torch.stack([log_prob[pair] for pair in pairs]).mean()
    torch.testing.assert_close(caption_loss(logits, *captions), expected)
    whole = -torch.stack([log_prob[pair] for pair in pairs[:3]]).mean()
    torch.testing.assert_close(caption_loss(logits[:1], captions[0][:1]), whole)


def test_what_is_not_real_reaches_neither_loss_nor_gradient(captions: tuple[Tensor, Tensor]) -> None:
    words, mask = captions
    logits = torch.randn(3, 3, 6, requires_grad=True)
    loss = caption_loss(logits, words, mask)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[~mask[:, 1:]].any()
    assert gradient[mask[:, 1:]].any(-1).all()
    other = words.masked_fill(~mask, 99_999)
    assert caption_loss(logits.detach().masked_fill(~mask[:, 1:, None], 7), other, mask).equal(loss.detach())


def test_looking_once_everywhere_costs_nothing() -> None:
    assert doubly_stochastic_loss(torch.eye(5)[None]) == 0
    assert doubly_stochastic_loss(torch.full((2, 4, 4), 0.25)) == 0


def test_each_token_costs_its_squared_distance_from_one_look() -> None:
    attention = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]])
    assert doubly_stochastic_loss(attention).item() == pytest.approx((0.25 + 0.25 + 1) / 3)


def test_rows_without_a_caption_and_tokens_that_are_not_real_do_not_count(
    captions: tuple[Tensor, Tensor],
) -> None:
    attention, real = torch.rand(3, 3, 2), torch.tensor([[True, True], [True, False], [True, True]])
    gaps = (1 - attention.sum(1)).square()
    expected = torch.stack([gaps[0, 0], gaps[0, 1], gaps[1, 0]]).mean()
    torch.testing.assert_close(doubly_stochastic_loss(attention, captions[1], real), expected)


def test_nothing_at_all_is_zero_with_a_gradient_of_zero() -> None:
    logits, attention = torch.randn(2, 3, 6, requires_grad=True), torch.rand(2, 3, 4, requires_grad=True)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    loss = caption_loss(logits, torch.zeros(2, 4, dtype=torch.long), nothing)
    loss = loss + doubly_stochastic_loss(attention, nothing)
    assert loss == 0
    assert not any(g.any() for g in torch.autograd.grad(loss, [logits, attention]))


def test_half_precision_is_computed_in_single(captions: tuple[Tensor, Tensor]) -> None:
    logits, attention = torch.randn(3, 3, 6).bfloat16(), torch.rand(3, 3, 4).bfloat16()
    assert caption_loss(logits, *captions).equal(caption_loss(logits.float(), *captions))
    assert doubly_stochastic_loss(attention).equal(doubly_stochastic_loss(attention.float()))
    assert doubly_stochastic_loss(attention).dtype == torch.float32
