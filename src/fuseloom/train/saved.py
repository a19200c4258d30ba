"""A saved model: one folder with everything that predicting new rows needs, and nothing that runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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
from fuseloom.errors import RunError
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.registry import lookup
from fuseloom.tasks import Task
from fuseloom.train.fit import exact_outputs
from fuseloom.types import Batch

__all__ = ["MODEL_FORMAT", "SavedModel"]

MODEL_FORMAT = 1
"""Version of the folder's layout."""


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained model with what it needs to read, encode and decode rows.

    The folder holds ``config.json`` (format version, model, task, schema and preprocessing),
    ``model.safetensors`` and ``README.md``, the model card.
    """

    model: FusionModel
    config: ModelConfig
    task: Task
    schema: Schema
    preprocessors: Mapping[str, Preprocessor]
    summary: str
    """What the model card says, in Markdown."""

    def save(self, folder: Path) -> None:
        """Write the folder, replacing what it held."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "format_version": MODEL_FORMAT,
            "model": self.config.state(),
            "task": {"name": self.task.name, **self.task.state()},
            "schema": schema_state(self.schema),
            "preprocessors": preprocessors_state(self.preprocessors),
        }
        (folder / "config.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        weights = {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        (folder / "README.md").write_text(self.summary, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that `save` wrote.

        Raises:
            RunError: there is no model, or it is of another version or damaged.
        """
        state = _read_config(folder)
        try:
            config = ModelConfig.from_state(state["model"])
            task = lookup(state["task"]["name"], kind="task").from_state(state["task"])
            model = build_model(config, task)
            model.load_state_dict(load_file(folder / "model.safetensors"))
            summary = (folder / "README.md").read_text(encoding="utf-8")
            schema = schema_from_state(state["schema"])
            preprocessors = preprocessors_from_state(state["preprocessors"])
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

    def encode(self, dataset: Dataset) -> Batch:
        """Inputs and masks of the modalities that the model reads."""
        wanted = {name: self.preprocessors[name] for name in self.config.encoders}
        inputs, masks = encode(dataset, wanted)
        return Batch(inputs=inputs, masks=masks)

    def predict(self, dataset: Dataset) -> dict[str, NDArray[Any]]:
        """Columns of a prediction, a row per row of the data."""
        outputs = exact_outputs(self.model, self.encode(dataset))
        return self.task.columns(self.task.predict(outputs))


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
