"""Losses that pull representations of modalities together or apart: functions of tensors."""

from fuseloom.losses.cca import cca_loss
from fuseloom.losses.elbo import (
    elbo_loss,
    kl_standard_normal,
    logit_loss,
    probability_loss,
    reconstruction_loss,
    squared_loss,
)

__all__ = [
    "cca_loss",
    "elbo_loss",
    "kl_standard_normal",
    "logit_loss",
    "probability_loss",
    "reconstruction_loss",
    "squared_loss",
]
