"""Models that a remedy trains, from names: built for training, and built again to predict."""

import copy
from collections.abc import Mapping
from typing import cast

from torch import nn

from fuseloom.encoders import Encoder
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.models.dense_systems import GridPredictor, build_dense
from fuseloom.registry import create_remedy, lookup
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedied, Remedy

__all__ = ["build_trained", "fusion_inside", "named_remedy", "needs_teachers", "teachers_of"]


def needs_teachers(config: ModelConfig) -> bool:
    """Whether the remedy learns from models of each modality alone."""
    return bool(config.remedy) and "teachers" in lookup(config.remedy, kind="remedy").card.needs


def named_remedy(config: ModelConfig, teachers: Mapping[str, nn.Module]) -> Remedy | None:
    """The remedy that a configuration names, if any.

    Args:
        config: Of the model.
        teachers: Modality -> encoder that was trained alone, for a remedy that learns from them.
    """
    if not config.remedy:
        return None
    options = {"teachers": dict(teachers)} if needs_teachers(config) else {}
    return cast(Remedy, create_remedy(config.remedy, **options))


def teachers_of(model: FusionModel) -> dict[str, nn.Module]:
    """Copies of its encoders, each up to where modalities meet."""
    found: dict[str, nn.Module] = {}
    for name, stages in model.stages_alone.items():
        found[name] = cast(Encoder, copy.deepcopy(model.encoders[name])).shorten(stages)
    return found


def build_trained(config: ModelConfig, task: Task) -> FusionModel | GridPredictor | Remedied:
    """What holds the weights of a finished training: the model, or the remedy too where it predicts.

    Raises:
        ModalityError: as of `build_model`.
        OptionError: likewise.
    """
    if task.on_grid:
        return build_dense(config, task)
    model = build_model(config, task)
    if not config.remedy or "outputs" not in lookup(config.remedy, kind="remedy").card.touches:
        return model
    return Remedied(model, cast(Remedy, create_remedy(config.remedy)), task)


def fusion_inside(model: nn.Module) -> FusionModel:
    """The fusion itself, of what `build_trained` gave."""
    return cast(FusionModel, model.model if isinstance(model, Remedied) else model)
