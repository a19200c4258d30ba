"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement."""

from fuseloom.registry import register
from fuseloom.train.remedies._base import RemedyCard
from fuseloom.train.remedies._on_the_fly import OnTheFly

__all__ = ["OGMGE"]


@register("ogm_ge")
class OGMGE(OnTheFly):
    """OGM, and Gaussian noise as large as the unchanged gradient on all modalities' gradients.

    Paper: Balanced Multimodal Learning via On-the-fly Gradient Modulation, CVPR 2022.

    Example:
        >>> OGMGE().noise
        True
    """

    card = RemedyCard(
        summary="OGM, and noise as large as their gradients for all encoders.",
        touches=("gradients",),
        cost="M + 1 passes behind the encoders, without gradients; a draw per encoder parameter",
        needs=("classes", "encoders"),
        paper="OGM-GE, CVPR 2022",
        code="https://github.com/GeWu-Lab/OGM-GE_CVPR2022",
        differs="Changes all tensors of encoders with two axes or more, where the official code changes "
        "convolutions only (min_axes=4) and so no transformer.",
    )
    noise = True
