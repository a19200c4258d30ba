"""Dense prediction from several maps of one scene: backbones of many streams, heads, and their ensemble."""

from fuseloom.models.dense.cen import cen_refinenet, convert_cen_refinenet, official_cen_refinenet
from fuseloom.models.dense.cen_translation import (
    PatchDiscriminator,
    cen_translation,
    convert_cen_discriminator,
    convert_cen_translation,
    official_cen_translation,
)
from fuseloom.models.dense.collapse import Collapse
from fuseloom.models.dense.encoded import EncodedStreams, timm_streams
from fuseloom.models.dense.ensemble import Ensemble
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_deliver,
    convert_geminifusion_mit,
    convert_geminifusion_swin,
    geminifusion_mit,
    geminifusion_swin,
    official_geminifusion_deliver,
    official_geminifusion_mit,
    official_geminifusion_swin,
)
from fuseloom.models.dense.inference import enlarged, in_windows, over_scales
from fuseloom.models.dense.joined import JoinedDecoder
from fuseloom.models.dense.mit import MIT_SIZES, MitSize, MitStreams
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.model import DenseModel, StreamDecoder
from fuseloom.models.dense.placed import Placed
from fuseloom.models.dense.stage_gate import StageGate, convert_dynmm_gate
from fuseloom.models.dense.stream_encoder import StreamEncoder, run_shared
from fuseloom.models.dense.swin import SWIN_SIZES, SwinSize, SwinStreams
from fuseloom.models.dense.swin_names import expand_swin
from fuseloom.models.dense.token_translation import (
    TRANSLATION_SIZES,
    MitDiscriminator,
    convert_tokenfusion_discriminator,
    convert_tokenfusion_translation,
    official_tokenfusion_translation,
    tokenfusion_translation,
)
from fuseloom.models.dense.tokenfusion import (
    convert_tokenfusion_mit,
    official_tokenfusion_mit,
    tokenfusion_mit,
)

__all__ = [
    "MIT_SIZES",
    "SWIN_SIZES",
    "TRANSLATION_SIZES",
    "Collapse",
    "DenseModel",
    "EncodedStreams",
    "Ensemble",
    "JoinedDecoder",
    "MitDiscriminator",
    "MitSize",
    "MitStreams",
    "PatchDiscriminator",
    "Placed",
    "StageGate",
    "StreamDecoder",
    "StreamEncoder",
    "SwinSize",
    "SwinStreams",
    "cen_refinenet",
    "cen_translation",
    "convert_cen_discriminator",
    "convert_cen_refinenet",
    "convert_cen_translation",
    "convert_dynmm_gate",
    "convert_geminifusion_deliver",
    "convert_geminifusion_mit",
    "convert_geminifusion_swin",
    "convert_tokenfusion_discriminator",
    "convert_tokenfusion_mit",
    "convert_tokenfusion_translation",
    "enlarged",
    "expand_mit",
    "expand_swin",
    "geminifusion_mit",
    "geminifusion_swin",
    "in_windows",
    "official_cen_refinenet",
    "official_cen_translation",
    "official_geminifusion_deliver",
    "official_geminifusion_mit",
    "official_geminifusion_swin",
    "official_tokenfusion_mit",
    "official_tokenfusion_translation",
    "over_scales",
    "run_shared",
    "timm_streams",
    "tokenfusion_mit",
    "tokenfusion_translation",
]
