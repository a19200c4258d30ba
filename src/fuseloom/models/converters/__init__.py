"""Official checkpoints to our models: one converter per published system, a file each."""

from fuseloom.models.converters._base import Converted, Converter, Piece

__all__ = ["Converted", "Converter", "Piece"]
