"""Systems of dense prediction by name, one file each: ``fusion: geminifusion`` builds GeminiFusion whole."""

from fuseloom.errors import OptionError
from fuseloom.models.config import ModelConfig
from fuseloom.models.dense_systems._base import DenseSystem
from fuseloom.models.dense_systems._predictor import DensePredictor, Views
from fuseloom.models.naming import named_whole
from fuseloom.registry import list_names
from fuseloom.tasks import Task

__all__ = ["DensePredictor", "DenseSystem", "Views", "build_dense", "named_dense_system"]


def named_dense_system(config: ModelConfig) -> DenseSystem | None:
    """The system of dense prediction that a configuration names where others name their fusion.

    Raises:
        OptionError: an option that it does not have.
    """
    system: DenseSystem | None = named_whole(config, "dense")
    return system


def build_dense(config: ModelConfig, task: Task) -> DensePredictor:
    """The model that a configuration names, for a task on a grid; weights from torch's global generator.

    Raises:
        ModalityError: the system cannot take the modalities.
        OptionError: the configuration names no such system, or a task that is of no grid.
    """
    system = named_dense_system(config)
    if system is None or not task.on_grid:
        known = ", ".join(list_names(kind="dense"))
        raise OptionError(
            f"A task on a grid must have a fusion for one, and no other task, got {config.fusion!r} for "
            f"{task.name}. Known: {known}. Set model.fusion."
        )
    channels = {name: options["channels"] for name, options in config.encoders.items()}
    return DensePredictor(
        system.build(channels, task.num_outputs, dropout=config.dropout), expand=system.expand_backbone
    )
