"""Data made ready to compare on: task, folds, preprocessing and encoded rows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.encoding import chosen_encoders
from fuseloom.comparison.jobs import Rows
from fuseloom.data import Dataset, Preprocessor, encode, fit_preprocessors, make_splits
from fuseloom.data.splits import FEW_ROWS
from fuseloom.errors import DataError
from fuseloom.registry import lookup
from fuseloom.tasks import Task, infer_task
from fuseloom.train.fit import weighted_task
from fuseloom.types import Batch

__all__ = ["Prepared", "fingerprint", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One fold of a data set, with everything that was learnt from its training rows."""

    dataset: Dataset
    task: Task
    preprocessors: Mapping[str, Preprocessor]
    rows: Rows
    encoders: Mapping[str, Mapping[str, Any]]
    """Modality name -> kind and options of its encoder."""
    notes: tuple[str, ...]

    @property
    def units(self) -> NDArray[np.intp]:
        """What rows are drawn by where they are resampled ``[N]``: their number, or that of their group."""
        if self.dataset.groups is None:
            return np.arange(len(self.dataset))
        return np.unique(self.dataset.groups.astype(str), return_inverse=True)[1]


def fingerprint(folds: Sequence[Prepared]) -> str:
    """A digest that changes with any encoded value, mask, target or split."""
    digest = hashlib.sha256()
    for fold in folds:
        for name, value in fold.rows.parts().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def prepare(dataset: Dataset, config: CompareConfig) -> list[Prepared]:
    """Learn the task, split the rows into folds, and fit each fold's preprocessing on its training rows.

    Raises:
        DataError: fewer than two modalities, no usable target, or too few rows.
        OptionError: classes are to be balanced and the task has none.
        UnknownNameError: no such task.
    """
    if len(dataset.modalities) < 2:
        raise DataError(
            f"{dataset.name} must have at least two modalities to compare fusions, got only "
            f"{next(iter(dataset.modalities))!r}. Of a table, each text column is one and all other columns "
            "are one together: group them with --tabular weather=temp,wind --tabular ground=slope,soil "
            "(ReadOptions(tabular=...)), or make a short column text with kinds."
        )
    if dataset.target is None:
        raise DataError("target must be given to compare fusions, got none. Name it with --target.")
    name = config.task if config.task is not None else infer_task(dataset.target)
    task: Task = lookup(name, kind="task").learn(dataset.target, dataset.schema.target_columns or None)
    splits = make_splits(dataset, stratify=task.stratified, seed=config.split_seed, folds=config.folds)
    how = "told from the target" if config.task is None else "given"
    notes = (*dataset.notes, f"task: {name} ({how})", _splits_note(dataset, config, len(splits)))
    notes = (*notes, *task.notes, *config.notes())
    weighted_task(task, torch.from_numpy(task.encode(dataset.target)), config.class_weight)  # or it refuses
    return [_fold(dataset, task, split, config, notes) for split in splits]


def _splits_note(dataset: Dataset, config: CompareConfig, made: int) -> str:
    if dataset.folds:
        return f"splits: {made} folds, given by the data"
    seed = f"made with seed {config.split_seed}"
    if dataset.split is not None and made == 1:
        return "splits: given by the data"
    if made == 1:
        return f"splits: {seed}"
    why = f", as there are fewer than {FEW_ROWS:,} rows" if config.folds is None else ""
    return (
        f"splits: {made} folds with the same test rows, in each of which another part of the other rows is "
        f"for validation, {seed}{why}"
    )


def _fold(
    dataset: Dataset, task: Task, split: NDArray[np.str_], config: CompareConfig, notes: tuple[str, ...]
) -> Prepared:
    places = {part: np.flatnonzero(split == part) for part in ("train", "valid", "test")}
    _check_sizes(places)
    specs = chosen_encoders(dataset, config.encoder, embedding_encoder=config.embedding_encoder)
    settings = {name: spec.settings() for name, spec in specs.items()}
    preprocessors = fit_preprocessors(dataset, places["train"], settings)
    inputs, masks = encode(dataset, preprocessors)
    assert dataset.target is not None
    target = torch.from_numpy(task.encode(dataset.target))
    learnt = [f"{part}: {note}" for part, p in preprocessors.items() for note in p.notes]
    return Prepared(
        dataset=dataset,
        task=task,
        preprocessors=preprocessors,
        rows=Rows(
            all=Batch(inputs=inputs, masks=masks, target=target),
            split={part: torch.from_numpy(rows) for part, rows in places.items()},
        ),
        encoders={name: specs[name].encoder(p) for name, p in preprocessors.items()},
        notes=(*notes, *learnt),
    )


def _check_sizes(places: Mapping[str, NDArray[np.intp]]) -> None:
    sizes = {part: len(rows) for part, rows in places.items()}
    if short := [part for part, size in sizes.items() if size < 2]:
        raise DataError(f"splits must have at least two rows each, got {sizes}: {short[0]!r} is too small.")
