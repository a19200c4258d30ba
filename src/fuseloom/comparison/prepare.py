"""Data made ready to compare on: task, folds, preprocessing and encoded rows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.encoding import chosen_encoders
from fuseloom.comparison.jobs import Rows
from fuseloom.data import Dataset, Preprocessor, encode, fit_extras, fit_preprocessors, make_splits
from fuseloom.data.grid import Grid
from fuseloom.data.preprocessing import Store
from fuseloom.data.splits import FEW_ROWS
from fuseloom.errors import DataError, OptionError
from fuseloom.models.systems import Extra
from fuseloom.registry import lookup
from fuseloom.tasks import Task, infer_task
from fuseloom.train.fit import weighted_task
from fuseloom.types import Batch

__all__ = ["Prepared", "fingerprint", "prepare", "suggested_task"]

_INSTEAD = {
    "tagging": "fuseloom train entities --data SOURCE",
    "segmentation": "fuseloom train segformer-small --data SOURCE. Several in one table, where nothing need "
    "be said of how they are read: fuseloom recipe seg-fusions SOURCE",
    "translation": "fuseloom train cen-translation-small --data SOURCE",
}
"""Task of many answers in each row -> what to type for it."""
_ON_GRID = ("image", "map")
"""Kinds of modalities that have pixels."""
_IN_MEMORY = Store()
_NO_EXTRAS: Mapping[str, Extra] = {}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One fold of a data set, with everything that was learnt from its training rows."""

    dataset: Dataset
    task: Task
    preprocessors: Mapping[str, Preprocessor]
    rows: Rows
    encoders: Mapping[str, Mapping[str, Any]]
    """Modality name -> kind and options of its encoder."""
    anchor: str
    """Modality at whose positions the task predicts; none for a task of rows."""
    notes: tuple[str, ...]
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a system learns from beside its inputs -> the modality ``of`` which it is made, and what the
    preprocessing of that found."""
    conditions: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    """What is scored besides the splits -> row numbers."""

    @property
    def units(self) -> NDArray[np.intp]:
        """What rows are drawn by where they are resampled ``[N]``: their number, or that of their group."""
        if self.dataset.groups is None:
            return np.arange(len(self.dataset))
        return np.unique(self.dataset.groups.astype(str), return_inverse=True)[1]


def fingerprint(folds: Sequence[Prepared]) -> str:
    """A digest that changes with any encoded value, mask, target or split."""
    digest = hashlib.sha256()
    read: dict[int, bytes] = {}  # what folds share is read once
    for fold in folds:
        for name, value in fold.rows.parts().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
            if id(value) not in read:
                values = value.contiguous().numpy().reshape(-1).view(np.uint8)
                read[id(value)] = hashlib.sha256(values.data).digest()
            digest.update(read[id(value)])
    return digest.hexdigest()[:16]


def prepare(
    dataset: Dataset,
    config: CompareConfig,
    store: Store = _IN_MEMORY,
    *,
    least: int = 2,
    extras: Mapping[str, Extra] = _NO_EXTRAS,
) -> list[Prepared]:
    """Learn the task, split the rows into folds, and fit each fold's preprocessing on its training rows.

    Folds whose preprocessing of a modality came out the same share its inputs.

    Args:
        dataset: With a target.
        config: Gives task, splits and encoders.
        store: Where inputs go that are too large for the memory.
        least: How many modalities there must be.
        extras: What is learnt from beside the inputs.

    Raises:
        DataError: fewer modalities, no usable target, too few rows, or not one modality whose positions the
            task is of, or of which an extra is made.
        OptionError: classes are to be balanced and the task has none.
        UnknownNameError: no such task.
    """
    if len(dataset.modalities) < least:
        raise DataError(
            f"{dataset.name} must have at least two modalities to compare fusions, got only "
            f"{next(iter(dataset.modalities))!r}. Of a table, each text column is one and all other columns "
            "are one together: group them with --tabular weather=temp,wind --tabular ground=slope,soil "
            "(ReadOptions(tabular=...)), or make a short column text with kinds."
        )
    if dataset.target is None:
        raise DataError("target must be given to compare fusions, got none. Name it with --target.")
    name = config.task if config.task is not None else suggested_task(dataset)
    if least > 1 and (instead := _INSTEAD.get(name)) is not None:
        raise DataError(
            f"A comparison must be of a task of whole rows, got {name}. Train one model of these data, with "
            f"the same options for how they are read: {instead}."
        )
    task: Task = lookup(name, kind="task").learn(dataset.target, dataset.schema.target_columns or None)
    splits = make_splits(dataset, stratify=task.stratified, seed=config.split_seed, folds=config.folds)
    how = "told from the target" if config.task is None else "given"
    notes = (*dataset.notes, f"task: {name} ({how})", _splits_note(dataset, config, len(splits)))
    notes = (*notes, *task.notes, *config.notes())
    weighted_task(task, torch.from_numpy(task.encode(dataset.target)), config.class_weight)  # or it refuses
    encoded = _Encoded(dataset, store)
    return [_fold(encoded, task, split, config, extras, notes) for split in splits]


def suggested_task(dataset: Dataset) -> str:
    """The task that the target suggests, or what was said of its kind."""
    assert dataset.target is not None
    return "multilabel" if dataset.schema.target_kind == "classes" else infer_task(dataset.target)


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


class _Encoded:
    """What preprocessors made of the rows, each once."""

    def __init__(self, dataset: Dataset, store: Store) -> None:
        self.dataset, self.store = dataset, store
        self._made: dict[tuple[str, str], tuple[Tensor, Tensor, Path | None]] = {}

    def by(self, name: str, preprocessor: Preprocessor) -> tuple[Tensor, Tensor, Path | None]:
        """Inputs of a modality, their mask, and the file they are mapped from."""
        key = name, json.dumps(preprocessor.state())
        if key not in self._made:
            room = self.store.under(str(len(self._made)))
            inputs, masks = encode(self.dataset, {name: preprocessor}, room)
            self._made[key] = inputs[name], masks[name], room.file(name)
        return self._made[key]


def _fold(
    encoded: _Encoded,
    task: Task,
    split: NDArray[np.str_],
    config: CompareConfig,
    extras: Mapping[str, Extra],
    notes: tuple[str, ...],
) -> Prepared:
    dataset = encoded.dataset
    places = {part: np.flatnonzero(split == part) for part in ("train", "valid", "test")}
    _check_sizes(places)
    anchor = _anchor(dataset, task)
    specs = chosen_encoders(
        dataset, config.encoder, embedding_encoder=config.embedding_encoder, anchor=anchor
    )
    settings = {name: spec.settings() for name, spec in specs.items()}
    if task.on_grid:
        task, settings = _on_one_grid(dataset, task, settings)
    preprocessors = fit_preprocessors(dataset, places["train"], settings)
    made = {name: encoded.by(name, preprocessor) for name, preprocessor in preprocessors.items()}
    wanted = {name: (one.of, {"kind": one.kind, **one.settings}) for name, one in extras.items()}
    besides = fit_extras(dataset, places["train"], wanted)
    assert dataset.target is not None
    target = torch.from_numpy(task.encode(dataset.target))
    learnt = [f"{part}: {note}" for part, p in preprocessors.items() for note in p.notes]
    return Prepared(
        dataset=dataset,
        task=task,
        preprocessors=preprocessors,
        rows=Rows(
            all=Batch(
                inputs={name: inputs for name, (inputs, _, _) in made.items()},
                masks={name: mask for name, (_, mask, _) in made.items()},
                target=target,
                extras={name: encoded.by(of, one)[0] for name, (of, one) in besides.items()},
            ),
            split={part: torch.from_numpy(rows) for part, rows in places.items()},
            files={name: file for name, (_, _, file) in made.items() if file is not None},
        ),
        encoders={name: specs[name].encoder(p) for name, p in preprocessors.items()},
        anchor=anchor,
        notes=(*notes, *learnt),
        extras={name: {"of": of, **one.encoder_options()} for name, (of, one) in besides.items()},
    )


def _on_one_grid(
    dataset: Dataset, task: Task, settings: Mapping[str, Mapping[str, Any]]
) -> tuple[Task, dict[str, dict[str, Any]]]:
    """The task and all modalities at the size that one of them is given, or that of the label maps.

    Raises:
        DataError: a modality without pixels.
        OptionError: two sizes.
    """
    kinds = {name: modality.kind for name, modality in dataset.modalities.items()}
    if wrong := [name for name, kind in kinds.items() if kind not in _ON_GRID]:
        raise DataError(
            f"Modalities must be pictures or maps for {task.name}, got {wrong[0]!r} of kind "
            f"{kinds[wrong[0]]!r}. Leave it out with data.modalities."
        )
    sizes = {one["size"] for one in settings.values() if "size" in one}
    if len(sizes) > 1:
        raise OptionError(
            f"size must be one for all modalities of {task.name}, got {sorted(map(str, sizes))}."
        )
    if sizes:
        grid = Grid.of(sizes.pop())
        task = task.resized(grid.height, grid.width)
    size = Grid(height=task.size[0], width=task.size[1]).size
    return task, {name: {**one, "size": size, "squash": True} for name, one in settings.items()}


def _anchor(dataset: Dataset, task: Task) -> str:
    """The modality at whose positions the task predicts."""
    kinds = {name: modality.kind for name, modality in dataset.modalities.items()}
    found = [name for name, kind in kinds.items() if kind == task.positions_of]
    if task.positions_of and len(found) != 1:
        raise DataError(
            f"One modality must be of kind {task.positions_of!r} for {task.name}, got {kinds}. Leave the "
            "others out."
        )
    return found[0] if found else ""


def _check_sizes(places: Mapping[str, NDArray[np.intp]]) -> None:
    sizes = {part: len(rows) for part, rows in places.items()}
    if short := [part for part, size in sizes.items() if size < 2]:
        raise DataError(f"splits must have at least two rows each, got {sizes}: {short[0]!r} is too small.")
