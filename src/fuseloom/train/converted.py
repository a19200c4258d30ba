"""An official checkpoint as a saved model: every weight accounted for, or nothing is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuseloom.data import ModalitySpec, Schema
from fuseloom.data.dataset import TargetKind
from fuseloom.data.label_maps import LabelFormat
from fuseloom.data.preprocessing import PREPROCESSORS
from fuseloom.errors import DataError, OptionError, did_you_mean
from fuseloom.models.checkpoint import read_checkpoint
from fuseloom.models.converters import Converted, Converter, Piece
from fuseloom.registry import lookup
from fuseloom.tasks import Task
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.tasks.translation import Translation
from fuseloom.train.files import digest
from fuseloom.train.remedies import build_trained
from fuseloom.train.saved import SavedModel

__all__ = ["Conversion", "convert_checkpoint"]

_SHOWN = 8
_KINDS: Mapping[str, TargetKind] = {
    "classification": "category",
    "segmentation": "labels",
    "translation": "image",
}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A converted model, and how its weights came about."""

    saved: SavedModel
    pieces: Sequence[Piece]


def convert_checkpoint(
    path: Path,
    system: str,
    *,
    modalities: Mapping[str, int | None],
    classes: Sequence[str] = (),
    targets: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Conversion:
    """Read an official checkpoint and make a model of it that predicts what the official one does.

    Args:
        path: The file; nothing in it is executed.
        system: A converter's name.
        modalities: Name -> width, or None where the weights tell it; in the official order.
        classes: Names of the outputs where they are classes, in their order.
        targets: Names of the outputs where they are numbers; or of the one column with the class.
        options: What no weight tells, as the converter has it.

    Raises:
        DataError: weights are left over or missing, or their shapes do not fit together.
        ModalityError: the checkpoint was trained on other modalities.
        OptionError: there are more or fewer outputs than names, or the converter has no such option.
        RunError: the file cannot be read, or holds objects.
        UnknownNameError: there is no converter of that name.

    Example:
        >>> import tempfile
        >>> layers = {"before.0": (3, 4), "before.1": (2, 4), "after.0": (8, 1), "after.1": (16, 1)}
        >>> state = {f"{name}.layers.0.weight": torch.ones(out, into) for name, (into, out) in layers.items()}
        >>> state |= {f"{name}.layers.0.bias": torch.zeros(out) for name, (_, out) in layers.items()}
        >>> path = Path(tempfile.mkdtemp(), "official.pth")
        >>> torch.save(state, path)
        >>> done = convert_checkpoint(path, "mro", modalities={"text": 3, "audio": 2}, targets=["mood"])
        >>> done.saved.model({"text": torch.ones(1, 3), "audio": torch.ones(1, 2)})
        tensor([[116.]], grad_fn=<AddBackward0>)
    """
    converter = _converter(system, options or {})
    state = read_checkpoint(path)
    found = converter.convert(state, modalities)
    task = _task(found, classes, targets)
    with torch.device("meta"):
        model = build_trained(found.config, task)
    weights = _whole(state, found, model.state_dict())
    model.load_state_dict(weights, assign=True)
    preprocessors = {
        name: PREPROCESSORS[one["kind"]].from_state(one["state"]) for name, one in found.preprocessing.items()
    }
    saved = SavedModel(
        model=model.eval(),
        config=found.config,
        task=task,
        schema=_schema({name: one.reads for name, one in preprocessors.items()}, task, targets),
        preprocessors=preprocessors,
        summary=_model_card(path, converter, found, task),
    )
    return Conversion(saved=saved, pieces=found.pieces)


def _converter(system: str, options: Mapping[str, Any]) -> Converter:
    cls = lookup(system, kind="converter")
    known = [one.name for one in fields(cls)] if is_dataclass(cls) else []
    if unknown := sorted(options.keys() - set(known)):
        raise OptionError(
            f"{system!r} has no option {unknown[0]!r}, only {known}.{did_you_mean(unknown[0], known)}"
        )
    converter: Converter = cls(**options)
    return converter


def _task(found: Converted, classes: Sequence[str], targets: Sequence[str]) -> Task:
    outputs = found.num_outputs
    if found.pictures:
        return _translation(found, classes)
    if found.size is not None and not classes:
        return Segmentation([str(label) for label in range(outputs)], size=found.size)
    if classes:
        if len(classes) != outputs or len(set(classes)) != outputs:
            raise OptionError(
                f"classes must name the {outputs} outputs of the checkpoint, each once, got {list(classes)}."
            )
        return Classification(classes) if found.size is None else Segmentation(classes, size=found.size)
    names = list(targets) or ["target"]
    if len(names) != outputs or len(set(names)) != outputs:
        raise OptionError(
            f"targets must name the {outputs} outputs of the checkpoint, each once, got {names}. Of outputs "
            "that are classes, give their names as classes."
        )
    return Regression([0.0] * outputs, [1.0] * outputs, names=names if outputs > 1 else ())


def _translation(found: Converted, classes: Sequence[str]) -> Translation:
    if classes:
        raise OptionError(f"classes must be left out of a system that makes pictures, got {list(classes)}.")
    assert found.size is not None
    return Translation(found.num_outputs, size=found.size, low=0, high=255)


def _schema(kinds: Mapping[str, str], task: Task, targets: Sequence[str]) -> Schema:
    if isinstance(task, Classification) and len(targets) > 1:
        raise OptionError(f"targets must name one column of classes, got {list(targets)}.")
    names = tuple(targets) or ("target",)
    return Schema(
        source_format="arrays",
        modalities={name: ModalitySpec(kind=kind) for name, kind in kinds.items()},  # type: ignore[arg-type]
        target=",".join(names),
        target_columns=names if len(names) > 1 else (),
        target_kind=_KINDS.get(task.name, "number"),
        label_format=LabelFormat(names=task.labels) if isinstance(task, Segmentation) else None,
    )


def _whole(
    state: Mapping[str, Tensor], found: Converted, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our weights, in the types that they are trained in.

    Raises:
        DataError: one is left over, missing or of another shape.
    """
    used = {name for piece in found.pieces for name in piece.sources}
    if left := sorted(state.keys() - used):
        raise DataError(
            f"Every weight of the checkpoint must be of this system, got {len(left)} that no part of it "
            f"takes: {_listed(left)}. Is it of a variant, or of another system?"
        )
    made = {own: (value, piece) for piece in found.pieces for own, value in piece.weights.items()}
    if unknown := sorted(made.keys() ^ expected.keys()):
        raise DataError(
            f"The weights of the checkpoint must make up the whole model, got {len(unknown)} missing or "
            f"without a place: {_listed(unknown)}. Is the checkpoint whole?"
        )
    for own, (value, piece) in made.items():
        if value.shape != expected[own].shape:
            raise DataError(
                f"{_listed(piece.sources)} must give {own!r} of shape {list(expected[own].shape)}, as the "
                f"widths of the other weights demand, got {list(value.shape)}."
            )
    return {own: value.to(expected[own].dtype).contiguous() for own, (value, _) in made.items()}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _model_card(path: Path, converter: Converter, found: Converted, task: Task) -> str:
    inputs = ", ".join(f"{name} ({one['kind']})" for name, one in found.preprocessing.items())
    return (
        f"# {converter.name}, converted from an official checkpoint\n\n"
        f"- Paper: {converter.paper}\n- Official code: {converter.code}\n"
        f"- Checkpoint: `{path.name}`, SHA-256 `{digest(path)}`\n"
        f"- Task: {task.name}\n- Modalities, and how they are prepared: {inputs}\n"
        "- Nothing was trained or measured here; the licence is that of the checkpoint.\n"
        "- Predict: `fuseloom predict THIS_FOLDER rows.npz`\n"
    )
