"""Models: the generic assembly, and the published systems."""

from fuseloom.models.fusion import FusionModel, FusionSpec, ModelConfig, build_model
from fuseloom.models.routed import RoutedModel

__all__ = ["FusionModel", "FusionSpec", "ModelConfig", "RoutedModel", "build_model"]
