"""Dense prediction from several maps of one scene: backbones of many streams, heads, and their ensemble."""

from fuseloom.models.dense.cen import cen_refinenet, convert_cen_refinenet, official_cen_refinenet
from fuseloom.models.dense.encoded import EncodedStreams, timm_streams
from fuseloom.models.dense.ensemble import Ensemble
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_mit,
    geminifusion_mit,
    official_geminifusion_mit,
)
from fuseloom.models.dense.inference import enlarged, in_windows, over_scales
from fuseloom.models.dense.mit import MIT_SIZES, MitSize, MitStreams, Placed
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.stream_encoder import StreamEncoder, run_shared
from fuseloom.models.dense.tokenfusion import (
    convert_tokenfusion_mit,
    official_tokenfusion_mit,
    tokenfusion_mit,
)

__all__ = [
    "MIT_SIZES",
    "DenseModel",
    "EncodedStreams",
    "Ensemble",
    "MitSize",
    "MitStreams",
    "Placed",
    "StreamEncoder",
    "cen_refinenet",
    "convert_cen_refinenet",
    "convert_geminifusion_mit",
    "convert_tokenfusion_mit",
    "enlarged",
    "expand_mit",
    "geminifusion_mit",
    "in_windows",
    "official_cen_refinenet",
    "official_geminifusion_mit",
    "official_tokenfusion_mit",
    "over_scales",
    "run_shared",
    "timm_streams",
    "tokenfusion_mit",
]
