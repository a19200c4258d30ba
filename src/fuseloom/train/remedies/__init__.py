"""Remedies for models that learn from one modality and neglect the others, each a rule of its own file."""

from fuseloom.train.remedies._base import Course, Remedied, Remedy, RemedyCard
from fuseloom.train.remedies._passage import Moment, Passage
from fuseloom.train.remedies._trained import (
    build_trained,
    fusion_inside,
    named_remedy,
    needs_teachers,
    teachers_of,
)
from fuseloom.train.remedies._view import Encoded, FusionView, ModalityView, view_of

__all__ = [
    "Course",
    "Encoded",
    "FusionView",
    "ModalityView",
    "Moment",
    "Passage",
    "Remedied",
    "Remedy",
    "RemedyCard",
    "build_trained",
    "fusion_inside",
    "named_remedy",
    "needs_teachers",
    "teachers_of",
    "view_of",
]
