"""Encoders that start from what another run has learnt."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from fuseloom.encoders import Encoder
from fuseloom.errors import OptionError, did_you_mean
from fuseloom.models import FusionModel
from fuseloom.models.checkpoint import read_checkpoint
from fuseloom.models.dense_systems import GridPredictor
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies import fusion_inside
from fuseloom.train.saved import SavedModel

__all__ = ["start_from"]

_BACKBONE = "backbone"


def start_from(model: FusionModel | GridPredictor, sources: Mapping[str, str]) -> list[str]:
    """Copy into encoders the weights of encoders of other models, and say how much of each.

    An encoder takes over stage after stage, until one has other weights than its own: the end of an encoder
    is often of another form, as when it gave a vector and is to give tokens.

    Args:
        model: What is about to be trained; it is changed.
        sources: Modality -> run folder or saved model, which has an encoder of the same modality; of dense
            prediction ``backbone`` -> weights of a pretrained one, a file of safetensors or of torch.

    Returns:
        A line for a person per encoder.

    Raises:
        OptionError: a modality that either model lacks, or encoders that differ from the first stage on.
        RunError: there is no saved model, or it is damaged.
    """
    if isinstance(model, GridPredictor):
        return [_start_backbone(model, name, source) for name, source in sources.items()]
    said = []
    for name, source in sources.items():
        own = _encoder(model, name, "the model")
        with undisturbed():
            saved = SavedModel.of_run(Path(source))
        given = _encoder(fusion_inside(saved.model), name, source)
        alike = list(_alike(own, given))
        if not any(mine.state_dict() for mine, _ in alike):
            raise OptionError(
                f"start must name encoders that begin alike, got other weights at the front of {name!r} "
                f"in {source}. Give the encoder the options that it has there."
            )
        for mine, theirs in alike:
            mine.load_state_dict(theirs.state_dict())
        said.append(f"{name}: {len(alike)} of {len(own.stages)} stages start from {source}")
    return said


def _start_backbone(model: GridPredictor, name: str, source: str) -> str:
    if name != _BACKBONE:
        raise OptionError(f"start must name {_BACKBONE!r} for dense prediction, got {name!r}.")
    model.load_backbone(read_checkpoint(Path(source)))
    return f"{_BACKBONE}: all streams start from {source}"


def _encoder(model: FusionModel, name: str, where: str) -> Encoder:
    if name not in model.encoders:
        hint = did_you_mean(name, model.encoders)
        raise OptionError(
            f"start must name modalities of {where}, {sorted(model.encoders)}, got {name!r}.{hint}"
        )
    encoder = model.encoders[name]
    assert isinstance(encoder, Encoder)
    return encoder


def _alike(own: Encoder, given: Encoder) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of stages with the same weights by name and shape, from the front."""
    for mine, theirs in zip(own.stages, given.stages, strict=False):
        if _shapes(mine) != _shapes(theirs):
            return
        yield mine, theirs


def _shapes(stage: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in stage.state_dict().items()}
