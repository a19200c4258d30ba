"""What is learnt from training rows to make numbers of a modality: one class per kind, a file each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.data.dataset import Dataset, Embedding, Series
from fuseloom.data.preprocessing._base import Encoded, Preprocessor, chunks
from fuseloom.data.preprocessing._windows import Windows
from fuseloom.data.preprocessing.audio import AudioPreprocessor
from fuseloom.data.preprocessing.captions import CaptionPreprocessor
from fuseloom.data.preprocessing.embedding import EmbeddingPreprocessor
from fuseloom.data.preprocessing.features import ImageFeatures, TextFeatures
from fuseloom.data.preprocessing.given import GivenPreprocessor
from fuseloom.data.preprocessing.image import ImagePreprocessor
from fuseloom.data.preprocessing.map import MapPreprocessor
from fuseloom.data.preprocessing.series import SeriesPreprocessor
from fuseloom.data.preprocessing.spectrogram import FilterbankPreprocessor, SpectrogramPreprocessor
from fuseloom.data.preprocessing.store import Store
from fuseloom.data.preprocessing.table import TablePreprocessor
from fuseloom.data.preprocessing.text import TextPreprocessor
from fuseloom.data.preprocessing.tokens import TokenPreprocessor
from fuseloom.data.preprocessing.word_pieces import WordPiecePreprocessor
from fuseloom.data.preprocessing.words import WordPreprocessor
from fuseloom.errors import DataError

__all__ = [
    "PREPROCESSORS",
    "AudioPreprocessor",
    "CaptionPreprocessor",
    "EmbeddingPreprocessor",
    "Encoded",
    "FilterbankPreprocessor",
    "GivenPreprocessor",
    "ImageFeatures",
    "ImagePreprocessor",
    "MapPreprocessor",
    "Preprocessor",
    "SeriesPreprocessor",
    "SpectrogramPreprocessor",
    "Store",
    "TablePreprocessor",
    "TextFeatures",
    "TextPreprocessor",
    "TokenPreprocessor",
    "Windows",
    "WordPiecePreprocessor",
    "WordPreprocessor",
    "encode",
    "fit_extras",
    "fit_preprocessors",
]

PREPROCESSORS: Mapping[str, type[Preprocessor]] = {
    cls.kind: cls
    for cls in (
        AudioPreprocessor,
        CaptionPreprocessor,
        EmbeddingPreprocessor,
        FilterbankPreprocessor,
        ImageFeatures,
        GivenPreprocessor,
        ImagePreprocessor,
        MapPreprocessor,
        SeriesPreprocessor,
        SpectrogramPreprocessor,
        TablePreprocessor,
        TextFeatures,
        TextPreprocessor,
        TokenPreprocessor,
        WordPiecePreprocessor,
        WordPreprocessor,
    )
}
"""Name -> preprocessor; that of the same name as a kind of modality is the one it gets by default."""

_NO_SETTINGS: Mapping[str, Mapping[str, Any]] = {}
_IN_MEMORY = Store()


def fit_preprocessors(
    dataset: Dataset, rows: NDArray[np.intp], settings: Mapping[str, Mapping[str, Any]] = _NO_SETTINGS
) -> dict[str, Preprocessor]:
    """Fit one preprocessor per modality on the given rows, which should be those of training.

    Args:
        dataset: Gives the modalities.
        rows: Row numbers.
        settings: Modality name -> ``kind`` of its preprocessor, where it is not the one of its own kind, and
            options of its ``fit``.

    Raises:
        DataError: a preprocessor that does not read modalities of that kind.
    """
    return {name: _fitted(dataset, name, rows, settings.get(name, {})) for name in dataset.modalities}


def fit_extras(
    dataset: Dataset, rows: NDArray[np.intp], wanted: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> dict[str, tuple[str, Preprocessor]]:
    """Fit what makes something else than its input of a modality, for training.

    Args:
        dataset: Gives the modalities.
        rows: Row numbers of training.
        wanted: Name -> kind of the modality, and ``kind`` and options of the preprocessor's ``fit``.

    Returns:
        Name -> the modality that it is made of, and the preprocessor.

    Raises:
        DataError: not one modality is of that kind.
    """
    fitted = {}
    for name, (kind, settings) in wanted.items():
        of_kind = [one for one, modality in dataset.modalities.items() if modality.kind == kind]
        if len(of_kind) != 1:
            found = {one: modality.kind for one, modality in dataset.modalities.items()}
            raise DataError(f"One modality must be of kind {kind!r}, of which come {name}, got {found}.")
        fitted[name] = of_kind[0], _fitted(dataset, of_kind[0], rows, settings)
    return fitted


def _fitted(dataset: Dataset, name: str, rows: NDArray[np.intp], settings: Mapping[str, Any]) -> Preprocessor:
    modality, options = dataset.modalities[name], dict(settings)
    preprocessor = PREPROCESSORS[options.pop("kind", modality.kind)]
    if preprocessor.reads != modality.kind:
        raise DataError(f"Modality {name!r} must be of kind {preprocessor.reads!r}, got {modality.kind}.")
    return preprocessor.fit(modality, rows, **options)


def encode(
    dataset: Dataset, preprocessors: Mapping[str, Preprocessor], store: Store = _IN_MEMORY
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and masks of all rows, in the order of the preprocessors.

    Rows are read and encoded some at a time, so that what is raw need not be in memory at once.

    Args:
        dataset: Rows.
        preprocessors: Modality name -> what makes numbers of it.
        store: Where inputs go that are too large for the memory.

    Raises:
        DataError: a modality is not there, or is not what it was in training.
    """
    inputs: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name, preprocessor in preprocessors.items():
        values, mask = _applied(name, preprocessor, dataset, store)
        inputs[name], masks[name] = torch.from_numpy(values), torch.from_numpy(mask)
    return inputs, masks


def _applied(name: str, preprocessor: Preprocessor, dataset: Dataset, store: Store) -> Encoded:
    modality = dataset.modalities.get(name)
    found = modality.kind if modality is not None else "none"
    if modality is None or found != preprocessor.reads:
        raise DataError(
            f"Modality {name!r} must be of kind {preprocessor.reads!r} as in training, got {found}."
        )
    like = modality.values if isinstance(modality, Embedding | Series) else np.empty(len(modality))
    try:
        parts = (
            preprocessor.apply(modality.take(rows)) for rows in chunks(like, most=preprocessor.rows_at_once)
        )
        return store.put(name, parts, rows=len(modality))
    except DataError as error:
        raise DataError(f"Modality {name!r}: {error}") from None
