"""CMU-MOSI, utterance level: is what is said on a film review positive, from text, audio and video."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.matrices import check_equal_labels, read_matrix
from fuseloom.data.source import Source
from fuseloom.data.values import embedding
from fuseloom.errors import DataError

__all__ = ["FILES", "read_mosi"]

_MODALITIES = ("text", "audio", "video")
_SPLITS = ("train", "test")
_CLASSES = ("negative", "positive")

FILES = tuple(f"{modality}_{split}.csv" for modality in _MODALITIES for split in _SPLITS)
"""What the folder of the set holds."""


def read_mosi(folder: Path) -> Source:
    """Read the features published with bc-LSTM (Poria et al., 2017): no header, the label last.

    Data: Zadeh et al., 2016, arXiv:1606.06259. The split between training and test is the published one.

    Raises:
        DataError: files disagree on rows or labels, or a label is neither 0 nor 1.
    """
    splits = {split: _read_split(folder, split) for split in _SPLITS}
    values = {m: np.concatenate([features[m] for features, _ in splits.values()]) for m in _MODALITIES}
    classes = np.concatenate([labels for _, labels in splits.values()])
    ids = [f"{split}-{row}" for split, (_, labels) in splits.items() for row in range(len(labels))]
    return Source(
        name="mosi",
        source_format="mosi",
        ids=ids,
        places=[f"mosi {name}" for name in ids],
        arrays={name: embedding(name, features) for name, features in values.items()},
        labels={
            "sentiment": np.array([_CLASSES[label] for label in classes], dtype=object),
            "split": np.array([name.partition("-")[0] for name in ids], dtype=object),
        },
        target="sentiment",
        target_kind="category",
        split_column="split",
    )


def _read_split(folder: Path, split: str) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    matrices = {modality: read_matrix(folder / f"{modality}_{split}.csv") for modality in _MODALITIES}
    labels = check_equal_labels({f"{m}_{split}.csv": labels for m, (_, labels) in matrices.items()})
    if strange := sorted(set(labels.tolist()) - {0, 1}):
        raise DataError(f"Labels of mosi must be 0 or 1, got {strange[0]} in the {split} files.")
    return {modality: features for modality, (features, _) in matrices.items()}, labels
