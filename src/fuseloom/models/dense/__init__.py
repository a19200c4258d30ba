"""Dense prediction from several maps of one scene: backbones of many streams, heads, and their ensemble."""

from fuseloom.models.dense.cen import cen_refinenet, convert_cen_refinenet, official_cen_refinenet
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
    "cen_refinenet",
    "convert_cen_refinenet",
    "enlarged",
    "in_windows",
    "official_cen_refinenet",
    "over_scales",
    "run_shared",
    "timm_streams",
]
