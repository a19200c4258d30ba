"""Checkpoints of TokenFusion for image translation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.models.converters._base import Converted, Converter
from fuseloom.models.converters._dense import mit_numbers
from fuseloom.models.converters._pictures import as_pictures, traced, without_counts
from fuseloom.models.dense.token_translation import TRANSLATION_SIZES, convert_tokenfusion_translation
from fuseloom.registry import register

__all__ = ["TokenFusionTranslationConverter"]

_ENCODER = "encoder."


@register("tokenfusion_translation")
@dataclass(frozen=True, kw_only=True)
class TokenFusionTranslationConverter(Converter):
    """TokenFusion's generator for image translation; modalities are domains of Taskonomy.

    The sizes of all parts are read from the weights. Maps of 16 bits are scaled as the official code does it,
    without its loss of fractions, and no block is dropped.
    """

    paper = "Wang et al., 2022, arXiv:2204.08721"
    code = "yikaiw/TokenFusion"

    size: str = "256x256"
    """To which scenes are brought."""
    threshold: float = 0.02
    """Score below which a token gives way."""
    backbone_heads: Sequence[int] = (1, 2, 4, 8, 16)
    """Of attention in each stage of the backbone."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        names = [*modalities]
        try:
            found = convert_tokenfusion_translation(without_counts(state), names)
        except OptionError as error:
            raise DataError(
                f"The checkpoint must be of a generator of TokenFusion, got another: {error}"
            ) from None
        if "head.paint.bias" not in found:
            raise DataError(
                "The checkpoint must be of a whole generator of TokenFusion, got one without its end."
            )
        inside = {n.removeprefix(_ENCODER): v for n, v in found.items() if n.startswith(_ENCODER)}
        numbers = mit_numbers(inside, self.backbone_heads)
        assert not isinstance(numbers, str), "no published size of segmentation is one of translation"
        options = {
            "size": {**numbers, "stem": [*TRANSLATION_SIZES["b2"].stem]},
            "exchange_options": {"threshold": self.threshold},
            "drop_path": 0.0,
        }
        return as_pictures(
            traced(state, found),
            names,
            fusion="tokenfusion_translation",
            options=options,
            size=self.size,
            out_channels=len(found["head.paint.bias"]),
            stem="encoder.embed.0.weight",
        )
