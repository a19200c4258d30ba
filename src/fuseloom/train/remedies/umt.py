"""UMT: the features of each modality stay close to those of an encoder that learnt it alone."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import mean_over
from fuseloom.train.remedies._view import Encoded, ModalityView
from fuseloom.types import Batch, Masks, Streams

__all__ = ["UMT"]


@register("umt")
class UMT(Remedy):
    r"""Adds the distance of each modality's features to those of its uni-modal teacher.

    .. math:: L = \ell(z, y) + w \sum_m \frac{1}{D_m} \|f_m - f_m^{\text{alone}}\|^2

    Features of tokens and maps are their means over what is real; rows without the modality do not count.

    A teacher is the encoder of a model of that modality alone, of the same width, that was trained on the
    same rows; where modalities meet before an encoder's end, shorten it to the stages before::

        model, _ = fit(lambda: build_model(text_only, task), train, valid, task, config)
        remedy = UMT(teachers={"text": model.encoders["text"], "audio": ...})

    Teachers are copied and frozen: they are stored with the remedy, but neither trained nor changed, and
    dropout is off in them.

    Paper: Improving Multi-Modal Learning with Uni-Modal Teachers, 2021, arXiv:2106.11059.

    Args:
        teachers: Modality -> encoder that was trained alone.
        weight: ``w``.

    Raises:
        OptionError: a weight that is negative.

    Example:
        >>> from fuseloom.encoders.embedding import EmbeddingEncoder
        >>> remedy = UMT(teachers={"text": EmbeddingEncoder(6), "audio": EmbeddingEncoder(4)})
        >>> any(parameter.requires_grad for parameter in remedy.parameters())
        False
    """

    card = RemedyCard(
        summary="Keeps features close to those of encoders that were trained alone.",
        touches=("loss",),
        cost="a second pass through the encoders, without gradients",
        needs=("encoders", "teachers"),
        paper="UMT, arXiv:2106.11059",
        code="https://github.com/GeWu-Lab/BalanceBenchmark",
        differs="Rows that lack a modality take no part in its distance.",
    )

    def __init__(self, *, teachers: Mapping[str, nn.Module], weight: float = 10.0) -> None:
        super().__init__()
        if not weight >= 0:
            raise OptionError(f"weight must not be negative, got {weight}.")
        self.weight = weight
        self.teachers = nn.ModuleDict({name: _frozen(name, one) for name, one in teachers.items()})

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Check that each modality has a teacher whose features can be compared.

        Raises:
            ModalityError: teachers are missing or not needed, or of another width.
        """
        if self.teachers.keys() != set(view.modalities):
            raise ModalityError(
                f"teachers must be given for {sorted(view.modalities)}, got {sorted(self.teachers)}. Train a "
                "model of each modality alone and give its encoder."
            )
        for name, dim in view.dims.items():
            teacher = self._teacher(name).to(next(view.encoder(name).parameters()).dtype)
            if (width := teacher.dims[-1]) != dim:
                raise ModalityError(
                    f"The teacher of {name!r} must be of width {dim}, as the model's features, got {width}. "
                    "Train it with that dim, or shorten it to the stages before modalities meet."
                )

    def loss(self, seen: Passage) -> Tensor:
        """The model's own, and the distances."""
        taught = self.taught(seen.batch)
        distances = [
            mean_over(
                (seen.features(name) - taught.features(name)).square().mean(-1),
                seen.present(name),
                seen.weight,
            )
            for name in seen.modalities
        ]
        return seen.loss + self.weight * torch.stack(distances).sum()

    @torch.no_grad()
    def taught(self, batch: Batch) -> Encoded:
        """What the teachers make of the rows."""
        streams: Streams = {}
        masks: Masks = {}
        for name in self.teachers:
            streams[name], mask = self._teacher(name)(batch.inputs[name], batch.masks.get(name))
            masks |= {} if mask is None else {name: mask}
        return Encoded(streams=streams, masks=masks, batch=batch)

    def _teacher(self, name: str) -> Encoder:
        teacher = self.teachers[name]
        assert isinstance(teacher, Encoder)
        return teacher


def _frozen(name: str, teacher: nn.Module) -> Encoder:
    if not isinstance(teacher, Encoder):
        raise OptionError(
            f"The teacher of {name!r} must be an Encoder, got {type(teacher).__name__}. Give "
            f"model.encoders[{name!r}] of the model that was trained alone."
        )
    own = copy.deepcopy(teacher)
    own.freeze()
    return own
