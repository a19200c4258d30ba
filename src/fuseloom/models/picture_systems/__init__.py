"""Systems that make a picture of others, one file each: ``fusion: cen_translation`` builds CEN's whole."""

from fuseloom.models.picture_systems._base import PictureSystem
from fuseloom.models.picture_systems._predictor import PicturePredictor

__all__ = ["PicturePredictor", "PictureSystem"]
