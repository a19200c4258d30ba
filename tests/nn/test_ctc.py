import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.ctc import CtcAlignment


def test_each_step_is_the_sum_of_the_tokens_weighted_by_their_shares() -> None:
    part, tokens = CtcAlignment(3, 2), torch.randn(2, 5, 3)
    scores = part.scores(tokens).detach().numpy()
    assert scores.shape == (2, 5, 3)
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.zeros((2, 2, 3))
    for b in range(2):
        for step in range(2):
            for n in range(5):
                expected[b, step] += shares[b, n, step + 1] * tokens[b, n].numpy()
    np.testing.assert_allclose(part(tokens).detach(), expected, rtol=1e-5, atol=1e-6)


def test_tokens_under_false_give_nothing_and_leak_nothing() -> None:
    part, tokens = CtcAlignment(3, 2), torch.randn(2, 5, 3)
    mask = torch.tensor([[True, True, True, False, False], [False] * 5])
    noisy = tokens.masked_fill(~mask[..., None], float("nan")).requires_grad_()
    out = part(noisy, mask)
    torch.testing.assert_close(out[:1], part(tokens[:1, :3]))
    assert not out[1].any()
    (gradient,) = torch.autograd.grad(out.square().sum(), noisy)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()


def test_a_ctc_loss_teaches_it_to_align() -> None:
    """A pulse stands for each step somewhere among zeros; the order of the steps is all that is told."""
    count, tokens = 2, torch.zeros(32, 6, 2)
    for sample in tokens:
        sample[torch.randperm(6)[:count].sort().values, torch.arange(count)] = 1
    part = CtcAlignment(2, count)
    optimizer = torch.optim.Adam(part.parameters(), lr=0.05)
    order, sizes = torch.arange(1, count + 1).expand(32, -1), [torch.full((32,), n) for n in (6, count)]
    for _ in range(60):
        optimizer.zero_grad()
        scores = F.log_softmax(part.scores(tokens), -1).transpose(0, 1)
        nn.CTCLoss(blank=0)(scores, order, *sizes).backward()
        optimizer.step()
    aligned = part(tokens).detach()
    right = (aligned.diagonal(dim1=1, dim2=2) / aligned.sum(-1)).mean()
    assert right > 0.7  # one half before, and an LSTM's scores between -1 and 1 allow 0.88


def test_no_step_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^num_steps must be at least 1, got 0\.$"):
        CtcAlignment(3, 0)
