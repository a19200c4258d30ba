"""Gates over the last axis of logits: weights, or the choice of one.

A mask is True where an entry may be chosen. What may not be chosen has weight zero, a row where nothing may
is all zeros, and neither is reached by a gradient. All compute in float32 at least.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fuseloom.nn.masked import masked_softmax

__all__ = ["entropy", "gumbel", "sample_one", "sigmoid", "soft", "sparsemax", "straight_through"]

_LOWEST = torch.finfo(torch.float32).min


def soft(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch choice"] | None = None,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch choice"]:
    """Softmax of ``logits / temperature``.

    Example:
        >>> soft(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    return masked_softmax(_scaled(logits, temperature), mask).to(logits.dtype)


def sigmoid(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch #choice"] | None = None,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch choice"]:
    """Sigmoid of ``logits / temperature``: each entry is open or closed whatever the others are."""
    opened = _hide(_scaled(logits, temperature), mask).sigmoid()
    return _hide(opened, mask).to(logits.dtype)


def sparsemax(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch choice"] | None = None,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch choice"]:
    r"""Point of the simplex that is nearest to ``logits / temperature``; most entries can be exactly zero.

    .. math:: p_i = \max(s_i - \tau, 0), \quad \sum_i p_i = 1

    Paper: Martins & Astudillo, 2016.

    Example:
        >>> sparsemax(torch.tensor([0.5, 0.0, -2.0]))
        tensor([0.7500, 0.2500, 0.0000])
    """
    scores = _hide(_scaled(logits, temperature), mask, _LOWEST)
    # An entry that is one below the largest has weight zero, wherever else it lies: no sum overflows.
    scores = (scores - scores.detach().amax(-1, keepdim=True)).clamp(min=-1)
    support = scores > _threshold(scores.detach())
    # Computed anew from the support, so that no gradient goes through the sorting.
    total = scores.masked_fill(~support, 0).sum(-1, keepdim=True)
    weights = (scores - (total - 1) / support.sum(-1, keepdim=True)).relu()
    return _hide(weights, mask).to(logits.dtype)


def _threshold(scores: Tensor) -> Tensor:
    ordered = scores.sort(-1, descending=True).values
    sums = ordered.cumsum(-1)
    ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
    size = (1 + ranks * ordered > sums).sum(-1, keepdim=True)
    return (sums.gather(-1, size - 1) - 1) / size


def straight_through(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch choice"] | None = None,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch choice"]:
    """One-hot choice of the largest logit, with the gradient of `soft`.

    Paper: Xue & Marculescu, CVPRW 2023 (DynMM).

    Example:
        >>> straight_through(torch.tensor([[0.1, 0.2, 0.0]]))
        tensor([[0., 1., 0.]])
    """
    weights = soft(_wide(logits), mask, temperature=temperature)
    chosen = _hide(_one_hot(weights.detach()), mask)
    # The sum is exactly one-hot, which `chosen - weights + weights` is not in floating point.
    return (chosen + (weights - weights.detach())).to(logits.dtype)


def gumbel(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch choice"] | None = None,
    *,
    temperature: float = 1.0,
    training: bool = True,
) -> Float[Tensor, "*batch choice"]:
    """One-hot sample of the softmax of the logits in training, the largest logit otherwise.

    The gradient is that of the softmax of the logits, with the noise of the sample in training, over the
    temperature.
    """
    noisy = _wide(logits) + _noise(logits) if training else logits
    return straight_through(noisy, mask, temperature=temperature).to(logits.dtype)


def sample_one(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch choice"] | None = None,
    *,
    temperature: float = 1.0,
    training: bool = True,
) -> tuple[Float[Tensor, "*batch choice"], Float[Tensor, "*batch"]]:
    """Sample one entry from the softmax of ``logits / temperature``; the likeliest where not in training.

    Returns:
        The choice, one-hot, without a gradient; and its log-probability, with one. Both are zero where
        nothing may be chosen.
    """
    scores = _hide(_scaled(logits, temperature), mask, _LOWEST)
    noisy = scores.detach() + _noise(logits) if training else scores.detach()
    chosen = _hide(_one_hot(noisy), mask)
    log_prob = scores.log_softmax(-1).masked_fill(chosen == 0, 0).sum(-1)
    return chosen.to(logits.dtype), log_prob


def entropy(
    logits: Float[Tensor, "*batch choice"],
    mask: Bool[Tensor, "*#batch choice"] | None = None,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """Entropy, in nats, of the distribution that `sample_one` samples from.

    Example:
        >>> entropy(torch.zeros(4)).exp()
        tensor(4.)
    """
    scores = _hide(_scaled(logits, temperature), mask, _LOWEST)
    surprise = -_hide(scores.log_softmax(-1), mask)
    return (_hide(scores.softmax(-1), mask) * surprise).sum(-1)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    # A division by one is a pass over memory as long as the gate's own.
    return _wide(logits) if temperature == 1 else _wide(logits) / temperature


def _hide(values: Tensor, mask: Tensor | None, value: float = 0.0) -> Tensor:
    return values if mask is None else values.masked_fill(~mask, value)


def _one_hot(scores: Tensor) -> Tensor:
    # torch's own one_hot reads the largest index back to Python.
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)


def _noise(logits: Tensor) -> Tensor:
    """Gumbel noise, under which the largest of several logits is a sample of their softmax."""
    wide = torch.empty_like(_wide(logits)).exponential_()
    return -wide.clamp(min=torch.finfo(wide.dtype).tiny).log()
