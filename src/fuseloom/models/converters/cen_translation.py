"""Checkpoints of CEN for image translation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fuseloom.errors import DataError, OptionError
from fuseloom.models.converters._base import Converted, Converter
from fuseloom.models.converters._pictures import as_pictures, traced, without_counts
from fuseloom.models.dense.cen_translation import convert_cen_translation
from fuseloom.registry import register

__all__ = ["CenTranslationConverter"]


@register("cen_translation")
@dataclass(frozen=True, kw_only=True)
class CenTranslationConverter(Converter):
    """CEN's generator for image translation; modalities are domains of Taskonomy, such as rgb and reshading.

    The sizes of all parts are read from the weights. Maps of 16 bits are scaled as the official code does it,
    without its loss of fractions; dropout is off, and norms use the statistics of each picture.
    """

    paper = "Wang et al., 2020, arXiv:2011.05005"
    code = "yikaiw/CEN"

    size: str = "256x256"
    """To which scenes are brought."""
    threshold: float = 0.01
    """Scale below which a channel gives way."""

    def convert(self, state: Mapping[str, Tensor], modalities: Mapping[str, int | None]) -> Converted:
        names = [*modalities]
        try:
            found = convert_cen_translation(without_counts(state), names)
        except (OptionError, KeyError) as error:
            raise DataError(f"The checkpoint must be of a generator of CEN, got another: {error}") from None
        convs = [name for name in found if name.startswith("encoder.convs.") and name.endswith(".weight")]
        last = f"head.convs.{len(convs) - 1}.bias"
        if not convs or last not in found:
            raise DataError("The checkpoint must be of a whole generator of CEN, got one without its ends.")
        options = {
            "dim": len(found["encoder.convs.0.weight"]),
            "depth": len(convs),
            "exchange_options": {"norm": None, "threshold": self.threshold, "faithful": True},
        }
        return as_pictures(
            traced(state, found),
            names,
            fusion="cen_translation",
            options=options,
            size=self.size,
            out_channels=len(found[last]),
            stem="encoder.convs.0.weight",
        )
