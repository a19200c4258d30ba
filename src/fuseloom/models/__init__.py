"""Models: the generic assembly, and the published systems."""

from fuseloom.models.anchor import Anchor
from fuseloom.models.building import build_model
from fuseloom.models.config import ModelConfig
from fuseloom.models.exchange_transformer import ExchangeTransformer
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse import convert_muse_transformer, muse_transformer
from fuseloom.models.rolling import PatchEncoder, convert_rolling_transformer, rolling_transformer
from fuseloom.models.routed import RoutedModel
from fuseloom.models.spec import FusionSpec

__all__ = [
    "Anchor",
    "ExchangeTransformer",
    "FusionModel",
    "FusionSpec",
    "ModelConfig",
    "PatchEncoder",
    "RoutedModel",
    "build_model",
    "convert_muse_transformer",
    "convert_rolling_transformer",
    "muse_transformer",
    "rolling_transformer",
]
