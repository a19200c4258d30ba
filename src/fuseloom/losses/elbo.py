"""The evidence lower bound of a multimodal autoencoder, and the reconstruction losses that go into it."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import MaskError, ModalityError, did_you_mean

__all__ = [
    "ReconstructionLoss",
    "elbo_loss",
    "kl_standard_normal",
    "logit_loss",
    "probability_loss",
    "reconstruction_loss",
    "squared_loss",
]

ReconstructionLoss = Callable[[Tensor, Tensor], Tensor]
"""Reconstruction and original ``[..., D]`` to their distance ``[...]``."""


def kl_standard_normal(
    mean: Float[Tensor, "*batch dim"], log_variance: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch"]:
    r"""Divergence of a diagonal Gaussian from the standard normal, in nats, summed over the features.

    .. math:: \tfrac12 \sum_d (\mu_d^2 + e^{v_d} - 1 - v_d)

    Args:
        mean: ``[..., D]``.
        log_variance: ``[..., D]``, ``v``.

    Example:
        >>> kl_standard_normal(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
        tensor([2.])
    """
    # expm1: near the prior the plain difference cancels to noise.
    return (mean.square() + torch.expm1(log_variance) - log_variance).sum(-1) / 2


def elbo_loss(
    mean: Float[Tensor, "..."],
    log_variance: Float[Tensor, "..."],
    *,
    reconstruction: Float[Tensor, "..."],
    kl_weight: float = 1.0,
) -> Float[Tensor, ""]:
    r"""Negative evidence lower bound, mean over the samples: reconstruction plus weighted divergence.

    .. math:: \frac1B \sum_b (r_b + \beta\, \mathrm{KL}(q_b \,\|\, \mathcal N(0, I)))

    The MVAE objective is this on the joint posterior plus this on the posterior of each modality alone.

    Method: the objective of MVAE; official code: MultiBench's ``elbo_loss``.

    Args:
        mean: Mean of the posterior, ``[B, Z]``.
        log_variance: Logarithm of its variance, ``[B, Z]``.
        reconstruction: Distance of each sample's reconstructions from the originals, ``[B]``: what
            `reconstruction_loss` gives.
        kl_weight: Annealing factor of the divergence.

    Raises:
        ModalityError: the three are not of one batch.

    Example:
        >>> zeros = torch.zeros(2, 3)
        >>> elbo_loss(zeros, zeros, reconstruction=torch.tensor([1.0, 3.0]))
        tensor(2.)
    """
    if mean.shape != log_variance.shape or reconstruction.shape != mean.shape[:-1]:
        raise ModalityError(
            f"mean, log_variance and reconstruction must be [B, Z], [B, Z] and [B], got {list(mean.shape)}, "
            f"{list(log_variance.shape)} and {list(reconstruction.shape)}."
        )
    return (reconstruction + kl_weight * kl_standard_normal(mean, log_variance)).mean()


def squared_loss(
    reconstruction: Float[Tensor, "*batch dim"], original: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch"]:
    """Mean squared error over the features: for values of any range.

    Args:
        reconstruction: ``[..., D]``.
        original: ``[..., D]``.

    Example:
        >>> squared_loss(torch.tensor([[1.0, 4.0]]), torch.tensor([[1.0, 2.0]]))
        tensor([2.])
    """
    return (reconstruction - original).square().mean(-1)


def probability_loss(
    reconstruction: Float[Tensor, "*batch dim"], original: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch"]:
    """Binary cross-entropy of probabilities, mean over the features, for originals from 0 to 1.

    MultiBench's ``nosigmloss1d``. Where the decoder gives logits, `logit_loss` is exact for any of them.

    Args:
        reconstruction: Probabilities ``[..., D]``.
        original: ``[..., D]``.

    Example:
        >>> probability_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 1.0]]))
        tensor([0.6931])
    """
    return F.binary_cross_entropy(reconstruction, original, reduction="none").mean(-1)


def logit_loss(
    reconstruction: Float[Tensor, "*batch dim"],
    original: Float[Tensor, "*batch dim"],
    *,
    faithful: bool = False,
) -> Float[Tensor, "*batch"]:
    """Binary cross-entropy of logits, mean over the features, for originals from 0 to 1.

    Differs from the official code (MultiBench's ``sigmloss1d``), which squashes the originals too, so that
    black and white become 0.5 and 0.73; ``faithful`` does so.

    Args:
        reconstruction: Logits ``[..., D]``.
        original: ``[..., D]``.
        faithful: Squash the originals by the sigmoid.

    Example:
        >>> logit_loss(torch.tensor([[2.0, -2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.1269])
    """
    target = original.sigmoid() if faithful else original
    return F.binary_cross_entropy_with_logits(reconstruction, target, reduction="none").mean(-1)


def reconstruction_loss(
    reconstructions: Mapping[str, Tensor],
    originals: Mapping[str, Tensor],
    *,
    loss: ReconstructionLoss | Mapping[str, ReconstructionLoss] = squared_loss,
    weights: Mapping[str, float] | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, " batch"]:
    r"""Weighted sum over the modalities of the distance of reconstruction and original.

    .. math:: r_b = \sum_m w_m \operatorname{mean}_{n \in \text{kept}} \ell_m(\hat x_{bmn}, x_{bmn})

    Positions that are masked out do not count, and a modality that a sample lacks adds nothing. The mean over
    the samples is MultiBench's ``recon_weighted_sum``.

    Args:
        reconstructions: Modality name -> ``[B, D]`` or ``[B, N, D]``.
        originals: The same names and shapes.
        loss: One for all modalities, or modality name -> its own.
        weights: Modality name -> ``w_m``; one where there is none.
        masks: Modality name -> ``[B]`` or ``[B, N]``, True = real; a missing name is all real.

    Returns:
        ``[B]``.

    Raises:
        MaskError: a mask that is not boolean, or does not fit its modality.
        ModalityError: names or shapes of the two differ, or a loss, a weight or a mask is for another name.

    Example:
        >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 4)}
        >>> zeros = {"text": torch.zeros(2, 3), "image": torch.zeros(2, 4)}
        >>> lacks = {"image": torch.tensor([True, False])}
        >>> reconstruction_loss(zeros, values, weights={"image": 0.5}, masks=lacks)
        tensor([1.5000, 1.0000])
    """
    _check_streams(reconstructions, originals)
    losses = loss if isinstance(loss, Mapping) else dict.fromkeys(originals, loss)
    weights, masks = weights or {}, masks or {}
    for what, given in (("loss", losses), ("masks", masks), ("weights", weights)):
        _check_names(what, given, originals)
    if lacking := sorted(originals.keys() - losses.keys()):
        raise ModalityError(f"loss must be given for every modality, got none for {lacking[0]!r}.")
    terms = []
    for name, original in originals.items():
        pair = reconstructions[name], original
        terms.append(weights.get(name, 1.0) * _masked_distance(losses[name], name, pair, masks.get(name)))
    return torch.stack(terms).sum(0)


def _masked_distance(
    loss: ReconstructionLoss, name: str, pair: tuple[Tensor, Tensor], mask: Tensor | None
) -> Tensor:
    """Mean of the loss over the kept positions, ``[B]``; zero where none is kept."""
    if mask is None:
        return loss(*pair)[..., None].flatten(1).mean(1)
    shape = pair[0].shape[:-1]
    if mask.dtype != torch.bool or mask.shape != shape:
        raise MaskError(
            f"Mask of {name!r} must be bool of shape {list(shape)} (True = real), got {mask.dtype} of shape "
            f"{list(mask.shape)}."
        )
    # Zeroed before the loss: a NaN that is dropped only afterwards still reaches the gradient.
    reconstruction, original = (value.masked_fill(~mask[..., None], 0) for value in pair)
    kept = loss(reconstruction, original).masked_fill(~mask, 0)[..., None].flatten(1)
    return kept.sum(1) / mask[..., None].flatten(1).sum(1).clamp(min=1)


def _check_streams(reconstructions: Mapping[str, Tensor], originals: Mapping[str, Tensor]) -> None:
    if not originals or reconstructions.keys() != originals.keys():
        raise ModalityError(
            f"reconstructions must be of the modalities {sorted(originals)}, got {sorted(reconstructions)}."
        )
    for name, original in originals.items():
        shape = reconstructions[name].shape
        if original.ndim < 2 or shape != original.shape:
            raise ModalityError(
                f"The reconstruction of {name!r} must be [B, D] or [B, N, D] as the original, "
                f"{list(original.shape)}, got {list(shape)}."
            )


def _check_names(what: str, given: Mapping[str, object], originals: Mapping[str, Tensor]) -> None:
    if unknown := sorted(given.keys() - originals.keys()):
        hint = did_you_mean(unknown[0], originals)
        raise ModalityError(f"{what} must name modalities that are there, got {unknown[0]!r}.{hint}")
