"""Tables and arrays of the user's own, published data sets, and the embedded ones."""

from fuseloom.data.dataset import Dataset, Embedding, ModalitySpec, Schema, SetAside, Table, Text
from fuseloom.data.interactions import Interactions, make_interactions
from fuseloom.data.loading import load, read_rows
from fuseloom.data.options import ReadOptions
from fuseloom.data.preprocessing import Preprocessor, encode, fit_preprocessors
from fuseloom.data.splits import make_splits
from fuseloom.data.state import (
    preprocessors_from_state,
    preprocessors_state,
    schema_from_state,
    schema_state,
)

__all__ = [
    "Dataset",
    "Embedding",
    "Interactions",
    "ModalitySpec",
    "Preprocessor",
    "ReadOptions",
    "Schema",
    "SetAside",
    "Table",
    "Text",
    "encode",
    "fit_preprocessors",
    "load",
    "make_interactions",
    "make_splits",
    "preprocessors_from_state",
    "preprocessors_state",
    "read_rows",
    "schema_from_state",
    "schema_state",
]
