"""Losses of representations, which they pull together or apart, and of pixels: functions of tensors."""

from fuseloom.losses.cca import cca_loss
from fuseloom.losses.elbo import (
    elbo_loss,
    kl_standard_normal,
    logit_loss,
    probability_loss,
    reconstruction_loss,
    squared_loss,
)
from fuseloom.losses.hard_pixels import hard_pixel_loss

__all__ = [
    "cca_loss",
    "elbo_loss",
    "hard_pixel_loss",
    "kl_standard_normal",
    "logit_loss",
    "probability_loss",
    "reconstruction_loss",
    "squared_loss",
]
