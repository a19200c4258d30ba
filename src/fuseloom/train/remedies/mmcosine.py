"""MMCosine: modalities vote by the angle between features and classes, so that no norm can dominate."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._view import ModalityView

__all__ = ["MMCosine", "cosines"]

_NO_DIRECTION = 1e-6
"""Length under which a vector has no direction; the gradient of one that is shorter would know no bound."""


def cosines(features: Tensor, classes: Tensor) -> Tensor:
    """Cosines ``[B, K]`` between features ``[B, D]`` and class vectors ``[K, D]``; of a zero vector zeros.

    Example:
        >>> cosines(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 5.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    return F.linear(_direction(features), _direction(classes))


def _direction(vectors: Tensor) -> Tensor:
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length > _NO_DIRECTION, vectors / length.clamp(min=_NO_DIRECTION), 0)


@register("mmcosine")
class MMCosine(Remedy):
    r"""Outputs by the cosine between each modality's features and a vector per class, in training and behind.

    .. math:: z_c = s \sum_m \cos(f_m, w_{m,c})

    However long its features grow, a modality can add no more than ``s``. The model's own merge and head take
    no part any more; the vectors ``w`` are the remedy's. An absent modality adds nothing.

    Paper: MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained Learning, ICASSP 2023.

    Args:
        scale: ``s``.

    Raises:
        OptionError: a scale that is not positive.

    Example:
        >>> MMCosine().card.touches
        ('loss', 'outputs')
    """

    card = RemedyCard(
        summary="Outputs are a sum of cosines, so that no modality's norm dominates.",
        touches=("loss", "outputs"),
        cost="none: a linear map per modality in place of merge and head",
        needs=("classes", "encoders"),
        paper="MMCosine, ICASSP 2023",
        code="https://github.com/GeWu-Lab/MMCosine_ICASSP23",
        differs="The class vectors are the remedy's, not columns of the model's linear head, so that it "
        "works with any merge; a vector of zeros has cosine 0 and no gradient.",
    )

    def __init__(self, *, scale: float = 15.0) -> None:
        super().__init__()
        if not scale > 0:
            raise OptionError(f"scale must be positive, got {scale}.")
        self.scale = scale
        self.classes = nn.ModuleDict()

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Draw the class vectors, as those of a linear layer."""
        width = task.num_outputs
        self.classes.update({name: nn.Linear(dim, width, bias=False) for name, dim in view.dims.items()})

    def parts(self, seen: Passage) -> dict[str, Tensor]:
        """Modality -> what it adds to the outputs, ``[B, K]``."""
        return {name: self._part(seen, name) for name in seen.modalities}

    def loss(self, seen: Passage) -> Tensor:
        """The task's loss of the sum."""
        return seen.loss_of(self.predict(seen))

    def predict(self, seen: Passage) -> Tensor:
        """The sum of the parts."""
        return torch.stack(list(self.parts(seen).values())).sum(0)

    def _part(self, seen: Passage, name: str) -> Tensor:
        layer = self.classes[name]
        assert isinstance(layer, nn.Linear)
        part = self.scale * cosines(seen.features(name), layer.weight)
        return part.masked_fill(~seen.present(name)[:, None], 0)
