"""Dense prediction from several maps of one scene: backbones of many streams, heads, and their ensemble."""

from fuseloom.models.dense.encoded import EncodedStreams, timm_streams
from fuseloom.models.dense.ensemble import Ensemble
from fuseloom.models.dense.inference import enlarged, in_windows, over_scales
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.stream_encoder import StreamEncoder, run_shared

__all__ = [
    "DenseModel",
    "EncodedStreams",
    "Ensemble",
    "StreamEncoder",
    "enlarged",
    "in_windows",
    "over_scales",
    "run_shared",
    "timm_streams",
]
