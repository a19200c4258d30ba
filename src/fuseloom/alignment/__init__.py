"""Which tokens of two modalities belong together: builders of `Alignment`, and what joins them."""

from fuseloom.alignment.boxes import align_boxes
from fuseloom.alignment.joining import chain, flatten_choices
from fuseloom.alignment.labels import find_labels
from fuseloom.alignment.named import named_alignments
from fuseloom.alignment.similarity import align_similar
from fuseloom.alignment.spans import Span, align_spans, align_words
from fuseloom.alignment.tags import Tagged, render_tags

__all__ = [
    "Span",
    "Tagged",
    "align_boxes",
    "align_similar",
    "align_spans",
    "align_words",
    "chain",
    "find_labels",
    "flatten_choices",
    "named_alignments",
    "render_tags",
]
