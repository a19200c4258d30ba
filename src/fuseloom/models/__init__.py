"""Models: the generic assembly, and the published systems."""

from fuseloom.models.fusion import FusionModel, FusionSpec, ModelConfig, build_model

__all__ = ["FusionModel", "FusionSpec", "ModelConfig", "build_model"]
