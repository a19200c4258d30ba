"""OGM: on-the-fly gradient modulation."""

from fuseloom.registry import register
from fuseloom.train.remedies._base import RemedyCard
from fuseloom.train.remedies._on_the_fly import OnTheFly

__all__ = ["OGM"]


@register("ogm")
class OGM(OnTheFly):
    """Slows the encoder of the modality whose own outputs are surest of the true classes.

    Paper: Balanced Multimodal Learning via On-the-fly Gradient Modulation, CVPR 2022. See
    `fuseloom.train.remedies._on_the_fly.modulation_factors` for the rule and `OnTheFly` for the options.

    Example:
        >>> OGM(alpha=0.3).card.touches
        ('gradients',)
    """

    card = RemedyCard(
        summary="Slows the encoder of the modality that is surest of the true classes.",
        touches=("gradients",),
        cost="M + 1 passes behind the encoders, without gradients",
        needs=("classes", "encoders"),
        paper="OGM-GE, CVPR 2022",
        code="https://github.com/GeWu-Lab/OGM-GE_CVPR2022",
        differs="Changes all tensors of encoders with two axes or more, where the official code changes "
        "convolutions only (min_axes=4) and so no transformer.",
    )
