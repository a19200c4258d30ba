"""A saved model: one folder with everything that predicting new rows needs, and nothing that runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from fuseloom.data import (
    Dataset,
    Preprocessor,
    Schema,
    encode,
    preprocessors_from_state,
    preprocessors_state,
    schema_from_state,
    schema_state,
)
from fuseloom.encoders import Encoder
from fuseloom.errors import RunError
from fuseloom.models import FusionModel, ModelConfig
from fuseloom.models.dense_systems import GridPredictor
from fuseloom.registry import lookup
from fuseloom.tasks import Task
from fuseloom.train.files import digest, reporting, write_whole
from fuseloom.train.remedies import Remedied, build_trained, fusion_inside
from fuseloom.train.windows import exact_predictions
from fuseloom.types import Batch

__all__ = ["MODEL_FORMAT", "SavedModel"]

MODEL_FORMAT = 1
"""Version of the folder's layout."""
_WEIGHTS = "model.safetensors"
_KEPT = "preprocessing"


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained model with what it needs to read, encode and decode rows.

    The folder holds ``config.json`` (format version, model, task, schema and preprocessing),
    ``model.safetensors`` and ``README.md``, the model card; files that preprocessing needs, such as a
    tokenizer's, lie under ``preprocessing``. Nothing outside of it is needed to predict.
    """

    model: FusionModel | GridPredictor | Remedied
    config: ModelConfig
    task: Task
    schema: Schema
    preprocessors: Mapping[str, Preprocessor]
    summary: str
    """What the model card says, in Markdown."""

    def save(self, folder: Path) -> None:
        """Write the folder, replacing what it held; a kill in between leaves none that `load` takes.

        Raises:
            RunError: the folder cannot be written to.
        """
        weights = {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        with reporting(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _WEIGHTS, save(weights))
        write_whole(folder / "README.md", self.summary)
        for name, preprocessor in self.preprocessors.items():
            preprocessor.keep(folder / _KEPT / name)
        state = {
            "format_version": MODEL_FORMAT,
            "model": self._whole_config().state(),
            "task": {"name": self.task.name, **self.task.state()},
            "schema": schema_state(self.schema),
            "preprocessors": preprocessors_state(self.preprocessors),
            "sha256": {_WEIGHTS: digest(folder / _WEIGHTS)},
        }
        write_whole(folder / "config.json", json.dumps(state, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that `save` wrote.

        Raises:
            RunError: there is no model, or it is of another version or damaged.
        """
        state = _read_config(folder)
        _check_weights(folder, state)
        try:
            config = ModelConfig.from_state(state["model"])
            task = lookup(state["task"]["name"], kind="task").from_state(state["task"])
            model = build_trained(config, task)
            model.load_state_dict(load_file(folder / _WEIGHTS))
            summary = (folder / "README.md").read_text(encoding="utf-8")
            schema = schema_from_state(state["schema"])
            preprocessors = {
                name: preprocessor.found(folder / _KEPT / name)
                for name, preprocessor in preprocessors_from_state(state["preprocessors"]).items()
            }
        except (KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
            raise RunError(f"{folder} must hold a whole saved model, got {error}. Train it again.") from error
        return cls(
            model=model.eval(),
            config=config,
            task=task,
            schema=schema,
            preprocessors=preprocessors,
            summary=summary,
        )

    @classmethod
    def of_run(cls, folder: Path) -> Self:
        """That of a run folder, or of the folder of a saved model itself.

        Raises:
            RunError: as for `load`.
        """
        inside = folder / "model"
        return cls.load(inside if inside.is_dir() else folder)

    def _whole_config(self) -> ModelConfig:
        """A configuration that is built without reaching for anything that was pretrained."""
        if isinstance(self.model, GridPredictor):
            return self.config
        encoders = {}
        for name, options in self.config.encoders.items():
            encoder = fusion_inside(self.model).encoders[name]
            assert isinstance(encoder, Encoder)
            encoders[name] = {**options, **encoder.rebuild_options()}
        return replace(self.config, encoders=encoders)

    def encode(self, dataset: Dataset) -> Batch:
        """Inputs and masks of the modalities that the model reads."""
        wanted = {name: self.preprocessors[name] for name in self.config.encoders}
        inputs, masks = encode(dataset, wanted)
        return Batch(inputs=inputs, masks=masks)

    def predictions(self, dataset: Dataset) -> NDArray[Any]:
        """A row per row of the data, in the form of `Task.predict`; long texts are read in windows."""
        rows, anchor = self.encode(dataset), self.config.anchor
        texts = {anchor: (dataset.modalities[anchor], self.preprocessors[anchor])} if anchor else {}
        return exact_predictions(self.model, self.task, rows, texts)

    def predict(self, dataset: Dataset) -> dict[str, NDArray[Any]]:
        """Columns of a prediction, a row per row of the data."""
        return self.task.columns(self.predictions(dataset))


def _check_weights(folder: Path, state: Mapping[str, Any]) -> None:
    """Refuse weights that are not those the configuration was written for; old folders do not name them."""
    path = folder / _WEIGHTS
    wanted = state.get("sha256", {}).get(_WEIGHTS)
    if wanted is not None and path.is_file() and digest(path) != wanted:
        raise RunError(
            f"{folder} must hold a whole saved model, got weights that its config.json was not written with. "
            "Train it again, or copy the whole folder again."
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(f"{folder} must be a saved model, got no config.json in it. Name a run folder.")
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} must be JSON, got {error}.") from None
    if state.get("format_version") != MODEL_FORMAT:
        raise RunError(
            f"{path} must have format_version {MODEL_FORMAT}, got {state.get('format_version')!r}. "
            "Use the fuseloom version that wrote it, or train again."
        )
    return state
