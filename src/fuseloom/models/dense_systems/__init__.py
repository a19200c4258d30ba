"""Systems of dense prediction by name, one file each: ``fusion: geminifusion`` builds GeminiFusion whole."""

from fuseloom.errors import OptionError
from fuseloom.models.config import ModelConfig
from fuseloom.models.dense.predictor import GridPredictor
from fuseloom.models.dense_systems._base import DenseSystem
from fuseloom.models.dense_systems._predictor import DensePredictor, Views
from fuseloom.models.naming import named_whole
from fuseloom.models.picture_systems import PicturePredictor, PictureSystem
from fuseloom.registry import list_names
from fuseloom.tasks import Task

__all__ = [
    "DensePredictor",
    "DenseSystem",
    "GridPredictor",
    "PicturePredictor",
    "PictureSystem",
    "Views",
    "build_dense",
    "named_dense_system",
]


def named_dense_system(config: ModelConfig) -> DenseSystem | PictureSystem | None:
    """The system of dense prediction that a configuration names where others name their fusion.

    Raises:
        OptionError: an option that it does not have.
    """
    for kind in ("dense", "picture"):
        system: DenseSystem | PictureSystem | None = named_whole(config, kind)
        if system is not None:
            return system
    return None


def build_dense(config: ModelConfig, task: Task) -> GridPredictor:
    """The model that a configuration names, for a task on a grid; weights from torch's global generator.

    Raises:
        ModalityError: the system cannot take the modalities.
        OptionError: the configuration names no such system, or a task that is of no grid.
    """
    system, kind = named_dense_system(config), "picture" if task.name == "translation" else "dense"
    if system is None or not task.on_grid or system.kind != kind:
        known = ", ".join(list_names(kind=kind))
        raise OptionError(
            f"A task on a grid must have a fusion for one, and no other task, got {config.fusion!r} for "
            f"{task.name}. Known: {known}. Set model.fusion."
        )
    channels = {name: options["channels"] for name, options in config.encoders.items()}
    if isinstance(system, PictureSystem):
        return PicturePredictor(
            system.build(channels, task.num_outputs, dropout=config.dropout),
            judge=system.build_judge(channels, task.num_outputs),
            adversarial_weight=system.adversarial_weight,
        )
    return DensePredictor(
        system.build(channels, task.num_outputs, dropout=config.dropout), expand=system.expand_backbone
    )
