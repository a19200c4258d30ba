"""Tables and arrays of the user's own, published data sets, and the embedded ones."""

from fuseloom.data.av_digits import AVDigits, make_av_digits
from fuseloom.data.checks import CheckResult, Finding, check
from fuseloom.data.crema_d import read_crema_d
from fuseloom.data.dataset import (
    Audio,
    Dataset,
    Embedding,
    Image,
    ModalitySpec,
    Schema,
    Series,
    SetAside,
    Table,
    Text,
)
from fuseloom.data.deliver import read_deliver
from fuseloom.data.description import Description, describe
from fuseloom.data.imbalanced import Imbalanced, make_imbalanced
from fuseloom.data.interactions import Interactions, make_interactions
from fuseloom.data.kinetics_sounds import read_kinetics_sounds
from fuseloom.data.loading import load, read_rows
from fuseloom.data.media import Frames, Sound
from fuseloom.data.mfnet import read_mfnet
from fuseloom.data.mosei import read_mosei
from fuseloom.data.mvsa import read_mvsa
from fuseloom.data.nyudv2 import read_nyudv2
from fuseloom.data.options import ReadOptions
from fuseloom.data.preprocessing import Preprocessor, encode, fit_extras, fit_preprocessors
from fuseloom.data.splits import make_splits
from fuseloom.data.state import (
    preprocessors_from_state,
    preprocessors_state,
    schema_from_state,
    schema_state,
)
from fuseloom.data.sun_rgbd import read_sun_rgbd
from fuseloom.data.tagged import read_tagged
from fuseloom.data.taskonomy import read_taskonomy
from fuseloom.data.twitter import read_mt_product, read_twitter2015, read_twitter2017
from fuseloom.data.views import Views, make_views

__all__ = [
    "AVDigits",
    "Audio",
    "CheckResult",
    "Dataset",
    "Description",
    "Embedding",
    "Finding",
    "Frames",
    "Image",
    "Imbalanced",
    "Interactions",
    "ModalitySpec",
    "Preprocessor",
    "ReadOptions",
    "Schema",
    "Series",
    "SetAside",
    "Sound",
    "Table",
    "Text",
    "Views",
    "check",
    "describe",
    "encode",
    "fit_extras",
    "fit_preprocessors",
    "load",
    "make_av_digits",
    "make_imbalanced",
    "make_interactions",
    "make_splits",
    "make_views",
    "preprocessors_from_state",
    "preprocessors_state",
    "read_crema_d",
    "read_deliver",
    "read_kinetics_sounds",
    "read_mfnet",
    "read_mosei",
    "read_mt_product",
    "read_mvsa",
    "read_nyudv2",
    "read_rows",
    "read_sun_rgbd",
    "read_tagged",
    "read_taskonomy",
    "read_twitter2015",
    "read_twitter2017",
    "schema_from_state",
    "schema_state",
]
