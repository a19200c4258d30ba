"""What a linear model can read of each modality."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fuseloom.comparison.jobs import Rows
from fuseloom.nn import masked_mean

__all__ = ["features"]

Floats = NDArray[np.float64]
Reader = Callable[[Tensor, Tensor, Mapping[str, Any]], Floats]
"""Of inputs, mask and options of the encoder."""

_AT_ONCE = 256
_SIDE = 16
_MOST_BUCKETS = 20_000


def features(rows: Rows, encoders: Mapping[str, Mapping[str, Any]]) -> Any:
    """A sparse matrix with a row per row.

    Vectors as they are, sequences and maps averaged, missing numbers as zero with a flag, categories one-hot,
    text as TF-IDF of its byte n-grams (of its tokens, where it has such), fitted on training rows; pictures
    and maps of numbers as 16 by 16 pixels, recordings and series as mean and deviation of each band or
    channel.
    """
    from scipy.sparse import csr_matrix, hstack

    train = rows.split["train"].cpu().numpy()
    parts = []
    for name, options in encoders.items():
        value, mask, kind = rows.all.inputs[name].cpu(), rows.all.masks[name].cpu(), options["kind"]
        if kind in _WORDS:
            parts.append(_WORDS[kind](value, mask, train))
        else:
            read = _READERS.get(kind, _vector_features)
            parts.append(csr_matrix(_in_parts(read, value, mask, options)))
    return hstack(parts).tocsr()


def _in_parts(read: Reader, value: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Floats:
    """Some rows at a time: what they are read from may be larger than the memory."""
    places = [slice(start, start + _AT_ONCE) for start in range(0, len(value), _AT_ONCE)]
    return np.concatenate([read(value[rows], mask[rows], options) for rows in places])


def _vector_features(value: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Floats:
    if value.dim() == 4:  # a map has its channels first
        value = value.flatten(2).transpose(1, 2)
        mask = mask.flatten(1)
    known = value.masked_fill(~mask[..., None], 0).double()
    vectors: Floats = (masked_mean(known, mask) if known.dim() == 3 else known).numpy()
    return vectors


def _table_features(row: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Floats:
    count = options["num_numbers"]
    numbers, codes = row[:, :count].double(), row[:, count:].nan_to_num(0).long()
    missing = numbers.isnan()
    hot = [F.one_hot(codes[:, k], size).double() for k, size in enumerate(options["cardinalities"])]
    table: Floats = torch.cat([numbers.nan_to_num(0), missing.double(), *hot], 1).numpy()
    return table


def _picture_features(value: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Floats:
    small = F.adaptive_avg_pool2d(value.float() / 127.5 - 1, _SIDE)
    pixels: Floats = (small.flatten(1) * mask[:, None]).double().numpy()
    return pixels


def _map_features(value: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Floats:
    """Means over 16 by 16 cells of what is known in each, and how much of it is."""
    real = mask[:, None].to(value.dtype)
    shares = F.adaptive_avg_pool2d(real, _SIDE)
    means = F.adaptive_avg_pool2d(value * real, _SIDE) / shares.clamp(min=1e-6)
    cells: Floats = torch.cat([means, shares], 1).flatten(1).double().numpy()
    return cells


def _course_features(value: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Floats:
    """Mean and deviation over time of what is known."""
    known = mask[..., None] & value.isfinite()
    there = torch.where(known, value, 0).double()
    count = known.sum(1).clamp(min=1)
    mean = there.sum(1) / count
    spread = (torch.where(known, there - mean[:, None], 0).square().sum(1) / count).sqrt()
    course: Floats = torch.cat([mean, spread], 1).numpy()
    return course


def _text_counts(text: Tensor, mask: Tensor, train: NDArray[Any]) -> Any:
    strings = [
        bytes(row[kept].tolist()).decode("utf-8", errors="replace")
        for row, kept in zip(text, mask, strict=True)
    ]
    return _weighted_counts(strings, train, analyzer="char_wb", ngram_range=(2, 4))


def _token_counts(ids: Tensor, mask: Tensor, train: NDArray[Any]) -> Any:
    strings = [" ".join(map(str, row[kept].tolist())) for row, kept in zip(ids, mask, strict=True)]
    return _weighted_counts(strings, train, analyzer=str.split)


def _weighted_counts(strings: list[str], train: NDArray[Any], **how: Any) -> Any:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=_MOST_BUCKETS, sublinear_tf=True, **how)
    try:
        vectorizer.fit([strings[i] for i in train])
    except ValueError:  # no training row has any text
        return csr_matrix((len(strings), 1))
    return vectorizer.transform(strings)


_READERS: Mapping[str, Reader] = {
    "audio": _course_features,
    "image": _picture_features,
    "map": _map_features,
    "series": _course_features,
    "table": _table_features,
    "timm": _picture_features,
}
"""Encoder -> what reads its input; any other input is vectors, sequences or maps of them, or words."""
_WORDS: Mapping[str, Callable[[Tensor, Tensor, NDArray[Any]], Any]] = {
    "hf": _token_counts,
    "text": _text_counts,
}
"""Encoder -> what counts the words of its input, as they are weighed in training rows."""
