"""The loss of pixels that are hard to tell; that it is the official one is told by its golden case."""

import math

import pytest
import torch
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.losses import hard_pixel_loss


def pixels(easy: int, hard: int, ignored: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of a row of pixels: easy ones are told with a probability of 0.98."""
    scores = torch.tensor([[4.0, 0.0]] * easy + [[0.0, 1.0]] * hard + [[0.0, 9.0]] * ignored)
    target = torch.tensor([[0] * (easy + hard) + [255] * ignored])
    return scores.mT[None, :, None].requires_grad_(), target[None]


HARD = math.log(1 + math.e)
EASY = math.log(1 + math.exp(-4))


def test_hard_pixels_count_alone() -> None:
    logits, target = pixels(easy=20, hard=4, ignored=7)
    loss = hard_pixel_loss(logits, target)
    assert loss.item() == pytest.approx(HARD, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[..., :20].abs().max() == 0 == gradient[..., 24:].abs().max()
    assert gradient[..., 20:24].abs().min() > 0


def test_a_sixteenth_counts_where_few_are_hard() -> None:
    loss = hard_pixel_loss(*pixels(easy=62, hard=2))
    assert loss.item() == pytest.approx((2 * HARD + 2 * EASY) / 4, rel=1e-6)


def test_all_pixels_count_where_all_are_hard() -> None:
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    assert hard_pixel_loss(logits, target, threshold=1 - 1e-6).item() == pytest.approx(
        F.cross_entropy(logits, target).item(), rel=1e-5
    )


def test_no_labelled_pixel_is_no_loss() -> None:
    logits, target = pixels(easy=0, hard=0, ignored=5)
    loss = hard_pixel_loss(logits, target)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_half_precision_is_summed_in_single() -> None:
    logits, target = pixels(easy=20, hard=4)
    assert hard_pixel_loss(logits.bfloat16(), target).dtype == torch.float32


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_out_of_its_range_is_answered(threshold: float) -> None:
    with pytest.raises(OptionError, match=r"threshold must be in \(0, 1\)"):
        hard_pixel_loss(*pixels(1, 1), threshold=threshold)
