"""MuSE: two streams through one transformer that exchange their least attended tokens.

Paper: Zhu et al., 2023, "Exchanging-based Multimodal Fusion with Transformer", arXiv:2309.02190.
"""

from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.decoders import GenerativeLosses, LossWeights
from fuseloom.models.muse.official import (
    OfficialImage,
    OfficialText,
    convert_muse,
    official_muse,
    official_muse_state,
)
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.models.muse.system import muse
from fuseloom.models.muse.transformer import convert_muse_transformer, muse_transformer

__all__ = [
    "Captioner",
    "GenerativeLosses",
    "LossWeights",
    "OfficialImage",
    "OfficialText",
    "PixelCnn",
    "convert_muse",
    "convert_muse_transformer",
    "muse",
    "muse_transformer",
    "official_muse",
    "official_muse_state",
]
