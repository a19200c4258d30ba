"""Which task raw targets suggest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.tasks._label_item import LabelItem
from fuseloom.tasks._labels import find_separator, split_labels
from fuseloom.tasks._picture_item import PictureItem

__all__ = ["infer_task"]


def infer_task(target: NDArray[Any]) -> str:
    """Name of the task that raw targets ``[N]`` or ``[N, K]`` suggest.

    Strings, and at most 20 whole numbers, are classes. Strings are lists of classes where a part between
    separators (``;`` or ``|``) occurs in several different strings. Several columns are lists of classes
    where all are 0 or 1, otherwise numbers. Tuples are tags of words, maps of labels those of
    pixels, and pictures are to be made.

    Example:
        >>> infer_task(np.array(["yes", "no"])), infer_task(np.array([0.5, 2.25]))
        ('classification', 'regression')
        >>> infer_task(np.array(["rock", "rock;pop"])), infer_task(np.array([[0.5, 1.0], [2.0, 3.0]]))
        ('multilabel', 'regression')
    """
    if target.ndim == 2 and target.shape[1] > 1:
        return "multilabel" if np.isin(target, (0, 1)).all() else "regression"
    target = target.reshape(-1)
    kinds = ((tuple, "tagging"), (LabelItem, "segmentation"), (PictureItem, "translation"))
    for kind, name in kinds:
        if target.dtype.kind == "O" and all(isinstance(value, kind) for value in target):
            return name
    if target.dtype.kind in "OUSb":
        return "multilabel" if _are_lists(target) else "classification"
    values = np.unique(target[np.isfinite(target)])
    whole = bool((values == np.round(values)).all())
    return "classification" if whole and len(values) <= 20 else "regression"


def _are_lists(target: NDArray[Any]) -> bool:
    """Whether a class of a string of several is also in another string."""
    separator = find_separator(target)
    if separator is None:
        return False
    strings = {str(value) for value in target if value is not None}
    lists = [set(split_labels(string, separator)) for string in strings]
    names, counts = np.unique([name for one in lists for name in one], return_counts=True)
    shared = set(names[counts > 1].tolist())
    return any(len(one) > 1 and one & shared for one in lists)
